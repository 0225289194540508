// L4 nn: see cast.h.
#include "nn/cast.h"

#include <bit>

#include "kernels/dispatch.h"
#include "nn/layout.h"
#include "nn/strided.h"

namespace fastconv {
namespace {

void widen(dim_t n, const uint16_t* x, float* y) noexcept {
  for (dim_t i = 0; i < n; ++i) y[i] = std::bit_cast<float>(uint32_t{x[i]} << 16);
}

}  // namespace

void cast_bf16(const View& x, const View& y) noexcept {
  const auto round = kernels().bf16.round;
  const bool from_f32 = x.element == Element::f32, to_f32 = y.element == Element::f32;
  if (from_f32 && to_f32)
    map_runs<float, float>(x, y, [=](dim_t n, const float* from, float* to) {
      uint16_t rounded[kChunk];
      for (dim_t i = 0; i < n; i += kChunk) {
        const dim_t m = std::min(kChunk, n - i);
        round(from + i, m, rounded);
        widen(m, rounded, to + i);
      }
    });
  else if (from_f32)
    map_runs<float, uint16_t>(
        x, y, [=](dim_t n, const float* from, uint16_t* to) { round(from, n, to); });
  else if (to_f32)
    map_runs<uint16_t, float>(x, y, widen);
  else
    copy(x, y);
}

}  // namespace fastconv
