// L3 gemm: products of signs, 1 and -1 as bits, 32 in a word. What multiply() is to numbers,
// multiply_signs() is to these: A is read in place through row and tap offsets, and each sum is one of
// integers, exact on every tier.
#pragma once
#include <string>
#include <vector>

#include "core/buffer.h"
#include "core/division.h"
#include "gemm/blocks.h"
#include "kernels/kernel_table.h"

namespace fastconv {

constexpr dim_t kSignsPerWord = 32;

// B of taps * ic rows and N columns, in each of which all numbers have one magnitude, its scale.
class PackedSigns {
 public:
  // Row (t, i) of column n is w[n * n_step + i * i_step + tap[t]]. w is not read where the source
  // has the arrays. ArgumentError where a column has several magnitudes, or one that is not finite.
  PackedSigns(const BinaryKernels& kernels, const std::vector<dim_t>& tap, dim_t ic, dim_t N,
              const float* w, dim_t i_step, dim_t n_step, BufferSource& source);

  dim_t N() const noexcept { return N_; }
  int width() const noexcept { return kernels_->width; }
  dim_t panels() const noexcept { return ceil_div(N_, dim_t{width()}); }
  dim_t columns() const noexcept { return panels() * width(); }
  const PanelKernels<BinaryTile, kMaxBinaryMR>& kernels() const noexcept { return kernels_->panel; }
  const uint32_t* panel(dim_t p) const noexcept { return bits_.data() + p * words_ * width(); }
  const float* scale() const noexcept { return scale_.data(); }  // [columns()]
  // What the numbers of each tap sum up to, in units of the scale: [taps][columns()].
  const int32_t* tap_sums() const noexcept { return tap_sums_.data(); }
  dim_t taps() const noexcept { return taps_; }
  dim_t K() const noexcept { return taps_ * ic_; }
  dim_t bytes() const noexcept { return bits_.bytes() + scale_.bytes() + tap_sums_.bytes(); }
  std::vector<PackedArray> arrays() const { return {bits_, scale_}; }
  std::string tile() const;

 private:
  void pack(const std::vector<dim_t>& tap, const float* w, dim_t i_step, dim_t n_step);
  void sum_taps();

  const BinaryKernels* kernels_;
  dim_t taps_, ic_, N_, words_;
  Buffer<uint32_t> bits_;  // [panels][words][width]
  Buffer<float> scale_;
  Buffer<int32_t> tap_sums_;
};

// The groups of a convolution, as ProductGroup and Product have them; A and its offsets are words.
struct SignGroup {
  using Number = uint32_t;  // of A
  const PackedSigns* b;
  dim_t a_offset, c_offset;
  const float* bias;     // [N] or null
  const int32_t* total;  // rows of b->columns(): BinaryTile says of what
};
struct SignProduct : GroupedProduct<SignGroup> {
  dim_t plane = 0;                   // as in BinaryTile
  const dim_t* total_row = nullptr;  // [M], or null: 0 for all
  const float* row_bias = nullptr;   // [groups][M], or null
};
// residual may be null, or c itself; allocates nothing.
void multiply_signs(const SignProduct& product, const uint32_t* a, const float* residual,
                    float* c) noexcept;

}  // namespace fastconv
