// L2 kernels: the FMA peak of a tier, from registers only: nothing is loaded or stored inside the
// loop. Called by bindings/bind_roofline.cpp for `fastconv roofline` and for the benchmarks' roof;
// by no convolution.
//   acc[i] = acc[i] * m + c   for i < kPeakChains, `steps` times
// Contract: that of PeakLoop in kernel_table.h.
//
// An FMA takes 4 cycles and two start per cycle on every x86 core of interest, so 8 chains would
// just do; 12 leave slack for the loop's own instructions, and with m and c they fit the 16
// registers of AVX2. The accumulator is the multiplicand: acc + m * c would let a tier without FMA
// (ref) hoist the product and count multiplications it never did. acc converges to c / (1 - m) = 1,
// so no value ever becomes denormal or infinite, which some cores run slower.
#pragma once
#include "kernels/kernel_table.h"
#include "kernels/unroll.h"

namespace fastconv {
namespace {

constexpr int kPeakChains = 12;

double peak_fma(dim_t steps, float* sink) noexcept {
  const vf m = vset(0.5f), c = vset(0.5f);
  vf acc[kPeakChains];
  FC_UNROLL for (int i = 0; i < kPeakChains; ++i) acc[i] = vset(static_cast<float>(i));
  for (dim_t s = 0; s < steps; ++s)
    FC_UNROLL for (int i = 0; i < kPeakChains; ++i) acc[i] = vfma(acc[i], m, c);
  vf sum = acc[0];
  FC_UNROLL for (int i = 1; i < kPeakChains; ++i) sum = vadd(sum, acc[i]);
  *sink = vreduce_add(sum);
  return 2.0 * W * kPeakChains * static_cast<double>(steps);
}

}  // namespace
}  // namespace fastconv
