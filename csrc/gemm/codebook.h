// L3 gemm: products by weights of few values, each kept as an index into a table. What multiply() is to
// weights in full, multiply_coded() is to these, with the same bits.
#pragma once
#include <string>
#include <vector>

#include "core/buffer.h"
#include "gemm/blocks.h"
#include "kernels/kernel_table.h"

namespace fastconv {

constexpr int kMostCodes = 1 << kCodebookBits[kCodebooks - 1];

// The different values among n numbers in the order of their bits; none where there are more than
// kMostCodes.
std::vector<float> distinct_values(const float* w, dim_t n);

// B of K rows and N columns.
class CodedB {
 public:
  // Row k of column n is w[n * K + k]. w is not read where the source has the arrays; ShapeError where
  // these are not those of such a B, ArgumentError where w has too many values.
  CodedB(const CodebookKernels& kernels, dim_t K, dim_t N, const float* w, BufferSource& source);

  // How many values such weights have at the most, by the first of the stored arrays.
  static int stored_values(const void* data, dim_t bytes) noexcept;

  dim_t K() const noexcept { return K_; }
  dim_t N() const noexcept { return N_; }
  int bits() const noexcept { return kCodebookBits[which_]; }
  int width() const noexcept { return kernels_->width; }
  dim_t panels() const noexcept { return ceil_div(N_, dim_t{width()}); }
  dim_t words() const noexcept { return ceil_div(K_, codes_in_word(bits())); }  // of a column
  const auto& kernels() const noexcept { return kernels_->table[which_].panel; }
  const uint32_t* panel(dim_t p) const noexcept { return codes_.data() + p * words() * width(); }
  const float* table() const noexcept { return table_.data(); }
  dim_t bytes() const noexcept { return bits_.bytes() + table_.bytes() + codes_.bytes(); }
  std::vector<PackedArray> arrays() const { return {bits_, table_, codes_}; }
  std::string tile() const;

 private:
  void pack(const std::vector<float>& values, const float* w);

  const CodebookKernels* kernels_;
  dim_t K_, N_;
  int which_ = 0;         // of kCodebookBits
  Buffer<int32_t> bits_;  // one number: of an index
  Buffer<float> table_;   // [1 << bits]
  Buffer<uint32_t> codes_;
};

struct CodedGroup {
  using Number = float;  // of A
  const CodedB* b;
  dim_t a_offset, c_offset;
  const float* bias;  // [N] or null
};
using CodedProduct = GroupedProduct<CodedGroup>;  // of one group and one tap

// residual may be null, or c itself; allocates nothing.
void multiply_coded(const CodedProduct& product, const float* a, const float* residual,
                    float* c) noexcept;

}  // namespace fastconv
