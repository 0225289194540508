// L2 kernels: local response normalisation of a run. Called by nn/norm.cpp, for which neighbouring
// channels are offsets: a plane apart in NCHW, next to each other in NHWC.
//   y[i] = x[i] * (k + alpha * sum over taps t of x[i + first + t * step]^2) ^ -beta,  i < n
// Contract: LrnRun in kernel_table.h. beta = 3/4, the only one in use, needs two square roots
// instead of a power.
#pragma once
#include <math.h>

#include "kernels/eltwise.inl.h"
#include "kernels/kernel_table.h"

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

}  // namespace
}  // namespace fastconv
