// L4 nn: reductions (reduce.h) on the kernels of kernels/reduce.inl.h. The kept dimensions are a
// nest that the threads share; the reduced ones are never divided, so an element's sum has one
// order. Where the reduced dimensions hold the contiguous one (global average pooling in NCHW) they
// are summed run by run, otherwise column by column (NHWC).
#include "nn/reduce.h"

#include <limits>

#include "kernels/dispatch.h"
#include "nn/strided.h"

namespace fastconv {
namespace {

float identity(ReduceOp op) noexcept {
  switch (op) {
    case ReduceOp::sum:
      return 0.0f;
    case ReduceOp::mean:
      return std::numeric_limits<float>::quiet_NaN();
    case ReduceOp::max:
      return -std::numeric_limits<float>::infinity();
    case ReduceOp::min:
      return std::numeric_limits<float>::infinity();
  }
  return 0.0f;
}

BinaryOp combiner(ReduceOp op) noexcept {
  return op == ReduceOp::max ? BinaryOp::max : op == ReduceOp::min ? BinaryOp::min : BinaryOp::add;
}

// f(offset) for every run of a nest, in order.
template <class F>
void for_each_outer(const Nest<1>& nest, F&& f) noexcept {
  dim_t runs = nest.size() / nest.run();
  for (dim_t i = 0; i < runs; ++i) {
    dim_t offset = 0, rest = i;
    for (int d = nest.rank - 2; d >= 0; --d) {
      offset += rest % nest.shape[d] * nest.stride[0][d];
      rest /= nest.shape[d];
    }
    f(offset);
  }
}

}  // namespace

void reduce(ReduceOp op, const View& x, const View& y) noexcept {
  View kept_x = x, reduced = x;  // x with the other dimensions cut to 1
  for (int i = 0; i < x.rank; ++i) {
    (y.shape[i] == 1 ? kept_x : reduced).shape[i] = 1;
    if (y.shape[i] == 1 && x.stride[i] < 0) {  // backwards is another order of the same sum
      kept_x.data = kept_x.as<float>() + (x.shape[i] - 1) * x.stride[i];
      reduced.stride[i] = -x.stride[i];
    }
  }
  const Nest<2> kept = merge(kept_x, y);
  const Nest<1> inner = merge(reduced);
  const dim_t count = inner.size(), run = inner.run(), ldx = inner.step(0);
  const dim_t x_step = kept.step(0), y_step = kept.step(1);
  const KernelTable& kernel = kernels();

  for_each_run(kept, count ? kGrain / count : kGrain, [&](dim_t n, const dim_t* offset) {
    const float* from = kept_x.as<float>() + offset[0];
    write_run(y.as<float>() + offset[1], y_step, n, [&](dim_t m, float* to, dim_t begin) {
      const float* p = from + begin * x_step;
      std::fill_n(to, m, identity(op == ReduceOp::mean && count ? ReduceOp::sum : op));
      if (count == 0) return;
      for_each_outer(inner, [&](dim_t at) {
        float part[kChunk];
        if (ldx == 1)
          for (dim_t i = 0; i < m; ++i) part[i] = kernel.reduce.row(op, run, p + at + i * x_step);
        else if (x_step == 1)
          kernel.reduce.columns(op, run, m, p + at, ldx, part);
        else
          for (dim_t i = 0; i < m; ++i)
            kernel.reduce.columns(op, run, 1, p + at + i * x_step, ldx, part + i);
        kernel.eltwise.binary(combiner(op), m, to, 1, part, 1, to);
      });
      if (op == ReduceOp::mean)
        for (dim_t i = 0; i < m; ++i) to[i] /= static_cast<float>(count);
    });
  });
}

}  // namespace fastconv
