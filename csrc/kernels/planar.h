// L2 kernels: the contract of convolutions of planes, a part of kernel_table.h. The kernel is in
// planar_f32.inl.h.
#pragma once
#include "core/epilogue.h"
#include "core/types.h"

namespace fastconv {

// Filters times a row of pixels that lie side by side, in blocks of kPlanarFilters:
//   y[o * ldy + p] = act(sum over k < K of w[(o / F) * K * F + k * F + o % F]
//                                          * x[offset[k] + p * step]
//                        + row_bias[o] + residual_scale * residual[o * ldr + p])
//   o < channels, p < pixels, F = kPlanarFilters, step 1 or 2
// Of x nothing is read but what lies between the first and the last of these.
constexpr int kPlanarFilters = 4;
struct PlanarRow {
  const float* x;
  const dim_t* offset;  // [K]
  dim_t K, step;
  const float* w;
  dim_t channels;
  float* y;
  dim_t ldy;
  dim_t pixels;
  Epilogue epilogue;
};

}  // namespace fastconv
