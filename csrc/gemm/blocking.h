// L3 gemm: block sizes from the caches' sizes, after the analytic model of Low et al., "Analytical
// modeling is enough for high-performance BLIS" (TOMS 2016): a B panel (KC x nr) lives in half of
// L1, an A block (MC x KC) in half of L2.
#pragma once
#include <algorithm>

#include "core/cpu.h"
#include "kernels/kernel_table.h"

namespace fastconv {

struct Blocking {
  dim_t MC, KC, NC;
};

inline Blocking gemm_blocking(const GemmKernels& g) noexcept {
  const dim_t f = sizeof(float);
  Blocking b;
  // 32 KiB of L1 and 16 columns give 256; never below, so that C (read and written once per KC)
  // stays cheap.
  b.KC = std::max<dim_t>(256, caches().l1d / 2 / (g.nr * f) / 32 * 32);
  b.MC = std::max<dim_t>(g.mr, caches().l2 / 2 / (b.KC * f) / g.mr * g.mr);
  // The packed B block (KC x NC) is shared by all threads in L3 and read once per A block: 4 MiB is
  // at most half of it.
  b.NC =
      std::max<dim_t>(g.nr, std::min<dim_t>(caches().l3 / 2, 4 << 20) / (b.KC * f) / g.nr * g.nr);
  return b;
}

}  // namespace fastconv
