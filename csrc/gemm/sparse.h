// L3 gemm: products by weights of which blocks of zeros are left out: a panel of a few neighbouring
// columns keeps the k where one of its weights is not zero. What multiply() is
// to dense weights, multiply_sparse() is to these: A is read in place, each sum has one order, and
// where A is finite the bits are those of the dense product.
#pragma once
#include <string>
#include <vector>

#include "core/buffer.h"
#include "gemm/blocks.h"
#include "kernels/kernel_table.h"

namespace fastconv {

// B of taps * ic rows and N columns.
class SparseB {
 public:
  // Row (t, i) of column n is w[n * n_step + i * i_step + tap[t]]. w is not read where the source
  // has the arrays; ShapeError where they are not those of such a B.
  SparseB(const SparsePanel& kernels, const std::vector<dim_t>& tap, dim_t ic, dim_t N,
          const float* w, dim_t i_step, dim_t n_step, BufferSource& source);

  dim_t N() const noexcept { return N_; }
  int width() const noexcept { return kernels_->width; }
  dim_t panels() const noexcept { return static_cast<dim_t>(first_.size()) - 1; }
  const SparsePanel& kernels() const noexcept { return *kernels_; }
  // Of panel p: rows of each tap, their k within the tap, and the rows.
  const int32_t* count(dim_t p) const noexcept { return count_.data() + p * taps_; }
  const int32_t* k(dim_t p) const noexcept { return k_.data() + first_[static_cast<size_t>(p)]; }
  const float* panel(dim_t p) const noexcept {
    return rows_.data() + first_[static_cast<size_t>(p)] * width();
  }
  dim_t kept() const noexcept { return first_.back(); }  // rows of all panels
  dim_t bytes() const noexcept { return count_.bytes() + k_.bytes() + rows_.bytes(); }
  std::vector<PackedArray> arrays() const { return {count_, k_, rows_}; }
  std::string tile() const;

 private:
  void count_rows(const std::vector<dim_t>& tap, const float* w, dim_t i_step, dim_t n_step,
                  std::vector<uint8_t>& used);
  void sum_counts();

  const SparsePanel* kernels_;
  dim_t taps_, ic_, N_;
  std::vector<dim_t> first_;  // row of each panel, and behind the last
  Buffer<int32_t> count_, k_;
  Buffer<float> rows_;
};

// The groups of a convolution, as ProductGroup and Product have them.
struct SparseGroup {
  using Number = float;  // of A
  const SparseB* b;
  dim_t a_offset, c_offset;
  const float* bias;  // [N] or null
};
using SparseProduct = GroupedProduct<SparseGroup>;
// residual may be null, or c itself; allocates nothing.
void multiply_sparse(const SparseProduct& product, const float* a, const float* residual,
                     float* c) noexcept;

}  // namespace fastconv
