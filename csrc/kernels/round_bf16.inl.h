// L2 kernel: numbers of f32 as bf16, in contiguous runs: the contract is Bf16Kernels::round in
// kernel_table.h.
#pragma once
#include "core/types.h"

namespace fastconv {
namespace {

// The first `lanes` of a vector.
inline void store_bf16(uint16_t* p, vf v, int lanes) {
  if (lanes == W)
    vstore_bf16(p, v);
  else
    vstore_bf16_tail(p, v, lanes);
}

inline void round_bf16(const float* x, dim_t n, uint16_t* y) {
  dim_t i = 0;
  for (; i + W <= n; i += W) vstore_bf16(y + i, vload(x + i));
  const int rest = static_cast<int>(n - i);
  if (rest) vstore_bf16_tail(y + i, vload_tail(x + i, rest), rest);
}

}  // namespace
}  // namespace fastconv
