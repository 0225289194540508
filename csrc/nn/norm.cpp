// L4 nn: normalisation along channels (norm.h).
#include "nn/norm.h"

#include "kernels/dispatch.h"
#include "nn/layout.h"
#include "nn/strided.h"

namespace fastconv {

void channel_affine(const View& x, const float* scale, const float* shift, const View& y,
                    const Activation& activation) noexcept {
  View per_channel = x, position = x;
  for (int i = 0; i < x.rank; ++i) per_channel.stride[i] = i == 1;
  std::fill_n(position.stride, x.rank, 0);
  Nest<4> nest = merge(x, per_channel, position, y);
  const dim_t x_step = nest.step(0), y_step = nest.step(3);
  if (y_step == 1 && x_step != 1) {  // another layout: change it at the speed of a transpose first
    copy(x, y);
    return channel_affine(y, scale, shift, y, activation);
  }
  const dim_t period = join_periodic(nest, 1, 2), c_step = nest.step(1);
  const EltwiseKernels& kernel = kernels().eltwise;
  for_each_run(nest, activation.cost() == ActCost::function ? kGrain / 8 : kGrain,
               [&](dim_t n, const dim_t* offset) {
                 const float* from = x.as<float>() + offset[0];
                 const Repeated scales(scale + offset[1], period, n),
                     shifts(shift + offset[1], period, n);
                 write_run(y.as<float>() + offset[3], y_step, n, [&](dim_t m, float* to, dim_t i) {
                   float buffer[kChunk];
                   const float* x_run = gathered(from + i * x_step, x_step, m, buffer);
                   const dim_t c = offset[1] + i * c_step, at = offset[2] + i;
                   if (period)
                     kernel.affine(m, x_run, scales.at(at), shifts.at(at), 1, to);
                   else
                     kernel.affine(m, x_run, scale + c, shift + c, c_step, to);
                   if (activation.act != Act::none) kernel.activate(m, to, to, activation);
                 });
               });
}

void lrn(const View& x, const View& y, int size, float alpha, float beta, float k) noexcept {
  const dim_t channels = x.shape[1], xc = x.stride[1], yc = y.stride[1];
  const dim_t before = (size - 1) / 2, after = size / 2;
  const Nest<2> nest = merge(without(x, 1), without(y, 1));
  const dim_t x_step = nest.step(0), y_step = nest.step(1);
  const auto kernel = kernels().norm.lrn_run;
  // n elements from channel c on, that lie side by side; all have the taps of channel c.
  const auto run = [&](const float* p, float* to, dim_t c, dim_t n) {
    const dim_t first = std::max<dim_t>(0, c - before), last = std::min(channels - 1, c + after);
    kernel({.x = p,
            .y = to,
            .n = n,
            .first = (first - c) * xc,
            .step = xc,
            .taps = last - first + 1,
            .alpha = alpha / static_cast<float>(size),
            .beta = beta,
            .k = k});
  };
  const bool planes = x_step == 1 && y_step == 1, pixels = xc == 1 && yc == 1;
  for_each_run(nest, kGrain / (4 * std::max<dim_t>(1, channels)),
               [&](dim_t n, const dim_t* offset) {
                 const float* from = x.as<float>() + offset[0];
                 float* to = y.as<float>() + offset[1];
                 if (planes) {
                   for (dim_t c = 0; c < channels; ++c) run(from + c * xc, to + c * yc, c, n);
                   return;
                 }
                 for (dim_t i = 0; i < n; ++i)
                   for (dim_t c = 0; c < channels;) {
                     const bool interior = pixels && c >= before && c + after < channels;
                     const dim_t count = interior ? channels - after - c : 1;
                     run(from + i * x_step + c * xc, to + i * y_step + c * yc, c, count);
                     c += count;
                   }
               });
}

void layer_norm(const View& x, const float* scale, const float* shift, dim_t step, const View& y,
                float epsilon) noexcept {
  const int last = x.rank - 1;
  const dim_t n = x.shape[last];
  if (n == 0) return;
  const Nest<2> nest = merge(without(x, last), without(y, last));
  const dim_t x_step = nest.step(0), y_step = nest.step(1);
  const auto kernel = kernels().norm.layer_norm_row;
  for_each_run(nest, kGrain / (4 * n), [&](dim_t rows, const dim_t* offset) {
    for (dim_t i = 0; i < rows; ++i)
      kernel({.x = x.as<float>() + offset[0] + i * x_step,
              .y = y.as<float>() + offset[1] + i * y_step,
              .n = n,
              .scale = scale,
              .shift = shift,
              .step = step,
              .epsilon = epsilon});
  });
}

}  // namespace fastconv
