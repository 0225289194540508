// L3 gemm: the macro-kernel. Splits C into blocks for the threads, and each block into register
// tiles. Called by conv/ (every dense algorithm). Calls the micro-kernel of the tier that B was
// packed for.
#include <algorithm>

#include "core/cpu.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "gemm/blocking.h"
#include "gemm/gemm.h"

namespace fastconv {
namespace {

// The two inner loops over rows [m0, m1) and panels [p0, p1) of one group. Panels outside: a panel
// of B (K x nr) is reused from L1 or L2 by every row tile, while A, a sixth of the traffic per FMA,
// comes from L2.
void multiply_block(const Product& p, const ProductGroup& g, const float* a, const float* residual,
                    float* c, dim_t m0, dim_t m1, dim_t p0, dim_t p1) {
  const GemmKernels& kernels = g.b->kernels();
  GemmTile t;
  const dim_t K = p.taps * p.k_run;
  t.lda = p.lda;
  t.tap_offset = p.tap_offset;
  t.taps = p.taps;
  t.K = p.k_run;
  t.ldc = p.ldc;
  t.accumulate = false;
  t.epilogue.ldr = p.ldc;
  t.epilogue.activation = p.activation;
  for (dim_t panel = p0; panel < p1; ++panel) {
    const dim_t n0 = panel * kernels.nr;
    const int width = g.b->width(panel);
    t.b = g.b->panel(panel);
    t.ldb = width;
    t.n_cur = static_cast<int>(std::min<dim_t>(width, g.b->N() - n0));
    t.epilogue.bias = g.bias ? g.bias + n0 : nullptr;
    const dim_t start = g.c_offset + n0 + (p.c_row ? 0 : m0 * p.ldc);
    t.a = a + g.a_offset + (p.a_row ? 0 : m0 * p.lda);
    t.a_row = p.a_row ? p.a_row + m0 : nullptr;
    t.c = c + start;
    t.c_row = p.c_row ? p.c_row + m0 : nullptr;
    t.epilogue.residual = residual ? residual + start : nullptr;
    run_rows(kernels, width, t, m1 - m0, panel + 1 < p1 ? t.b + K * width : nullptr);
  }
}

}  // namespace

dim_t block_rows_of(const Product& p) noexcept {
  const int mr = p.groups[0].b->kernels().mr;
  const dim_t K = p.taps * p.k_run;
  // Overlapping windows share their floats: consecutive rows of an image are one pixel step apart.
  const dim_t step = p.a_row ? (p.M > 1 ? std::abs(p.a_row[1] - p.a_row[0]) : K) : p.lda;
  const dim_t floats = std::max<dim_t>(1, std::min(K, std::max<dim_t>(step, 1)));
  return std::max<dim_t>(1, caches().l2 / 2 / static_cast<dim_t>(sizeof(float)) / floats / mr) * mr;
}

void multiply(const Product& p, const float* a, const float* residual, float* c) noexcept {
  if (p.M == 0 || p.group_count == 0) return;
  const PackedB& b = *p.groups[0].b;  // groups have equal shapes
  const int mr = b.kernels().mr;
  const dim_t row_tiles = ceil_div(p.M, mr), panels = b.panels();
  const dim_t tiles = row_tiles * panels * p.group_count;
  // Below about 20 000 multiply-adds a thread's share costs less than waking it.
  const dim_t worth = 1 + p.M * b.N() * b.K() * p.group_count / 20000;
  const int threads = static_cast<int>(std::min({dim_t{get_num_threads()}, tiles, worth}));
  const bool prefer_columns = b.K() * b.N() > p.M * (p.a_row ? p.k_run : b.K());
  const Cut cut = choose_cut(row_tiles, panels, ceil_div(threads, p.group_count), prefer_columns);
  const dim_t tasks = p.group_count * cut.rows * cut.cols;
  const dim_t mc = p.block_rows ? p.block_rows : block_rows_of(p);
  parallel_run(threads, [&](int tid) {
    const Range mine = partition(tasks, threads, tid);
    bool first = true;
    for (dim_t task = mine.begin; task < mine.end; ++task) {
      const ProductGroup& g = p.groups[task / (cut.rows * cut.cols)];
      const Range rows = partition(row_tiles, static_cast<int>(cut.rows),
                                   static_cast<int>(task / cut.cols % cut.rows));
      const Range cols =
          partition(panels, static_cast<int>(cut.cols), static_cast<int>(task % cut.cols));
      const dim_t end = std::min(p.M, rows.end * mr);
      for (dim_t m = rows.begin * mr; m < end; m += mc) {
        if (!first && interrupted()) return;
        first = false;
        multiply_block(p, g, a, residual, c, m, std::min(end, m + mc), cols.begin, cols.end);
      }
    }
  });
}

}  // namespace fastconv
