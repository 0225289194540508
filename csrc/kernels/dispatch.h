// L2 kernels: the table in use. A tier's table starts as a copy of its parent's, so an entry is
// never null.
#pragma once
#include "core/cpu.h"
#include "kernels/kernel_table.h"

namespace fastconv {

const KernelTable& kernels();  // of the tier in use
// Of a given tier, for tests and the roofline; ArgumentError where it cannot run here.
const KernelTable& kernels(Tier tier);
// Of those of numbers of 8 bits, the ones with the sign of T.
template <class T>
const QuantizedKernels<T>& quantized_kernels() {
  if constexpr (static_cast<T>(-1) < T{0})
    return kernels().bytes.s8;
  else
    return kernels().bytes.u8;
}
Tier active_tier();
// For tests: switch the tier of this process. Plans made before keep the kernels they were made
// with.
void set_active_tier(Tier tier);
// For tests: the tables have the tiers' extensions up to the one of that name, "all", as at first,
// or none, "".
void set_extensions_active(const std::string& last);

}  // namespace fastconv
