// L3 gemm: matrix products on the register tile of kernels/product/tile.inl.h.
// multiply() is the macro-kernel that everything dense runs on: A is read in place through row and
// tap offsets (implicit im2col), B is packed once, and K is not split, so that C is written once
// and each element's sum has one order: results are bitwise the same for any number of threads and
// any position in the batch. gemm() is the general product of strided matrices: five loops around
// the same tile, K in blocks of a fixed size; few rows go through a kernel of their own.
#pragma once
#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "core/buffer.h"
#include "core/division.h"
#include "core/epilogue.h"
#include "core/view.h"
#include "gemm/blocks.h"
#include "gemm/row_tiles.h"
#include "kernels/kernel_table.h"

namespace fastconv {

// A B of N columns lies in panels nr wide. What is left over, if nr / 2 or less, makes the last one
// nr / 2 wider, for a tile of one vector would have more loads than FMAs (Zen 3: 70 to 77 GFLOP/s
// for 8 columns, 98 for 16 or 24); alone, it is a panel nr / 2 wide.
template <class Kernels>  // GemmKernels, Bf16Kernels or IntegerKernels
inline dim_t panel_count(const Kernels& kernels, dim_t N) noexcept {
  return std::max<dim_t>(N > 0, ceil_div(N - kernels.nr / 2, kernels.nr));
}
template <class Kernels>
inline int panel_width(const Kernels& kernels, dim_t N, dim_t p) noexcept {
  const int half = kernels.nr / 2;
  const dim_t rest = std::max<dim_t>(1, ceil_div(N - p * kernels.nr, half));  // of N = 0 too
  return rest <= 3 ? static_cast<int>(rest) * half : kernels.nr;
}
template <class Kernels>  // GemmKernels or Bf16Kernels
inline const auto& panel_kernels(const Kernels& kernels, int width) noexcept {
  return kernels.panels[2 * width / kernels.nr - 1];
}
template <class Kernels>  // as above
inline int widest_panel(const Kernels& kernels, dim_t N) noexcept {
  return std::max(panel_width(kernels, N, 0), panel_width(kernels, N, panel_count(kernels, N) - 1));
}

// Whether rows of A that many bytes apart fall on each other in L1, whose 64 sets of 64 bytes
// repeat every 4 KiB. A tile reads one line of each of its rows in 16 steps of k, with a panel of B
// going by: 14 rows of 1024 channels in the one set of 8 to 12 lines come from L2 each time (Zen 4,
// 512 columns: 83 GFLOP/s, with 16 floats between the rows 115), seven a set stay (512 channels:
// 112).
inline bool bytes_alias(int mr, dim_t bytes) noexcept {
  constexpr dim_t kPeriod = 4096, kLines = 8;
  return ceil_div(mr, kPeriod / std::gcd(bytes, kPeriod)) >= kLines;
}
inline bool rows_alias(const GemmKernels& kernels, dim_t step) noexcept {
  return bytes_alias(kernels.mr, step * static_cast<dim_t>(sizeof(float)));
}
// Floats to leave between rows that would.
constexpr dim_t kRowGap = 16;

// One panel of B: dst[k * width + j] = b[k * ldk + j * ldn] for k < rows, j < n, and 0 for j from n
// to width. What follows it in a row-major B is prefetched: the next panel, most often.
void pack_panel(dim_t rows, const float* b, dim_t ldk, dim_t ldn, int n, int width,
                float* dst) noexcept;

// B (K x N) as panels [panels][K][width]. It keeps the kernels that it was packed for: a
// panel's width is the tier's.
class PackedB {
 public:
  // In `data` of floats() elements; fill it with pack(), unless it holds the panels already.
  PackedB(const GemmKernels& kernels, dim_t K, dim_t N, Buffer<float> data);
  PackedB(const GemmKernels& kernels, dim_t K, dim_t N)
      : PackedB(kernels, K, N, Buffer<float>(floats(kernels, K, N))) {}
  static dim_t floats(const GemmKernels& kernels, dim_t K, dim_t N) noexcept {
    return K * round_up(N, kernels.nr / 2);
  }
  // Packs rows [k0, k0 + rows) from b[k * ldk + n * ldn], k counted from k0, n from 0.
  void pack(dim_t k0, dim_t rows, const float* b, dim_t ldk, dim_t ldn) noexcept;

  dim_t K() const noexcept { return K_; }
  dim_t N() const noexcept { return N_; }
  dim_t panels() const noexcept { return panel_count(*kernels_, N_); }
  int width(dim_t p) const noexcept { return panel_width(*kernels_, N_, p); }
  dim_t words() const noexcept { return K_; }  // in a column of a panel
  std::string tile() const;                    // of the first panel, rows x columns
  float* panel(dim_t p) noexcept { return data_.data() + p * K_ * kernels_->nr; }
  const float* panel(dim_t p) const noexcept { return data_.data() + p * K_ * kernels_->nr; }
  const GemmKernels& kernels() const noexcept { return *kernels_; }
  dim_t bytes() const noexcept { return data_.bytes(); }
  const Buffer<float>& data() const noexcept { return data_; }

 private:
  const GemmKernels* kernels_;
  dim_t K_, N_;
  Buffer<float> data_;
};

// The same of a panel of f32 that many columns wide.
inline void run_rows(const GemmKernels& kernels, int width, GemmTile& t, dim_t rows,
                     const float* following) {
  run_rows(panel_kernels(kernels, width), t, rows,
           {t.taps * t.K, width * dim_t{sizeof(float)}, following});
}

// The groups of a convolution: same rows and taps, each with its own B and its own first channel in
// A, C and residual.
struct ProductGroup {
  using Number = float;  // of A
  using Tile = GemmTile;
  const PackedB* b;
  dim_t a_offset, c_offset;
  const float* bias;  // [N] or null
};
using Product = GroupedProduct<ProductGroup>;
// residual may be null, or c itself. Partitioned over groups, rows and columns; allocates nothing.
void multiply(const Product& product, const float* a, const float* residual, float* c) noexcept;

// out = act(alpha * a @ b + beta * c + bias): 2-D views of any strides; c (of out's shape, strides
// may be 0) and bias
// ([N]) may be null. out must not overlap a or b; it may be c itself.
void gemm(const View& a, const View& b, const View* c, const View& out, float alpha, float beta,
          const float* bias, const Activation& activation);
// The same for callers to whom speed matters more than the order of a sum: one row by a B whose
// columns are contiguous, and rows that are contiguous by a B of one column, are sums in
// interleaved parts, a third of the time. The bits of one row are then not the row's among others,
// which a network promises (an image alone and in a batch); those of one column are.
void gemm_dots(const View& a, const View& b, const View* c, const View& out, float alpha,
               float beta, const float* bias, const Activation& activation);

// out = a @ b in blocks of the caller's sizes, each at least 1, for the experiments: the five loops
// also where gemm() would read B once for a few rows. Columns of out are contiguous.
struct Blocking;
void gemm_blocked(const View& a, const View& b, const View& out, const Blocking& blocking);

}  // namespace fastconv
