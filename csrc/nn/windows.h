// L4 nn: which elements of an axis the windows of a pooling layer see. Used by pool.cpp and
// quantized_pool.cpp.
#pragma once
#include <algorithm>

#include "core/division.h"
#include "core/shape.h"
#include "core/view.h"

namespace fastconv {

// Height or width of a pooling layer.
struct WindowAxis {
  dim_t in, out, kernel, stride, dilation, pad_lo, pad_hi;

  dim_t extent() const noexcept { return (kernel - 1) * dilation + 1; }
  // Outputs [interior_begin, interior_end) have all their taps in bounds.
  dim_t interior_begin() const noexcept { return ceil_div(pad_lo, stride); }
  dim_t interior_end() const noexcept {
    const dim_t room = in + pad_lo - extent();
    return room < 0 ? 0 : std::min(out, room / stride + 1);
  }
};

// Dimension 2 + i of images.
inline WindowAxis axis_of(const View& x, const View& y, const PoolShape& p, int i) noexcept {
  return {x.shape[2 + i], y.shape[2 + i], p.kernel[i], p.stride[i],
          p.dilation[i],  p.pad_lo[i],    p.pad_hi[i]};
}

// The taps of one output along an axis: `taps` of them in bounds from coordinate `first` on;
// `padded` counts those within the padded input too, which a ceil_mode window may overhang.
struct Taps {
  dim_t first, taps, padded;
};
inline Taps taps_of(const WindowAxis& a, dim_t o) noexcept {
  const auto taps_to = [&a](dim_t n) { return std::max<dim_t>(0, ceil_div(n, a.dilation)); };
  const dim_t start = o * a.stride - a.pad_lo;
  const dim_t lo = std::min(a.kernel, taps_to(-start)),
              hi = std::min(a.kernel, taps_to(a.in - start));
  return {start + lo * a.dilation, std::max<dim_t>(0, hi - lo),
          std::min(a.kernel, taps_to(a.in + a.pad_hi - start))};
}

// f(o, count, taps) for runs of outputs whose taps lie alike: each edge by itself, the interior at
// once.
template <class F>
void for_each_column_run(const WindowAxis& a, dim_t from, dim_t to, F&& f) noexcept {
  const dim_t begin = a.interior_begin(), end = a.interior_end();
  for (dim_t o = from; o < to;) {
    const dim_t count = o >= begin && o < end ? std::min(to, end) - o : 1;
    f(o, count, taps_of(a, o));
    o += count;
  }
}

}  // namespace fastconv
