// L2 kernels: the weighted mean of two runs, one step of linear interpolation along either axis.
// Called by nn/resize.cpp.
//   y[i] = wa * a[i] + wb * b[i],  i < n
// Contract: ResizeKernels in kernel_table.h; y overlaps neither a nor b.
#pragma once
#include "kernels/eltwise.inl.h"
#include "kernels/kernel_table.h"

namespace fastconv {
namespace {

void blend(dim_t n, const float* a, float wa, const float* b, float wb, float* y) {
  const vf va = vset(wa), vb = vset(wb);
  for_each(n, y, [=](dim_t i, int lanes) {
    return vfma(va, load_lanes(a + i, lanes), vmul(vb, load_lanes(b + i, lanes)));
  });
}

}  // namespace
}  // namespace fastconv
