// L3 gemm: block sizes from the caches' sizes, after the analytic model of Low et al., "Analytical
// modeling is enough for high-performance BLIS" (TOMS 2016), and shares of C for the threads.
//
// That model puts a B panel (KC x nr) in half of L1. Ours lies in an eighth of L2: the micro-kernel
// takes nr floats of it per mr * nr / W FMAs, 64 bytes in 6 cycles (avx2) and 128 in 14 (avx512),
// which L2 delivers (98 % of the FMA peak from L1 and from L2 alike, Zen 3). C, read and written
// once per block of K, then costs a quarter: 1024^3 has one block and not four.
#pragma once
#include <algorithm>

#include "core/cpu.h"
#include "core/division.h"
#include "kernels/kernel_table.h"

namespace fastconv {

struct Blocking {
  dim_t MC, KC, NC;
};

// Of a product with this K: equal blocks of K, a function of K alone, so that a row's sum does not
// depend on its neighbours.
inline Blocking gemm_blocking(const GemmKernels& g, dim_t K) noexcept {
  const dim_t f = sizeof(float);
  const dim_t longest = std::max<dim_t>(256, caches().l2 / 8 / (g.nr * f));
  Blocking b;
  b.KC = std::max<dim_t>(1, ceil_div(K, std::max<dim_t>(1, ceil_div(K, longest))));
  // The A block (MC x KC) lives in half of L2.
  b.MC = std::max<dim_t>(g.mr, caches().l2 / 2 / (b.KC * f) / g.mr * g.mr);
  // The packed B block (KC x NC) is shared by all threads in L3 and read once per A block: 4 MiB is
  // at most half of it.
  b.NC =
      std::max<dim_t>(g.nr, std::min<dim_t>(caches().l3 / 2, 4 << 20) / (b.KC * f) / g.nr * g.nr);
  return b;
}

// How C is cut for the threads: rows x cols parts, at most as many as asked for. The cut with the
// least work in its largest part wins; on a tie rows when B is the smaller operand (each thread
// then streams all of it, but only its own rows of A), else columns (few pixels, many weights: each
// thread streams its own share of the weights).
struct Cut {
  dim_t rows, cols;
};
inline Cut choose_cut(dim_t row_tiles, dim_t panels, dim_t parts, bool prefer_columns) noexcept {
  Cut best{1, 1};
  dim_t best_cost = row_tiles * panels;
  for (dim_t i = 1; i <= parts; ++i) {
    const dim_t cols = prefer_columns ? parts / i : i;
    if (cols < 1 || cols > panels) continue;
    const dim_t rows = std::min(row_tiles, parts / cols);
    const dim_t cost = ceil_div(row_tiles, rows) * ceil_div(panels, cols);
    if (cost < best_cost) best = {rows, cols}, best_cost = cost;
  }
  return best;
}

}  // namespace fastconv
