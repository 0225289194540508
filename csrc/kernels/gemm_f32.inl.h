// L2 micro-kernel: C[MR, NRV * W] = act(A[MR, taps * K] * B + bias + residual), f32. The contract
// is GemmTile in kernel_table.h. Called by gemm/gemm.cpp; calls apply_activation for what is not a
// clamp. Start at gemm_ukr's k loop.
//
// The register tile holds the accumulators, NRV vectors of B and one broadcast of A. Two FMA ports
// with a latency of 4 cycles want at least 8 accumulators.
//   tier    tile     registers
//   ref      4 x  8   8 + 2 + 1 = 11 of 16 xmm
//   avx2     6 x 16  12 + 2 + 1 = 15 of 16 ymm
//   avx512  14 x 32  28 + 2 + 1 = 31 of 32 zmm
// On avx2 a step of K has 8 loads, 4 cycles of two load ports, for 12 FMAs, which are 6. On avx512
// 14 rows waste nothing, because spatial sizes are 7 * 2^k.
//
// Where N is not whole panels the last one is 3 W wide, or W where it is alone: 4 x 24 and 8 x 8
// (avx2), 9 x 48 and 14 x 16 (avx512); gemm/gemm.h says why.
//
// A step of K streams NRV * W * 4 bytes of B: 64 in 6 cycles (avx2), which L2 sustains. So K is not
// split, and the accumulators live over all of it. Rows beyond mr are not computed: every MR of
// 1..full has its own instance.
#pragma once
#include "kernels/eltwise.inl.h"
#include "kernels/kernel_table.h"
#include "kernels/unroll.h"

namespace fastconv {
namespace {

// The first row of a tile in A, C and the residual.
struct Rows {
  const float* a;
  const dim_t* a_row;
  float* c;
  const dim_t* c_row;
  const float* residual;
  const float* row_bias;

  void move_down(const GemmTile& t, dim_t rows) {
    if (a_row)
      a_row += rows;
    else
      a += rows * t.lda;
    if (c_row) {
      c_row += rows;
    } else {
      c += rows * t.ldc;
      if (residual) residual += rows * t.epilogue.ldr;
    }
    if (row_bias) row_bias += rows;
  }
  const float* residual_row(const GemmTile& t, dim_t m) const {
    return residual + (c_row ? c_row[m] : m * t.epilogue.ldr);
  }
};

// Everything between the last FMA and memory, a pass over the registers for each thing that there
// is to do: one branch for the tile and not one for each of its vectors. Full: all columns exist;
// else masks are used throughout.
template <int MR, int NRV, bool Full>
inline void finish_tile(const GemmTile& t, const Rows& at, vf (&acc)[MR][NRV],
                        float* const (&c)[MR]) {
  int columns[NRV];
  FC_UNROLL for (int v = 0; v < NRV; ++v) {
    const int left = t.n_cur - v * W;
    columns[v] = left < 0 ? 0 : left < W ? left : W;
  }
  const auto load = [&](const float* p, int v) {
    return Full ? vload(p + v * W) : vload_tail(p + v * W, columns[v]);
  };
#define FC_TILE FC_UNROLL for (int m = 0; m < MR; ++m) FC_UNROLL for (int v = 0; v < NRV; ++v)

  const Epilogue& e = t.epilogue;
  if (t.alpha != 1.0f) {
    const vf alpha = vset(t.alpha);
    FC_TILE acc[m][v] = vmul(alpha, acc[m][v]);
  }
  if (t.accumulate) FC_TILE acc[m][v] = vadd(acc[m][v], load(c[m], v));
  if (e.bias) {
    vf bias[NRV];
    FC_UNROLL for (int v = 0; v < NRV; ++v) bias[v] = load(e.bias, v);
    FC_TILE acc[m][v] = vadd(acc[m][v], bias[v]);
  }
  if (at.row_bias) {
    FC_UNROLL for (int m = 0; m < MR; ++m) {
      const vf bias = vbroadcast(at.row_bias + m);
      FC_UNROLL for (int v = 0; v < NRV; ++v) acc[m][v] = vadd(acc[m][v], bias);
    }
  }
  if (at.residual) {
    const vf scale = vset(e.residual_scale);
    FC_UNROLL for (int m = 0; m < MR; ++m) {
      const float* r = at.residual_row(t, m);
      FC_UNROLL for (int v = 0; v < NRV; ++v) acc[m][v] = vfma(load(r, v), scale, acc[m][v]);
    }
  }
  if (e.activation.act == Act::clamp) {
    const vf lo = vset(e.activation.alpha), hi = vset(e.activation.beta);
    FC_TILE acc[m][v] = vmin(hi, vmax(lo, acc[m][v]));
  }
  FC_UNROLL for (int v = 0; v < NRV; ++v) {
    if (Full || columns[v] == W)
      FC_UNROLL for (int m = 0; m < MR; ++m) vstore(c[m] + v * W, acc[m][v]);
    else if (columns[v] > 0)
      FC_UNROLL for (int m = 0; m < MR; ++m) vstore_tail(c[m] + v * W, acc[m][v], columns[v]);
  }
#undef FC_TILE
}

// Tiles one below the other in one call: what is the same for all of them stays in registers, and
// the processor starts the next tile's sums while the last one's are stored.
template <int MR, int NRV>
void gemm_ukr(const GemmTile& t) {
  Rows at{t.a, t.a_row, t.c, t.c_row, t.epilogue.residual, t.epilogue.row_bias};
  // Everything dearer than a clamp runs over stored tiles while they are in L1, which keeps exp and
  // its kin out of MR x NRV instances: over 8 KiB of them at a time, because to start costs as much
  // as a tile.
  constexpr dim_t kTogether = 2048 / (MR * NRV * W) > 1 ? 2048 / (MR * NRV * W) : 1;
  const bool activate_later = t.epilogue.activation.act > Act::clamp;
  Rows stored = at;
  dim_t waiting = 0;
  for (dim_t tile = 0; tile < t.row_tiles; ++tile, at.move_down(t, MR)) {
    vf acc[MR][NRV];
    FC_UNROLL for (int m = 0; m < MR; ++m) FC_UNROLL for (int v = 0; v < NRV; ++v) acc[m][v] =
        vzero();

    dim_t row[MR];
    if (at.a_row) {
      FC_UNROLL for (int m = 0; m < MR; ++m) row[m] = at.a_row[m];
    } else {
      FC_UNROLL for (int m = 0; m < MR; ++m) row[m] = m * t.lda;
    }
    float* c[MR];
    if (at.c_row) {
      FC_UNROLL for (int m = 0; m < MR; ++m) c[m] = at.c + at.c_row[m];
    } else {
      FC_UNROLL for (int m = 0; m < MR; ++m) c[m] = at.c + m * t.ldc;
    }

    // C and the residual are wanted only after the whole of K, when nothing is left to hide their
    // misses behind: ask for them now. (A 1024^3 product passes C through L3 once per block of K.)
    FC_UNROLL for (int m = 0; m < MR; ++m) {
      __builtin_prefetch(c[m], 1);
      __builtin_prefetch(c[m] + NRV * W - 1, 1);
    }
    if (at.residual) {
      FC_UNROLL for (int m = 0; m < MR; ++m) {
        const float* r = at.residual_row(t, m);
        __builtin_prefetch(r);
        __builtin_prefetch(r + NRV * W - 1);
      }
    }

    const float* b = t.b;
    // Where there is nothing to bring, b: it is in cache, or on its way.
    const float* next = tile < t.next_tiles ? t.next + tile * t.taps * t.K * t.next_per_k : t.b;
    const dim_t ldb = t.ldb;
    for (dim_t tap = 0; tap < t.taps; ++tap) {
      const float* a[MR];
      const float* base = at.a + t.tap_offset[tap];
      FC_UNROLL for (int m = 0; m < MR; ++m) a[m] = base + row[m];
      const dim_t K = t.K;
      FC_UNROLL_BY(4) for (dim_t k = 0; k < K; ++k) {
        vf bv[NRV];
        FC_UNROLL for (int v = 0; v < NRV; ++v) bv[v] = vload(b + v * W);
        b += ldb;
        __builtin_prefetch(next, 0, 2);
        next += t.next_per_k;
        FC_UNROLL for (int m = 0; m < MR; ++m) {
          const vf av = vbroadcast(a[m] + k);
          FC_UNROLL for (int v = 0; v < NRV; ++v) acc[m][v] = vfma(av, bv[v], acc[m][v]);
        }
      }
    }

    if (t.n_cur == NRV * W)
      finish_tile<MR, NRV, true>(t, at, acc, c);
    else
      finish_tile<MR, NRV, false>(t, at, acc, c);
    if (activate_later && (++waiting == kTogether || tile + 1 == t.row_tiles)) {
      apply_activation(stored.c, waiting * MR, stored.c_row, t.ldc, t.n_cur, t.epilogue.activation);
      stored.move_down(t, waiting * MR);
      waiting = 0;
    }
  }
}

template <int MR, int NRV>
void fill_panel(PanelKernels& p) {
  static_assert(MR <= kMaxMR);
  p.mr = std::max(p.mr, MR);
  p.ukr[MR - 1] = gemm_ukr<MR, NRV>;
  if constexpr (MR > 1) fill_panel<MR - 1, NRV>(p);
}

// Rows of the register tiles of one, two and three vectors.
template <int MR1, int MR2, int MR3>
void fill_gemm(GemmKernels& g) {
  g.mr = MR2;
  g.nr = 2 * W;
  fill_panel<MR1, 1>(g.panels[0]);
  fill_panel<MR2, 2>(g.panels[1]);
  fill_panel<MR3, 3>(g.panels[2]);
}

}  // namespace
}  // namespace fastconv
