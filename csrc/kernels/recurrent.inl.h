// L2 kernels: what a step of a recurrent layer needs besides the functions of eltwise.inl.h: the
// product of the state with its weights, and sums of products gate by gate. Called by
// nn/recurrent.cpp. Contract: RecurrentKernels in kernel_table.h.
//
// One row takes two panels at once, eight sums under way: an FMA's latency is four cycles, and two
// start in each. The weights come from L2 or L3 and bind: one stream a panel, each of whole lines,
// asked for kAhead floats before it is read. More rows share a panel by threes, twelve sums in 16
// registers.
#pragma once
#include "kernels/eltwise.inl.h"
#include "kernels/kernel_table.h"
#include "kernels/unroll.h"

namespace fastconv {
namespace {

constexpr int kPanel = kRecurrentPanel;
constexpr dim_t kPanelWidth = kPanel * W, kAhead = 512;

// The sums of M rows and P panels from panel p on, of which V vectors from `from` on are taken, and
// their store.
template <int M, int P, bool kFirst, int V = kPanel>
inline void recurrent_tile(const RecurrentProduct& r, dim_t m, dim_t p, int from = 0) {
  const float* a = r.a + m * r.lda;
  const float* b = r.b + p * r.panel_step + from * W;
  vf sum[M][P * V];
  FC_UNROLL for (int i = 0; i < M; ++i) FC_UNROLL for (int v = 0; v < P * V; ++v) sum[i][v] =
      vzero();
  for (dim_t k = 0; k < r.depth; ++k) {
    vf av[M];
    FC_UNROLL for (int i = 0; i < M; ++i) av[i] = vbroadcast(a + i * r.lda + k);
    FC_UNROLL for (int q = 0; q < P; ++q) {
      const float* row = b + q * r.panel_step + k * kPanelWidth;
      if constexpr (kFirst)
        FC_UNROLL for (int line = 0; line < V * W; line += 16)
            __builtin_prefetch(row + kAhead + line);
      FC_UNROLL for (int v = 0; v < V; ++v) {
        const vf bv = vload(row + v * W);
        FC_UNROLL for (int i = 0; i < M; ++i) sum[i][q * V + v] =
            vfma(av[i], bv, sum[i][q * V + v]);
      }
    }
  }
  const dim_t n = p * kPanelWidth + from * W, left = r.N - n;
  if (left <= 0) return;
  FC_UNROLL for (int i = 0; i < M; ++i) {
    const float* addend = r.addend ? r.addend + (m + i) * r.ld_addend + n : nullptr;
    float* y = r.y + (m + i) * r.ldy + n;
    if (left >= P * V * W) {
      FC_UNROLL for (int v = 0; v < P * V; ++v)
          vstore(y + v * W, addend ? vadd(sum[i][v], vload(addend + v * W)) : sum[i][v]);
      continue;
    }
    float sums[P * V * W];
    FC_UNROLL for (int v = 0; v < P * V; ++v) vstore(sums + v * W, sum[i][v]);
    for_each(left, y, [=](dim_t at, int lanes) {
      const vf s = vload(sums + at);
      return addend ? vadd(s, load_lanes(addend + at, lanes)) : s;
    });
  }
}

void recurrent_product(const RecurrentProduct& r, dim_t begin, dim_t end) {
  dim_t p = begin;
  if (r.M == 1) {
    for (; p + 2 <= end; p += 2) recurrent_tile<1, 2, true>(r, 0, p);
    if (p < end) recurrent_tile<1, 1, true>(r, 0, p);
    return;
  }
  if (r.M == 4) {  // halves of a panel, so that each weight is read once
    for (; p < end; ++p)
      for (int from = 0; from < kPanel; from += 2) recurrent_tile<4, 1, true, 2>(r, 0, p, from);
    return;
  }
  for (; p < end; ++p) {
    const bool twos = r.M == 2;
    dim_t m = twos ? 2 : 3;
    if (twos)
      recurrent_tile<2, 1, true>(r, 0, p);
    else
      recurrent_tile<3, 1, true>(r, 0, p);
    for (; r.M - m > 4 || r.M - m == 3; m += 3) recurrent_tile<3, 1, false>(r, m, p);
    for (; m < r.M; m += 2) recurrent_tile<2, 1, false>(r, m, p);
  }
}

void multiply_add(dim_t n, const float* a, const float* b, const float* c, const float* d,
                  float* y) {
  if (!d)
    return for_each(n, y, [=](dim_t i, int lanes) {
      return vfma(load_lanes(a + i, lanes), load_lanes(b + i, lanes), load_lanes(c + i, lanes));
    });
  for_each(n, y, [=](dim_t i, int lanes) {
    const vf cd = vmul(load_lanes(c + i, lanes), load_lanes(d + i, lanes));
    return vfma(load_lanes(a + i, lanes), load_lanes(b + i, lanes), cd);
  });
}

void blend_gate(dim_t n, const float* z, const float* a, const float* b, float* y) {
  for_each(n, y, [=](dim_t i, int lanes) {
    const vf gate = load_lanes(z + i, lanes);
    const vf first = vmul(vsub(vset(1.0f), gate), load_lanes(a + i, lanes));
    return vfma(gate, load_lanes(b + i, lanes), first);
  });
}

void centred(dim_t n, const float* x, float scale, float zero, float* y) {
  const vf s = vset(scale), z = vset(zero), most = vset(255.0f);
  map(n, x, y, [=](vf v) {
    const vf steps = vmin(most, vmax(vzero(), vadd(vround(vdiv(v, s)), z)));
    return vsub(steps, z);
  });
}

void fill_recurrent(RecurrentKernels& r) {
  r.product = recurrent_product;
  r.multiply_add = multiply_add;
  r.blend = blend_gate;
  r.centred = centred;
}

}  // namespace
}  // namespace fastconv
