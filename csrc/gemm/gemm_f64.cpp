// L3 gemm: products of f64 matrices (gemm_f64.h). Tiles of 4 x 4 sums in registers, which compilers
// turn into vectors of the baseline: panels of 4 columns of B are packed, rows of A read in place.
#include "gemm/gemm_f64.h"

#include <algorithm>
#include <vector>

#include "core/division.h"
#include "core/interrupt.h"
#include "core/parallel.h"

namespace fastconv {
namespace {

constexpr dim_t kTile = 4;
// Rows of A that go by a packed panel, so that packing is a small part of the work; and steps of k
// of a panel, 32 KiB of it: half of L1.
constexpr dim_t kRows = 128, kDepth = 1024;

// panel[k * kTile + j] = b[k0 + k, n0 + j], and 0 beyond the last column.
void pack(const MatrixF64& b, dim_t k0, dim_t depth, dim_t n0, double* panel) noexcept {
  const dim_t columns = std::min(kTile, b.columns - n0);
  for (dim_t k = 0; k < depth; ++k) {
    const double* from = b.data + (k0 + k) * b.row_step + n0 * b.column_step;
    for (dim_t j = 0; j < kTile; ++j)
      panel[k * kTile + j] = j < columns ? from[j * b.column_step] : 0;
  }
}

// Adds to (or, of the first block of k, writes) rows m to m + rows of four columns of the result.
template <int Rows>
void tile(const double* a, dim_t row_step, dim_t step, dim_t depth, const double* panel,
          double* out, dim_t ld, dim_t columns, bool first) noexcept {
  double sums[Rows][kTile] = {};
  if (!first)
    for (int i = 0; i < Rows; ++i)
      for (dim_t j = 0; j < columns; ++j) sums[i][j] = out[i * ld + j];
  for (dim_t k = 0; k < depth; ++k, panel += kTile)
    for (int i = 0; i < Rows; ++i) {
      const double x = a[i * row_step + k * step];
      for (dim_t j = 0; j < kTile; ++j) sums[i][j] += x * panel[j];
    }
  for (int i = 0; i < Rows; ++i)
    for (dim_t j = 0; j < columns; ++j) out[i * ld + j] = sums[i][j];
}

}  // namespace

void gemm_f64(const MatrixF64& a, const MatrixF64& b, double* out, dim_t ld) {
  const dim_t M = a.rows, N = b.columns, K = a.columns;
  if (M == 0 || N == 0) return;
  const dim_t blocks = ceil_div(M, kRows), panels = ceil_div(N, kTile);
  const dim_t work = std::max<dim_t>(1, std::min(M, kRows) * kTile * std::max<dim_t>(1, K));
  parallel_for(
      blocks * panels, std::max<dim_t>(1, kFmasWorthAThread / work), [&](dim_t begin, dim_t end) {
        std::vector<double> panel(static_cast<size_t>(std::min(kDepth, K) * kTile));
        for (dim_t at = begin; at < end; ++at) {
          const dim_t m0 = at / panels * kRows, m1 = std::min(M, m0 + kRows);
          const dim_t n0 = at % panels * kTile, columns = std::min(kTile, N - n0);
          dim_t k0 = 0;
          do {  // once for K = 0 too, whose sums are 0
            if (interrupted()) return;
            const dim_t depth = std::min(kDepth, K - k0);
            pack(b, k0, depth, n0, panel.data());
            dim_t m = m0;
            const auto place = [&] { return a.data + m * a.row_step + k0 * a.column_step; };
            for (; m + kTile <= m1; m += kTile)
              tile<kTile>(place(), a.row_step, a.column_step, depth, panel.data(),
                          out + m * ld + n0, ld, columns, k0 == 0);
            for (; m < m1; ++m)
              tile<1>(place(), a.row_step, a.column_step, depth, panel.data(), out + m * ld + n0,
                      ld, columns, k0 == 0);
            k0 += depth;
          } while (k0 < K);
        }
      });
}

}  // namespace fastconv
