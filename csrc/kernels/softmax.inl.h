// L2 kernels: softmax over a contiguous run, and over the rows of a matrix column by column. Called
// by nn/softmax.cpp.
//   y[i] = exp(x[i] - m) / sum over j of exp(x[j] - m),  m = max over j of x[j]
// Contract: SoftmaxKernels in kernel_table.h. NaN and +inf in x, and a run that is all -inf, make
// the run NaN, as in torch. The order of summation depends on the length alone.
//
// There are three passes: the maximum, in four chains; the exponentials and their sum; the product
// with the inverse of that, in place of a division for each, which costs a rounding.
#pragma once
#include "kernels/eltwise.inl.h"
#include "kernels/kernel_table.h"
#include "kernels/reduce.inl.h"

namespace fastconv {
namespace {

void softmax_row(dim_t n, const float* x, float* y) {
  if (n <= 0) return;
  const vf m = vset(max_row(n, x, 1.0f));
  vf sum = vzero();
  dim_t i = 0;
  for (; i + W <= n; i += W) {
    const vf e = vexp(vsub(vload(x + i), m));
    vstore(y + i, e);
    sum = vadd(sum, e);
  }
  if (i < n) {
    const int tail = static_cast<int>(n - i);
    const vf e = vexp(vsub(vload_tail(x + i, tail), m));
    vstore_tail(y + i, e, tail);
    sum = vadd(sum, first_lanes(e, tail));
  }
  const vf share = vset(1.0f / vreduce_add(sum));
  map(n, y, y, [=](vf v) { return vmul(v, share); });
}

void softmax_columns(dim_t rows, dim_t n, const float* x, dim_t ldx, float* y, dim_t ldy) {
  if (rows <= 0) return;
  for (dim_t i = 0; i < n; i += W) {
    const int lanes = static_cast<int>(n - i < W ? n - i : W);
    vf m = load_lanes(x + i, lanes);
    for (dim_t r = 1; r < rows; ++r) m = vmax_nan(m, load_lanes(x + r * ldx + i, lanes));
    vf sum = vzero();
    const auto store = [=](dim_t r, vf v) {
      if (lanes == W)
        vstore(y + r * ldy + i, v);
      else
        vstore_tail(y + r * ldy + i, v, lanes);
    };
    for (dim_t r = 0; r < rows; ++r) {
      const vf e = vexp(vsub(load_lanes(x + r * ldx + i, lanes), m));
      store(r, e);
      sum = vadd(sum, e);
    }
    const vf share = vdiv(vset(1.0f), sum);
    for (dim_t r = 0; r < rows; ++r) store(r, vmul(load_lanes(y + r * ldy + i, lanes), share));
  }
}

}  // namespace
}  // namespace fastconv
