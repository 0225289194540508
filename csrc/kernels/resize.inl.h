// L2 kernels: weighted sums of runs: of two, one step of linear interpolation along either axis,
// and of any number, a point between pixels. Called by nn/resize.cpp and nn/grid_sample.cpp.
//   y[i] = wa * a[i] + wb * b[i]   y[i] = sum over t of weight[t] * x[t][i]
// Contract: ResizeKernels in kernel_table.h; y overlaps neither a nor b.
#pragma once
#include "kernels/eltwise.inl.h"
#include "kernels/kernel_table.h"
#include "kernels/unroll.h"

namespace fastconv {
namespace {

void blend(dim_t n, const float* a, float wa, const float* b, float wb, float* y) {
  const vf va = vset(wa), vb = vset(wb);
  for_each(n, y, [=](dim_t i, int lanes) {
    return vfma(va, load_lanes(a + i, lanes), vmul(vb, load_lanes(b + i, lanes)));
  });
}

template <int T>
inline void weighted_taps(dim_t n, const float* const* x, const float* weight, float* y) {
  vf w[T];
  for (int t = 0; t < T; ++t) w[t] = vset(weight[t]);
  for_each(n, y, [&](dim_t i, int lanes) {
    vf sum = vmul(w[0], load_lanes(x[0] + i, lanes));
    FC_UNROLL for (int t = 1; t < T; ++t) sum = vfma(w[t], load_lanes(x[t] + i, lanes), sum);
    return sum;
  });
}

void weighted(dim_t n, int taps, const float* const* x, const float* weight, float* y) {
  if (taps == 4) return weighted_taps<4>(n, x, weight, y);
  if (taps == 1) return weighted_taps<1>(n, x, weight, y);
  if (taps == 0) return for_each(n, y, [](dim_t, int) { return vzero(); });
  for_each(n, y, [=](dim_t i, int lanes) {
    vf sum = vmul(vset(weight[0]), load_lanes(x[0] + i, lanes));
    for (int t = 1; t < taps; ++t) sum = vfma(vset(weight[t]), load_lanes(x[t] + i, lanes), sum);
    return sum;
  });
}

}  // namespace
}  // namespace fastconv
