// L3 gemm: the macro-kernel. Splits C into blocks for the threads, and each block into register
// tiles. Called by conv/ (every dense algorithm) and gemm/bf16.cpp. Calls the micro-kernel of the
// tier that B was packed for.
#include <algorithm>

#include "gemm/bf16.h"
#include "gemm/gemm.h"

namespace fastconv {
namespace {

// The two inner loops over rows [m0, m1) and panels [p0, p1) of one group. Panels outside: a panel
// of B (K x nr) is reused from L1 or L2 by every row tile, while A, a sixth of the traffic per FMA,
// comes from L2.
template <class Group>
void multiply_block(const GroupedProduct<Group>& p, const Group& g, const typename Group::Number* a,
                    const float* residual, float* c, dim_t m0, dim_t m1, dim_t p0, dim_t p1) {
  const auto& kernels = g.b->kernels();
  PanelTile<typename Group::Number> t;
  t.lda = p.lda;
  t.tap_offset = p.tap_offset;
  t.taps = p.taps;
  t.K = p.k_run;
  t.ldc = p.ldc;
  t.alpha = p.alpha;
  t.accumulate = false;
  t.epilogue.ldr = p.ldc;
  t.epilogue.residual_scale = p.residual_scale;
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
    run_rows(panel_kernels(kernels, width), t, m1 - m0,
             {g.b->words(), width * dim_t{sizeof(float)},
              panel + 1 < p1 ? g.b->panel(panel + 1) : nullptr});
  }
}

template <class Group>
void multiply_groups(const GroupedProduct<Group>& p, const typename Group::Number* a,
                     const float* residual, float* c) noexcept {
  if (p.M == 0 || p.group_count == 0) return;
  const auto& b = *p.groups[0].b;
  const dim_t weights = b.K() * b.N();
  const bool prefer_columns = weights > p.M * (p.a_row ? p.k_run : b.K());
  for_each_block(p, weights, prefer_columns, [&](const Group& g, Range rows, Range panels) {
    multiply_block(p, g, a, residual, c, rows.begin, rows.end, panels.begin, panels.end);
  });
}

}  // namespace

void multiply(const Product& p, const float* a, const float* residual, float* c) noexcept {
  multiply_groups(p, a, residual, c);
}

void multiply(const Bf16Product& p, const uint16_t* a, const float* residual, float* c) noexcept {
  multiply_groups(p, a, residual, c);
}

}  // namespace fastconv
