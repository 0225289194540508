// L3 gemm: see sparse.h.
#include "gemm/sparse.h"

#include <algorithm>

#include "core/check.h"
#include "core/parallel.h"
#include "gemm/blocking.h"
#include "gemm/row_tiles.h"

namespace fastconv {

SparseB::SparseB(const SparsePanel& kernels, const std::vector<dim_t>& tap, dim_t ic, dim_t N,
                 const float* w, dim_t i_step, dim_t n_step, BufferSource& source)
    : kernels_(&kernels), taps_(static_cast<dim_t>(tap.size())), ic_(ic), N_(N) {
  const dim_t panels = ceil_div(N, dim_t{kernels.width});
  first_.assign(static_cast<size_t>(panels) + 1, 0);
  count_ = source.take<int32_t>(panels * taps_);
  FC_CHECK(count_.size() == panels * taps_, ShapeError, "stored weights: expected ",
           panels * taps_ * dim_t{sizeof(int32_t)}, " bytes of counts, got ", source.bytes());
  const bool stored = source.filled();
  std::vector<uint8_t> used;  // [panels][taps][ic]
  if (!stored) count_rows(tap, w, i_step, n_step, used);
  sum_counts();
  k_ = source.take<int32_t>(kept());
  rows_ = source.take<float>(kept() * width());
  FC_CHECK(k_.size() == kept() && rows_.size() == kept() * width(), ShapeError,
           "stored weights: expected ", kept(), " rows, got ", source.bytes(), " bytes");
  if (stored) {  // what says where A is read is not taken on trust
    for (dim_t i = 0; i < kept(); ++i)
      FC_CHECK(k_.data()[i] >= 0 && k_.data()[i] < ic, ShapeError,
               "stored weights: expected rows below ", ic, ", got ", k_.data()[i]);
    return;
  }
  parallel_for(panels, 1, [&](dim_t begin, dim_t end) {
    for (dim_t p = begin; p < end; ++p) {
      int32_t* k = k_.data() + first_[static_cast<size_t>(p)];
      float* row = rows_.data() + first_[static_cast<size_t>(p)] * width();
      const dim_t n0 = p * width(), columns = std::min<dim_t>(width(), N - n0);
      for (dim_t t = 0; t < taps_; ++t)
        for (dim_t i = 0; i < ic; ++i) {
          if (!used[static_cast<size_t>((p * taps_ + t) * ic + i)]) continue;
          const float* const from = w + n0 * n_step + i * i_step + tap[static_cast<size_t>(t)];
          for (dim_t n = 0; n < columns; ++n) row[n] = from[n * n_step];
          std::fill(row + columns, row + width(), 0.0f);
          *k++ = static_cast<int32_t>(i);
          row += width();
        }
    }
  });
}

void SparseB::count_rows(const std::vector<dim_t>& tap, const float* w, dim_t i_step, dim_t n_step,
                         std::vector<uint8_t>& used) {
  const dim_t panels = this->panels(), K = taps_ * ic_;
  used.assign(static_cast<size_t>(panels * K), 0);
  parallel_for(panels, 1, [&](dim_t begin, dim_t end) {
    for (dim_t p = begin; p < end; ++p) {
      uint8_t* const mine = used.data() + p * K;
      for (dim_t n = p * width(); n < std::min(N_, (p + 1) * width()); ++n)
        for (dim_t i = 0; i < ic_; ++i)
          for (dim_t t = 0; t < taps_; ++t)
            mine[t * ic_ + i] |= w[n * n_step + i * i_step + tap[static_cast<size_t>(t)]] != 0.0f;
      for (dim_t t = 0; t < taps_; ++t)
        count_.data()[p * taps_ + t] =
            static_cast<int32_t>(std::count(mine + t * ic_, mine + (t + 1) * ic_, uint8_t{1}));
    }
  });
}

void SparseB::sum_counts() {
  for (dim_t p = 0; p < panels(); ++p) {
    dim_t rows = 0;
    for (dim_t t = 0; t < taps_; ++t) {
      const int32_t n = count(p)[t];
      FC_CHECK(n >= 0 && n <= ic_, ShapeError, "stored weights: expected at most ", ic_,
               " rows of a tap, got ", n);
      rows += n;
    }
    first_[static_cast<size_t>(p) + 1] = first_[static_cast<size_t>(p)] + rows;
  }
}

std::string SparseB::tile() const {
  const double all = static_cast<double>(panels() * taps_ * ic_);
  const double share = all > 0 ? 1 - static_cast<double>(kept()) / all : 0;
  return message(kernels_->mr, "x", width(), ", ", static_cast<int>(100 * share + 0.5),
                 " % of blocks are zeros");
}

namespace {

// Panels outside, as in multiply_block of gemm/multiply.cpp: a panel stays near, and A, of which
// each tile reads all, comes from L2.
void multiply_block(const SparseProduct& p, const SparseGroup& g, const float* a,
                    const float* residual, float* c, Range rows, Range panels) {
  for (dim_t panel = panels.begin; panel < panels.end; ++panel) {
    SparseTile t = {};
    t.count = g.b->count(panel);
    t.k = g.b->k(panel);
    t.b = g.b->panel(panel);
    place_tile(t, p, g, a, residual, c, rows.begin, panel * g.b->width(), g.b->width());
    run_rows(g.b->kernels(), t, rows.end - rows.begin, {0, 0, nullptr});
  }
}

}  // namespace

void multiply_sparse(const SparseProduct& p, const float* a, const float* residual,
                     float* c) noexcept {
  if (p.M == 0 || p.group_count == 0) return;
  const SparseB& b = *p.groups[0].b;
  const dim_t weights = b.kept() * b.width();
  for_each_block(p, weights, weights > p.M * p.taps * p.k_run,
                 [&](const SparseGroup& g, Range rows, Range panels) {
                   multiply_block(p, g, a, residual, c, rows, panels);
                 });
}

}  // namespace fastconv
