// L2 kernels: the peak of an instruction that sums products of narrow numbers, from registers only,
// for `fastconv roofline`; the loop of peak.inl.h with a dot_<set>.h of simd/ for the FMA. Called
// by bindings/bind_roofline.cpp.
//   sum[i] = Dot::dot(sum[i], a, b)   for i < kDotChains, `steps` times
// Contract: that of PeakLoop in kernel_table.h.
//
// Such an instruction takes 4 to 6 cycles, and one or two start per cycle. There are 12 chains,
// which with a, b, and what vpmaddubsw needs besides fill the 16 registers of AVX2. Two pieces of
// empty assembly keep the loop as it is written. One says that a may have changed: else the compiler
// takes products that are always the same out of the loop, and we count what it never did. The other
// says that the sums are used: if they were added up instead, GCC 12 would keep half of them in
// memory.
#pragma once
#include "kernels/kernel_table.h"
#include "kernels/unroll.h"

namespace fastconv {
namespace {

constexpr int kDotChains = 12;

// What assembly calls a register of vectors.
#if defined(__aarch64__)
#define FC_VECTOR_REGISTER "w"
#else
#define FC_VECTOR_REGISTER "x"
#endif

template <class Dot>
double peak_dot(dim_t steps, float*) noexcept {
  typename Dot::Operand a = Dot::a();
  const typename Dot::Operand b = Dot::b();
  typename Dot::Sum sum[kDotChains];
  FC_UNROLL for (int i = 0; i < kDotChains; ++i) sum[i] = typename Dot::Sum{};
  for (dim_t s = 0; s < steps; ++s) FC_UNROLL for (int i = 0; i < kDotChains; ++i) {
      __asm__("" : "+" FC_VECTOR_REGISTER(a));
      sum[i] = Dot::dot(sum[i], a, b);
    }
  FC_UNROLL for (int i = 0; i < kDotChains;
                 ++i) __asm__ volatile("" : : FC_VECTOR_REGISTER(sum[i]));
  return 2.0 * Dot::kProducts * kDotChains * static_cast<double>(steps);
}

}  // namespace
}  // namespace fastconv
