// L2 kernels: local response normalisation of a run, and layer normalisation of a row. Called by
// nn/norm.cpp, for which neighbouring channels are offsets: a plane apart in NCHW, next to each
// other in NHWC.
//   lrn_run         y[i] = x[i] * (k + alpha * sum over taps t of x[i + first + t * step]^2)^-beta
//   layer_norm_row  y[i] = (x[i] - mean) / sqrt(variance + epsilon) * scale[i] + shift[i]
// for i < n. The contracts are LrnRun and LayerNormRow in kernel_table.h.
//
// beta = 3/4, the only one in use, needs two square roots instead of a power. The variance is that
// of x - mean, in a pass of its own: the row is in L1, and the mean square less the squared mean
// would cancel. Lanes beyond a row's end are cut off by a comparison, not by a masked store and a
// load that waits for it.
#pragma once
#include <math.h>

#include "kernels/eltwise.inl.h"
#include "kernels/kernel_table.h"
#include "kernels/reduce.inl.h"

namespace fastconv {
namespace {

void lrn_run(const LrnRun& r) {
  const vf k = vset(r.k), alpha = vset(r.alpha);
  const float beta = r.beta;
  for_each(r.n, r.y, [&](dim_t i, int lanes) {
    vf sum = vzero();
    for (dim_t t = 0; t < r.taps; ++t) {
      const vf v = load_lanes(r.x + i + r.first + t * r.step, lanes);
      sum = vfma(v, v, sum);
    }
    const vf base = vfma(alpha, sum, k), x = load_lanes(r.x + i, lanes);
    if (beta == 0.75f) {
      const vf root = vsqrt(base);
      return vdiv(x, vmul(root, vsqrt(root)));
    }
    float power[W];
    vstore(power, base);
    for (int l = 0; l < lanes; ++l) power[l] = powf(power[l], -beta);
    return vmul(x, vload(power));
  });
}

void layer_norm_row(const LayerNormRow& r) {
  const float count = static_cast<float>(r.n);
  // The sum of what lies beside the first element: of values around 1000 that differ by hundredths
  // the sum itself, in float, would lose more digits than the one rounding of the mean.
  const vf first = vbroadcast(r.x);
  const float beside = sum_row_of(r.n, r.x, [=](vf v) { return vsub(v, first); });
  const vf mean = vset(r.x[0] + beside / count);
  const float squares = sum_row_of(r.n, r.x, [=](vf v) {
    const vf d = vsub(v, mean);
    return vmul(d, d);
  });
  const vf inverse = vdiv(vset(1.0f), vsqrt(vset(squares / count + r.epsilon)));
  const auto standard = [=](vf v) { return vmul(vsub(v, mean), inverse); };
  if (r.step == 0) {
    const vf scale = vbroadcast(r.scale), shift = vbroadcast(r.shift);
    return map(r.n, r.x, r.y, [=](vf v) { return vfma(standard(v), scale, shift); });
  }
  for_each(r.n, r.y, [=](dim_t i, int lanes) {
    return vfma(standard(load_lanes(r.x + i, lanes)), load_lanes(r.scale + i, lanes),
                load_lanes(r.shift + i, lanes));
  });
}

}  // namespace
}  // namespace fastconv
