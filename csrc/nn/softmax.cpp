// L4 nn: softmax (softmax.h) on the kernels of kernels/softmax.inl.h: along a contiguous axis run
// by run, along any other axis column by column, as many columns at once as are contiguous.
#include "nn/softmax.h"

#include "kernels/dispatch.h"
#include "nn/strided.h"

namespace fastconv {

void softmax(const View& x, const View& y, int axis) noexcept {
  const dim_t n = x.shape[axis], ldx = x.stride[axis], ldy = y.stride[axis];
  if (n == 0) return;
  const SoftmaxKernels& kernel = kernels().softmax;
  const Nest<2> nest = merge(without(x, axis), without(y, axis));
  const dim_t x_step = nest.step(0), y_step = nest.step(1);
  const bool rows = n == 1 || (ldx == 1 && ldy == 1);
  const bool columns = x_step == 1 && y_step == 1;
  for_each_run(nest, kGrain / (8 * n), [&](dim_t count, const dim_t* offset) {
    const float* from = x.as<float>() + offset[0];
    float* to = y.as<float>() + offset[1];
    if (rows)
      for (dim_t i = 0; i < count; ++i) kernel.row(n, from + i * x_step, to + i * y_step);
    else if (columns)
      kernel.columns(n, count, from, ldx, to, ldy);
    else
      for (dim_t i = 0; i < count; ++i)
        kernel.columns(n, 1, from + i * x_step, ldx, to + i * y_step, ldy);
  });
}

}  // namespace fastconv
