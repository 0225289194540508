// L3 gemm: products of numbers rounded to bf16, summed in f32, on the tile of kernels/product/. B is
// half as large as that of f32, and where the processor multiplies pairs of bf16 in one instruction,
// there are half as many. What multiply() is to f32, it is to these: A is read in place through row
// and tap offsets, and each sum has one order.
#pragma once
#include <string>

#include "core/buffer.h"
#include "core/view.h"
#include "gemm/blocks.h"
#include "gemm/gemm.h"
#include "kernels/kernel_table.h"

namespace fastconv {

// How rows of A are multiplied: `depth` is what the numbers of each tap are filled up to a multiple
// of, with zeros on both sides.
struct Bf16Form {
  const Bf16Kernels* kernels;
  dim_t depth;
};
// That of taps of k numbers: in tile registers, where there are such and no more than half of what
// they multiply would be zeros. Their depth is kept where the system refuses them, because stored
// panels are to serve every process.
Bf16Form bf16_form(const KernelTable& table, dim_t k);
// Names what of bf16_form() a table decides: of equal names panels are equal.
std::string bf16_packing(const KernelTable& table);

// B of bf16, taps * k_run rows and N columns, as panels [panels][taps][k_run / 2][width][2].
class PackedBf16 {
 public:
  // In `data` of numbers() elements; fill it with pack(), unless it holds the panels already. k_run
  // is a multiple of form.depth, K of k_run.
  PackedBf16(const Bf16Form& form, dim_t K, dim_t N, Buffer<uint16_t> data);
  static dim_t numbers(const Bf16Form& form, dim_t K, dim_t N) noexcept {
    return K * round_up(N, form.kernels->nr / 2);
  }
  // Takes rows of f32, `taps` times k_run of them, and adds zeros after each tap.
  void pack(const PackedB& b, dim_t taps, dim_t k_run);

  dim_t K() const noexcept { return K_; }
  dim_t N() const noexcept { return N_; }
  dim_t panels() const noexcept { return panel_count(*kernels_, N_); }
  int width(dim_t p) const noexcept { return panel_width(*kernels_, N_, p); }
  dim_t words() const noexcept { return K_ / 2; }  // in a column of a panel
  std::string tile() const;                        // of the first panel, rows x columns
  uint16_t* panel(dim_t p) noexcept { return data_.data() + p * K_ * kernels_->nr; }
  const uint16_t* panel(dim_t p) const noexcept { return data_.data() + p * K_ * kernels_->nr; }
  const Bf16Kernels& kernels() const noexcept { return *kernels_; }
  dim_t bytes() const noexcept { return data_.bytes(); }
  const Buffer<uint16_t>& data() const noexcept { return data_; }

 private:
  const Bf16Kernels* kernels_;
  dim_t depth_, K_, N_;
  Buffer<uint16_t> data_;
};

// As ProductGroup and Product have them; of A, offsets count numbers of bf16.
struct Bf16Group {
  using Number = uint16_t;  // of A
  using Tile = Bf16Tile;
  const PackedBf16* b;
  dim_t a_offset, c_offset;
  const float* bias;  // [N] or null
};
using Bf16Product = GroupedProduct<Bf16Group>;
void multiply(const Bf16Product& product, const uint16_t* a, const float* residual,
              float* c) noexcept;
// C rounded to bf16, without a residual.
void multiply(const Bf16Product& product, const uint16_t* a, uint16_t* c) noexcept;

// gemm() of a and b rounded to bf16: c, alpha, beta, bias and the result stay f32.
void gemm_bf16(const View& a, const View& b, const View* c, const View& out, float alpha,
               float beta, const float* bias, const Activation& activation);

// How many times as many products a second as of f32 these kernels' instruction does, measured once;
// 0 where there is none.
double bf16_gain(const KernelTable& table, const Bf16Kernels& kernels);

}  // namespace fastconv
