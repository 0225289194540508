// L2 kernels: the peak of products of signs: words compared and their bits counted, in registers, as
// binary.inl.h does it. Contract: PeakLoop in kernel_table.h.
#pragma once
#include "kernels/unroll.h"

namespace fastconv {
namespace {

// CHAINS: how many counts are under way at once.
template <int CHAINS>
double peak_bits(dim_t steps, float*) noexcept {
  vi a = viset(0x0f0f0f0f);
  const vi b = viset(0x33333333);
  Bits::Count count[CHAINS];
  FC_UNROLL for (int i = 0; i < CHAINS; ++i) count[i] = Bits::none();
  for (dim_t s = 0; s < steps; ++s) FC_UNROLL for (int i = 0; i < CHAINS; ++i) {
      vi differ[Bits::kWords];
      FC_UNROLL for (int k = 0; k < Bits::kWords; ++k) {
        __asm__("" : "+x"(a));
        differ[k] = vixor(a, b);
      }
      Bits::count(count[i], differ);
    }
  vi total = vizero();
  FC_UNROLL for (int i = 0; i < CHAINS; ++i) {
    Bits::fold(count[i]);
    total = viadd(total, Bits::total(count[i]));
  }
  __asm__ volatile("" : : "x"(total));
  return 2.0 * 32 * W * Bits::kWords * CHAINS * static_cast<double>(steps);
}

}  // namespace
}  // namespace fastconv
