// L2 kernel: the product of few rows with a matrix in place, f32, for matrix-vector products and
// their like, which are bound by reading B once:
//   C[m, n] = act(sum over k < K of A[m, k] * B[k, n] + bias + residual),  m < M <= kGemvRows
// The contract is GemvUkr in kernel_table.h. Called by gemm/gemm.cpp. Start at add_rows.
//
// The sums of all columns are kept in memory, in L1, and rows of B are added to them, U at a time,
// so that B is read as U streams of contiguous memory. The register tile would read NR floats of
// each row and go on to the next, a page further, unless B were packed, which reads and writes all
// of it besides. U * M broadcasts of A stay in registers: at most 8 of 16.
//
// Each sum is over ascending k from 0 by FMAs, as the register tile's: the bits are the same.
#pragma once
#include "kernels/product/finish_f32.inl.h"

namespace fastconv {
namespace {

// sums[m * ld + n] += sum over u < U of a[m * lda + u] * b[u * ldb + n]
template <int M, int U>
inline void add_rows(dim_t n_cur, const float* a, dim_t lda, const float* b, dim_t ldb, float* sums,
                     dim_t ld) {
  vf av[M][U];
  FC_UNROLL for (int m = 0; m < M; ++m) FC_UNROLL for (int u = 0; u < U; ++u) av[m][u] =
      vbroadcast(a + m * lda + u);
  dim_t n = 0;
  for (; n + W <= n_cur; n += W) {
    vf bv[U];
    FC_UNROLL for (int u = 0; u < U; ++u) bv[u] = vload(b + u * ldb + n);
    FC_UNROLL for (int m = 0; m < M; ++m) {
      vf sum = vload(sums + m * ld + n);
      FC_UNROLL for (int u = 0; u < U; ++u) sum = vfma(av[m][u], bv[u], sum);
      vstore(sums + m * ld + n, sum);
    }
  }
  if (n == n_cur) return;
  const int left = static_cast<int>(n_cur - n);
  vf bv[U];
  FC_UNROLL for (int u = 0; u < U; ++u) bv[u] = vload_tail(b + u * ldb + n, left);
  FC_UNROLL for (int m = 0; m < M; ++m) {
    vf sum = vload(sums + m * ld + n);
    FC_UNROLL for (int u = 0; u < U; ++u) sum = vfma(av[m][u], bv[u], sum);
    vstore(sums + m * ld + n, sum);
  }
}

// The epilogue of the register tile, a vector wide.
template <int M>
inline void finish_gemv(const GemmTile& t, const float* sums, dim_t ld) {
  GemmTile column = t;
  for (dim_t n = 0; n < t.n_cur; n += W) {
    vf acc[M][1];
    float* c[M];
    FC_UNROLL for (int m = 0; m < M; ++m) {
      acc[m][0] = vload(sums + m * ld + n);
      c[m] = t.c + m * t.ldc + n;
    }
    column.n_cur = static_cast<int>(t.n_cur - n < W ? t.n_cur - n : W);
    column.epilogue.bias = t.epilogue.bias ? t.epilogue.bias + n : nullptr;
    column.epilogue.residual = t.epilogue.residual ? t.epilogue.residual + n : nullptr;
    const ResultRows<float> at(column, column.c);
    if (column.n_cur == W)
      store_tile<true>(column, at, acc, c);
    else
      store_tile<false>(column, at, acc, c);
  }
  if (t.epilogue.activation.afterwards())
    apply_activation(t.c, M, nullptr, t.ldc, t.n_cur, t.epilogue.activation);
}

template <int M>
void gemv_ukr(const GemmTile& t, float* sums) {
  constexpr int U = 8 / M;
  const dim_t ld = (t.n_cur + W - 1) / W * W;
  for (dim_t i = 0; i < M * ld; i += W) vstore(sums + i, vzero());
  dim_t k = 0;
  for (; k + U <= t.K; k += U)
    add_rows<M, U>(t.n_cur, t.a + k, t.lda, t.b + k * t.ldb, t.ldb, sums, ld);
  for (; k < t.K; ++k) add_rows<M, 1>(t.n_cur, t.a + k, t.lda, t.b + k * t.ldb, t.ldb, sums, ld);

  finish_gemv<M>(t, sums, ld);
}

// sums[m, l] += a[m, k] * b[l * ldb + k] over k, for the W columns l, of which `columns` exist: W x
// W elements are turned in registers, so that each column's sum goes over ascending k.
template <int M>
inline void add_columns(dim_t K, const float* a, dim_t lda, const float* b, dim_t ldb, int columns,
                        vf* sums) {
  constexpr dim_t kAheadOfColumns = 64;  // of as many streams as no hardware prefetcher follows
  for (int l = 0; l < columns; ++l) __builtin_prefetch(b + l * ldb + kAheadOfColumns);
  dim_t k = 0;
  for (; k + W <= K; k += W) {
    vf r[W];
    FC_UNROLL for (int l = 0; l < W; ++l) r[l] = l < columns ? vload(b + l * ldb + k) : vzero();
    vtranspose(r);
    FC_UNROLL for (int l = 0; l < W; ++l) FC_UNROLL for (int m = 0; m < M; ++m) sums[m] =
        vfma(vbroadcast(a + m * lda + k + l), r[l], sums[m]);
  }
  for (; k < K; ++k) {
    float row[W] = {};
    for (int l = 0; l < columns; ++l) row[l] = b[l * ldb + k];
    FC_UNROLL for (int m = 0; m < M; ++m) sums[m] =
        vfma(vbroadcast(a + m * lda + k), vload(row), sums[m]);
  }
}

// The same product where a column of B is contiguous, column n at b + n * ldb. Whole lines of
// several columns are taken in turn, so that several chains of additions are under way, and no line
// waits in L1, where columns a multiple of 4 KiB apart fall on each other.
template <int M>
void gemv_columns(const GemmTile& t, float* sums) {
  constexpr int kGroups = 4 / M;
  constexpr dim_t kRun = 16;
  const dim_t ld = (t.n_cur + W - 1) / W * W;
  dim_t n = 0;
  for (; n + kGroups * W <= t.n_cur; n += kGroups * W) {
    vf sum[kGroups][M];
    FC_UNROLL for (int g = 0; g < kGroups; ++g) FC_UNROLL for (int m = 0; m < M; ++m) sum[g][m] =
        vzero();
    for (dim_t k = 0; k < t.K; k += kRun) {
      const dim_t run = t.K - k < kRun ? t.K - k : kRun;
      FC_UNROLL for (int g = 0; g < kGroups; ++g)
          add_columns<M>(run, t.a + k, t.lda, t.b + (n + g * W) * t.ldb + k, t.ldb, W, sum[g]);
    }
    FC_UNROLL for (int g = 0; g < kGroups; ++g) FC_UNROLL for (int m = 0; m < M; ++m)
        vstore(sums + m * ld + n + g * W, sum[g][m]);
  }
  for (; n < t.n_cur; n += W) {
    vf sum[M];
    FC_UNROLL for (int m = 0; m < M; ++m) sum[m] = vzero();
    const int columns = static_cast<int>(t.n_cur - n < W ? t.n_cur - n : W);
    add_columns<M>(t.K, t.a, t.lda, t.b + n * t.ldb, t.ldb, columns, sum);
    FC_UNROLL for (int m = 0; m < M; ++m) vstore(sums + m * ld + n, sum[m]);
  }
  finish_gemv<M>(t, sums, ld);
}

// One row: each sum goes over k in W interleaved parts, for to turn the elements first takes three
// times as long as to read them.
void gemv_dots(const GemmTile& t, float* sums) {
  constexpr int kColumns = 8;
  const dim_t ld = (t.n_cur + W - 1) / W * W;
  for (dim_t n = 0; n < t.n_cur; n += kColumns) {
    const int columns = static_cast<int>(t.n_cur - n < kColumns ? t.n_cur - n : kColumns);
    const float* b[kColumns];
    vf sum[kColumns];
    FC_UNROLL for (int l = 0; l < kColumns; ++l) {
      b[l] = t.b + (n + (l < columns ? l : 0)) * t.ldb;
      sum[l] = vzero();
    }
    dim_t k = 0;
    for (; k + W <= t.K; k += W) {
      const vf a = vload(t.a + k);
      FC_UNROLL for (int l = 0; l < kColumns; ++l) sum[l] = vfma(a, vload(b[l] + k), sum[l]);
    }
    if (k < t.K) {
      const int left = static_cast<int>(t.K - k);
      const vf a = vload_tail(t.a + k, left);
      FC_UNROLL for (int l = 0; l < kColumns; ++l) sum[l] =
          vfma(a, vload_tail(b[l] + k, left), sum[l]);
    }
    FC_UNROLL for (int l = 0; l < kColumns; ++l) if (n + l < ld) sums[n + l] = vreduce_add(sum[l]);
  }
  finish_gemv<1>(t, sums, ld);
}

void fill_gemv(GemmKernels& g) {
  g.gemv_columns[0] = gemv_dots;
  g.gemv_columns[1] = gemv_columns<2>;
  g.gemv_columns[2] = gemv_columns<3>;
  g.gemv_columns[3] = gemv_columns<4>;
  static_assert(kGemvRows == 4);
  g.gemv[0] = gemv_ukr<1>;
  g.gemv[1] = gemv_ukr<2>;
  g.gemv[2] = gemv_ukr<3>;
  g.gemv[3] = gemv_ukr<4>;
}

}  // namespace
}  // namespace fastconv
