// L4 nn: element by element (eltwise.h) on the kernels of kernels/eltwise.inl.h.
#include "nn/eltwise.h"

#include "kernels/dispatch.h"
#include "nn/layout.h"
#include "nn/strided.h"

namespace fastconv {

void activate(const View& x, const View& y, const Activation& activation) noexcept {
  const Nest<2> nest = merge(x, y);
  const dim_t x_step = nest.step(0), y_step = nest.step(1);
  if (y_step == 1 && x_step != 1) {  // another layout: change it at the speed of a transpose first
    copy(x, y);
    return activate(y, y, activation);
  }
  const auto kernel = kernels().eltwise.activate;
  const dim_t grain = activation.cost() < ActCost::function ? kGrain : kGrain / 8;
  for_each_run(nest, grain, [&](dim_t n, const dim_t* offset) {
    const float* from = x.as<float>() + offset[0];
    write_run(y.as<float>() + offset[1], y_step, n, [&](dim_t m, float* to, dim_t i) {
      float buffer[kChunk];
      kernel(m, gathered(from + i * x_step, x_step, m, buffer), to, activation);
    });
  });
}

void binary(BinaryOp op, const View& a, const View& b, const View& y,
            const Activation& activation) noexcept {
  View position = y;
  std::fill_n(position.stride, y.rank, 0);
  Nest<4> nest = merge(a, b, position, y);
  const dim_t a_period = join_periodic(nest, 0, 2);
  const dim_t b_period = a_period ? 0 : join_periodic(nest, 1, 2);
  const dim_t a_step = nest.step(0), b_step = nest.step(1), y_step = nest.step(3);
  const EltwiseKernels& kernel = kernels().eltwise;
  const dim_t grain =
      op == BinaryOp::pow || activation.cost() == ActCost::function ? kGrain / 8 : kGrain;
  for_each_run(nest, grain, [&](dim_t n, const dim_t* offset) {
    const float *pa = a.as<float>() + offset[0], *pb = b.as<float>() + offset[1];
    const Repeated repeated(a_period ? pa : pb, std::max(a_period, b_period), n);
    // The operand as a run, or as the one value that it is.
    const auto operand = [&](const float* p, dim_t step, dim_t period, dim_t i, dim_t m,
                             float* buffer) {
      if (period) return repeated.at(offset[2] + i);
      return step ? gathered(p + i * step, step, m, buffer) : p;
    };
    write_run(y.as<float>() + offset[3], y_step, n, [&](dim_t m, float* to, dim_t i) {
      float buffer_a[kChunk], buffer_b[kChunk];
      const float* run_a = operand(pa, a_step, a_period, i, m, buffer_a);
      const float* run_b = operand(pb, b_step, b_period, i, m, buffer_b);
      kernel.binary(op, m, run_a, a_period || a_step, run_b, b_period || b_step, to);
      if (activation.act != Act::none) kernel.activate(m, to, to, activation);
    });
  });
}

void prelu(const View& x, const View& slope, const View& y) noexcept {
  binary(BinaryOp::prelu, x, slope, y, Activation{});
}

}  // namespace fastconv
