// L2 micro-kernels: products by weights of which zeros are left out, f32. Contracts: SparseTile,
// SparsePlanes and PlanesToPixels in kernel_table.h. Called by gemm/sparse.cpp and
// conv/algo_sparse_planes.cpp.
//
// A panel that lacks rows costs no more than the indices of those that are left: k is one number for
// the whole tile, added to a pointer for each row of A. The pointers want registers of their own, so
// that avx512 has 10 rows and not 14.
//
// Single zeros leave nothing to share between output channels: a weight is multiplied with a row of
// pixels. Two channels are done side by side, for the sums of one are too few to hide the latency.
#pragma once
#include "kernels/eltwise.inl.h"
#include "kernels/epilogue.inl.h"
#include "kernels/kernel_table.h"
#include "kernels/product/unpacked_f32.inl.h"
#include "kernels/unroll.h"

namespace fastconv {
namespace {

template <int MR, int NRV>
void sparse_tile(const SparseTile& t) {
  unpacked_tiles<MR, NRV>(t, t.a, [&](vf(&acc)[MR][NRV], const float* const(&a)[MR]) {
    const float* b = t.b;
    const int32_t* k = t.k;
    for (dim_t tap = 0; tap < t.taps; ++tap) {
      const dim_t offset = t.tap_offset[tap];
      for (const int32_t* end = k + t.count[tap]; k < end; ++k, b += NRV * W) {
        vf row[NRV];
        FC_UNROLL for (int v = 0; v < NRV; ++v) row[v] = vload(b + v * W);
        const dim_t at_k = offset + *k;
        FC_UNROLL for (int m = 0; m < MR; ++m) {
          const vf word = vbroadcast(a[m] + at_k);
          FC_UNROLL for (int v = 0; v < NRV; ++v) acc[m][v] = vfma(word, row[v], acc[m][v]);
        }
      }
    }
  });
}

template <int V>
void multiply_planes(const SparsePlanes& t) {
  constexpr dim_t kStep = V * W;
  const int32_t* k = t.k;
  const float* w = t.w;
  int lanes[V];
  FC_UNROLL for (int v = 0; v < V; ++v) {
    const dim_t left = t.pixels - v * W;
    lanes[v] = static_cast<int>(left < 0 ? 0 : left < W ? left : W);
  }
  const auto finish = [&](dim_t o, vf(&acc)[1][V]) {
    finish_planes(t, o, 0, acc, [&](int v) { return lanes[v]; });
  };
  const auto add = [&](vf(&acc)[1][V], const int32_t* index, const float* weight) {
    const float* const x = t.x + *index * kStep;
    const vf factor = vbroadcast(weight);
    FC_UNROLL for (int v = 0; v < V; ++v) acc[0][v] = vfma(factor, vload(x + v * W), acc[0][v]);
  };
  for (dim_t o = 0; o < t.channels; o += 2) {
    const dim_t first = t.count[o], second = o + 1 < t.channels ? t.count[o + 1] : 0;
    vf sums[1][V], others[1][V];
    FC_UNROLL for (int v = 0; v < V; ++v) sums[0][v] = others[0][v] = vzero();
    const dim_t both = first < second ? first : second;
    for (dim_t i = 0; i < both; ++i) {
      add(sums, k + i, w + i);
      add(others, k + first + i, w + first + i);
    }
    for (dim_t i = both; i < first; ++i) add(sums, k + i, w + i);
    for (dim_t i = both; i < second; ++i) add(others, k + first + i, w + first + i);
    k += first + second;
    w += first + second;
    finish(o, sums);
    if (o + 1 < t.channels) finish(o + 1, others);
  }
  if (t.epilogue.activation.afterwards())
    apply_activation(t.y, t.channels, nullptr, t.ldy, t.pixels, t.epilogue.activation);
}

void sparse_planes(const SparsePlanes& t) {
  static_assert(kSparseVectors == 4);
  if (t.vectors == 1) return multiply_planes<1>(t);
  if (t.vectors == 2) return multiply_planes<2>(t);
  if (t.vectors == 3) return multiply_planes<3>(t);
  multiply_planes<4>(t);
}

void planes_to_pixels(const PlanesToPixels& t) {
  const Epilogue& e = t.epilogue;
  const vf scale = vset(e.residual_scale);
  const bool clamps = e.activation.act == Act::clamp;
  const vf lo = vset(e.activation.alpha), hi = vset(e.activation.beta);
  const auto row = [&](dim_t p) { return t.y_row ? t.y_row[p] : p * t.ldy; };
  for (dim_t p0 = 0; p0 < t.pixels; p0 += W) {
    const dim_t end = p0 + W < t.pixels ? p0 + W : t.pixels;
    for (dim_t o = 0; o < t.channels; o += W) {
      const int lanes = static_cast<int>(t.channels - o < W ? t.channels - o : W);
      vf r[W];
      for (int i = 0; i < W; ++i) r[i] = vload(t.x + (o + i) * t.ldx + p0);
      vtranspose(r);
      for (dim_t p = p0; p < end; ++p) {
        const dim_t at = row(p) + o;
        vf y = r[p - p0];
        if (e.residual) y = vfma(vload_tail(e.residual + at, lanes), scale, y);
        if (clamps) y = vmin(hi, vmax(lo, y));
        if (lanes == W)
          vstore(t.y + at, y);
        else
          vstore_tail(t.y + at, y, lanes);
      }
    }
  }
  if (e.activation.afterwards())
    apply_activation(t.y, t.pixels, t.y_row, t.ldy, t.channels, e.activation);
}

template <int MR, int NRV>
void fill_sparse_panel(SparsePanel& p) {
  static_assert(MR <= kMaxMR);
  p.width = NRV * W;
  if (p.mr < MR) p.mr = MR;
  p.ukr[MR - 1] = sparse_tile<MR, NRV>;
  if constexpr (MR > 1) fill_sparse_panel<MR - 1, NRV>(p);
}
// Rows of the tiles of each width, 0 where there is none.
template <int MR1, int MR2>
void fill_sparse(SparseKernels& s) {
  fill_sparse_panel<MR1, kSparseWidths[0] / W>(s.panels[0]);
  if constexpr (MR2 > 0) fill_sparse_panel<MR2, kSparseWidths[1] / W>(s.panels[1]);
  s.planes = sparse_planes;
  s.to_pixels = planes_to_pixels;
}

}  // namespace
}  // namespace fastconv
