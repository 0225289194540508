// L5 experiments: one register tile after the other on operands that stay in L1: what a tile of
// each shape can do at best. Called by the bindings, for `fastconv sweep gemm`.
#pragma once
#include "core/types.h"
#include "kernels/kernel_table.h"

namespace fastconv {

// c (rows x width) = a (rows x K) b (K x width), all dense, `repeats` times over. `width` is one of
// the three of the table's panels, `rows` at most that panel's mr.
void repeat_tile(const GemmKernels& kernels, int width, int rows, dim_t K, const float* a,
                 const float* b, float* c, dim_t repeats) noexcept;

}  // namespace fastconv
