// L2 kernel: numbers of f32 as bf16. The contract is Bf16Kernels::round in kernel_table.h. A loop for
// the compiler's vectors, which the unit's flags make instructions of.
#pragma once
#include <string.h>

#include "core/types.h"

namespace fastconv {
namespace {

// Half of the last place, less one where that is even, carries into the upper half where x is to be
// rounded up: from the largest numbers to infinity too.
void round_bf16(const float* x, dim_t n, uint16_t* y) {
  for (dim_t i = 0; i < n; ++i) {
    uint32_t bits;
    memcpy(&bits, x + i, sizeof bits);
    const uint32_t upper = bits >> 16, nearest = (bits + 0x7fff + (upper & 1)) >> 16;
    const bool nan = (bits & 0x7fffffff) > 0x7f800000;
    y[i] = static_cast<uint16_t>(nan ? upper | 0x40 : nearest);
  }
}

}  // namespace
}  // namespace fastconv
