// L2 kernels: the contracts of products with single zeros, a part of kernel_table.h. The kernels are
// in sparse_f32.inl.h.
#pragma once
#include "core/epilogue.h"
#include "core/types.h"

namespace fastconv {

// Channels times planes, of a block of `vectors` * W pixels:
//   y[o * ldy + p] = act(sum over i < count[o] of w[s(o) + i] * x[k[s(o) + i] * vectors * W + p]
//                        + row_bias[o] + residual_scale * residual[o * ldr + p])     o < channels, p < pixels
// s(o) = count[0] + ... + count[o - 1]; all of the whole vectors of x are read.
constexpr int kSparseVectors = 4;
struct SparsePlanes {
  const float* x;
  int vectors;  // 1 to kSparseVectors
  dim_t channels;
  const int32_t* count;  // [channels]
  const int32_t* k;
  const float* w;
  float* y;
  dim_t ldy;
  dim_t pixels;
  Epilogue epilogue;
};
// Planes become pixels:
//   y[row(p) + o] = act(x[o * ldx + p] + residual_scale * residual[row(p) + o])    o < channels, p < pixels
//   row(p)        = y_row[p], or p * ldy where y_row is null
// x is readable to whole vectors of both o and p. The residual is addressed like y.
struct PlanesToPixels {
  const float* x;
  dim_t ldx;
  dim_t channels, pixels;
  float* y;
  const dim_t* y_row;
  dim_t ldy;
  Epilogue epilogue;
};

}  // namespace fastconv
