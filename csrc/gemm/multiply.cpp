// L3 gemm: the macro-kernel. Splits C into blocks for the threads, and each block into register
// tiles. Called by conv/ (every dense algorithm) and gemm/bf16.cpp. Calls the micro-kernel of the
// tier that B was packed for.
#include <algorithm>

#include "gemm/bf16.h"
#include "gemm/gemm.h"

namespace fastconv {
namespace {

// The two inner loops over rows and panels of one group. Panels outside: a panel
// of B (K x nr) is reused from L1 or L2 by every row tile, while A, a sixth of the traffic per FMA,
// comes from L2.
template <class Group, class C>
void multiply_block(const GroupedProduct<Group>& p, const Group& g, const typename Group::Number* a,
                    const float* residual, C* c, Range rows, Range panels) {
  const auto& kernels = g.b->kernels();
  typename Group::Tile t;
  for (dim_t panel = panels.begin; panel < panels.end; ++panel) {
    const int width = g.b->width(panel);
    t.b = g.b->panel(panel);
    t.ldb = width;
    place_tile(t, p, g, a, residual, c, rows.begin, panel * kernels.nr, width);
    run_rows(panel_kernels(kernels, width), t, rows.end - rows.begin,
             {g.b->words(), width * dim_t{sizeof(float)},
              panel + 1 < panels.end ? g.b->panel(panel + 1) : nullptr});
  }
}

template <class Group, class C>
void multiply_groups(const GroupedProduct<Group>& p, const typename Group::Number* a,
                     const float* residual, C* c) noexcept {
  if (p.M == 0 || p.group_count == 0) return;
  const auto& b = *p.groups[0].b;
  const dim_t weights = b.K() * b.N();
  const bool prefer_columns = weights > p.M * (p.a_row ? p.k_run : b.K());
  for_each_block(p, weights, prefer_columns, [&](const Group& g, Range rows, Range panels) {
    multiply_block(p, g, a, residual, c, rows, panels);
  });
}

}  // namespace

void multiply(const Product& p, const float* a, const float* residual, float* c) noexcept {
  multiply_groups(p, a, residual, c);
}

void multiply(const Bf16Product& p, const uint16_t* a, const float* residual, float* c) noexcept {
  multiply_groups(p, a, residual, c);
}

void multiply(const Bf16Product& p, const uint16_t* a, uint16_t* c) noexcept {
  multiply_groups(p, a, nullptr, c);
}

}  // namespace fastconv
