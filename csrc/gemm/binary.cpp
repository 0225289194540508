// L3 gemm: see binary.h.
#include "gemm/binary.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/check.h"
#include "core/parallel.h"
#include "gemm/row_tiles.h"

namespace fastconv {

PackedSigns::PackedSigns(const BinaryKernels& kernels, const std::vector<dim_t>& tap, dim_t ic,
                         dim_t N, const float* w, dim_t i_step, dim_t n_step, BufferSource& source)
    : kernels_(&kernels),
      taps_(static_cast<dim_t>(tap.size())),
      ic_(ic),
      N_(N),
      words_(taps_ * ceil_div(ic, kSignsPerWord)),
      bits_(source.take<uint32_t>(columns() * words_)),
      scale_(source.take<float>(columns())),
      tap_sums_(taps_ * columns()) {
  FC_CHECK(bits_.size() == columns() * words_ && scale_.size() == columns(), ShapeError,
           "stored weights: expected ", columns() * words_, " words and ", columns(),
           " scales, got ", source.bytes(), " bytes");
  if (!source.filled()) pack(tap, w, i_step, n_step);
  sum_taps();
}

void PackedSigns::pack(const std::vector<dim_t>& tap, const float* w, dim_t i_step, dim_t n_step) {
  std::fill_n(bits_.data(), bits_.size(), 0u);
  std::fill_n(scale_.data(), scale_.size(), 0.0f);
  const dim_t per_tap = words_ / std::max<dim_t>(1, taps_);
  for (dim_t n = 0; n < N_; ++n) {
    const float scale = std::abs(w[n * n_step]);
    FC_CHECK(std::isfinite(scale), ArgumentError, "w: expected finite weights, got ", scale);
    scale_.data()[n] = scale;
    for (dim_t t = 0; t < taps_; ++t)
      for (dim_t i = 0; i < ic_; ++i) {
        const float weight = w[n * n_step + i * i_step + tap[static_cast<size_t>(t)]];
        FC_CHECK(std::abs(weight) == scale, ArgumentError,
                 "w: expected one magnitude in each filter, got ", scale, " and ", std::abs(weight),
                 " in filter ", n);
        const dim_t word = t * per_tap + i / kSignsPerWord;
        uint32_t* const row = bits_.data() + (n / width() * words_ + word) * width();
        row[n % width()] |= uint32_t{!std::signbit(weight)} << i % kSignsPerWord;
      }
  }
}

void PackedSigns::sum_taps() {
  const dim_t per_tap = words_ / std::max<dim_t>(1, taps_);
  for (dim_t t = 0; t < taps_; ++t)
    for (dim_t n = 0; n < columns(); ++n) {
      const uint32_t* const word = panel(n / width()) + t * per_tap * width() + n % width();
      int32_t positive = 0;
      for (dim_t j = 0; j < per_tap; ++j) positive += std::popcount(word[j * width()]);
      tap_sums_.data()[t * columns() + n] = 2 * positive - static_cast<int32_t>(ic_);
    }
}

std::string PackedSigns::tile() const { return message(kernels().mr, "x", width()); }

namespace {

// Panels outside, as in multiply_block of gemm/multiply.cpp.
void multiply_block(const SignProduct& p, const SignGroup& g, const uint32_t* a,
                    const float* residual, float* c, Range rows, Range panels) {
  const dim_t m = rows.begin;
  for (dim_t panel = panels.begin; panel < panels.end; ++panel) {
    const dim_t n0 = panel * g.b->width();
    BinaryTile t = {};
    t.b = g.b->panel(panel);
    t.scale = g.b->scale() + n0;
    t.total = g.total + n0;
    t.total_row = p.total_row ? p.total_row + m : nullptr;
    t.plane = p.plane;
    place_tile(t, p, g, a, residual, c, m, n0, g.b->width());
    t.epilogue.row_bias = p.row_bias ? p.row_bias + (&g - p.groups) * p.M + m : nullptr;
    run_rows(g.b->kernels(), t, rows.end - m, {0, 0, nullptr});
  }
}

}  // namespace

void multiply_signs(const SignProduct& p, const uint32_t* a, const float* residual,
                    float* c) noexcept {
  if (p.M == 0 || p.group_count == 0) return;
  const dim_t words = p.taps * p.groups[0].b->N();
  for_each_block(p, words, words > p.M * p.taps, [&](const SignGroup& g, Range rows, Range panels) {
    multiply_block(p, g, a, residual, c, rows, panels);
  });
}

}  // namespace fastconv
