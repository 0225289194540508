// L2 micro-kernel: C[MR, NRV * W] = act(A[MR, taps * K] * B + bias + residual), f32.  The contract
// is GemmTile in kernel_table.h. Called by gemm/gemm.cpp; calls apply_activation for what is not a
// clamp. Start at gemm_ukr's k loop.
//
// Register tile (accumulators + NRV of B + 1 broadcast of A must fit; two FMA ports x 4 cycles want
// >= 8 chains):
//   avx2    6 x 16: 12 + 2 + 1 = 15 of 16 ymm, 12 chains; 2 + 6 loads for 12 FMAs = 8 / 6 cycles on
//   two load ports avx512 14 x 32: 28 + 2 + 1 = 31 of 32 zmm; spatial sizes are 7 * 2^k, so 14 rows
//   waste nothing ref     4 x  8: 8 + 2 + 1 = 11 of 16 xmm
// B streams NRV * W * 4 bytes per MR FMAs a vector: 64 B per 6 cycles (avx2), which L2 sustains; so
// K is not split and the accumulators live over all of it. Rows beyond mr are not computed: every
// MR of 1..full has its own instance.
#pragma once
#include "kernels/eltwise.inl.h"
#include "kernels/kernel_table.h"
#include "kernels/unroll.h"

namespace fastconv {
namespace {

template <int MR, int NRV>
void gemm_ukr(const GemmTile& t) {
  vf acc[MR][NRV];
  FC_UNROLL for (int m = 0; m < MR; ++m) FC_UNROLL for (int v = 0; v < NRV; ++v) acc[m][v] =
      vzero();

  dim_t row[MR];
  FC_UNROLL for (int m = 0; m < MR; ++m) row[m] = t.a_row ? t.a_row[m] : m * t.lda;

  // C is wanted only after the whole of K, when nothing is left to hide its misses behind: ask for
  // it now. (A 1024^3 product passes C through L3 once per block of K.)
  FC_UNROLL for (int m = 0; m < MR; ++m) {
    const float* c = t.c + (t.c_row ? t.c_row[m] : m * t.ldc);
    __builtin_prefetch(c, 1);
    __builtin_prefetch(c + NRV * W - 1, 1);
  }

  const float* b = t.b;
  const float* next = t.next ? t.next : t.b;  // b is in cache, or on its way
  const dim_t ldb = t.ldb;
  for (dim_t tap = 0; tap < t.taps; ++tap) {
    const float* a[MR];
    const float* base = t.a + t.tap_offset[tap];
    FC_UNROLL for (int m = 0; m < MR; ++m) a[m] = base + row[m];
    const dim_t K = t.K;
    for (dim_t k = 0; k < K; ++k) {
      vf bv[NRV];
      FC_UNROLL for (int v = 0; v < NRV; ++v) bv[v] = vload(b + v * W);
      b += ldb;
      __builtin_prefetch(next, 0, 2);
      next += kAlignment / sizeof(float);
      FC_UNROLL for (int m = 0; m < MR; ++m) {
        const vf av = vbroadcast(a[m] + k);
        FC_UNROLL for (int v = 0; v < NRV; ++v) acc[m][v] = vfma(av, bv[v], acc[m][v]);
      }
    }
  }

  const Epilogue& e = t.epilogue;
  const bool clamped = e.activation.act == Act::clamp;
  const vf lo = vset(e.activation.alpha), hi = vset(e.activation.beta),
           scale = vset(e.residual_scale);
  // Columns of vector v that C has; the last one may be partial.
  FC_UNROLL for (int v = 0; v < NRV; ++v) {
    const int n = t.n_cur - v * W < W ? t.n_cur - v * W : W;
    if (n <= 0) break;
    const bool full = n == W;
    vf bias = vzero();
    if (e.bias) bias = full ? vload(e.bias + v * W) : vload_tail(e.bias + v * W, n);
    FC_UNROLL for (int m = 0; m < MR; ++m) {
      const dim_t offset = (t.c_row ? t.c_row[m] : m * t.ldc) + v * W;
      float* c = t.c + offset;
      vf y = acc[m][v];
      if (t.accumulate) y = vadd(y, full ? vload(c) : vload_tail(c, n));
      y = vadd(y, bias);
      if (e.residual) {
        const float* r = e.residual + (t.c_row ? t.c_row[m] : m * e.ldr) + v * W;
        y = vfma(full ? vload(r) : vload_tail(r, n), scale, y);
      }
      if (clamped) y = vmin(hi, vmax(lo, y));
      if (full)
        vstore(c, y);
      else
        vstore_tail(c, y, n);
    }
  }
  // Everything dearer than a clamp runs over the stored tile, which is in L1; keeps exp and its kin
  // out of MR x NRV instances.
  if (e.activation.act > Act::clamp)
    for (int m = 0; m < MR; ++m)
      apply_activation(t.c + (t.c_row ? t.c_row[m] : m * t.ldc), t.n_cur, e.activation);
}

template <int MR, int NRV>
void fill_rows(GemmKernels& g) {
  g.ukr[0][MR - 1] = gemm_ukr<MR, NRV / 2>;
  g.ukr[1][MR - 1] = gemm_ukr<MR, NRV>;
  if constexpr (MR > 1) fill_rows<MR - 1, NRV>(g);
}

template <int MR, int NRV>
void fill_gemm(GemmKernels& g) {
  static_assert(NRV == 2 && MR <= kMaxMR);
  g.mr = MR;
  g.nr = NRV * W;
  fill_rows<MR, NRV>(g);
}

}  // namespace
}  // namespace fastconv
