// L4 nn: pooling (pool.h). Three ways through a view, by what is contiguous in it:
//   channels  windows straight through the kernel, vectors along channels; large maxima are taken
//             down, then across
//   columns   NCHW: down first, vectors along a row of the image, then across
//   neither   an element at a time
// Start at pool2d.
#include "nn/pool.h"

#include <algorithm>
#include <limits>

#include "core/parallel.h"
#include "kernels/dispatch.h"
#include "nn/windows.h"

namespace fastconv {
namespace {

struct Pool {
  WindowAxis h, w;
  bool max, count_include_pad;
  void (*kernel)(const PoolRow&);

  float divisor(const Taps& th, const Taps& tw) const noexcept {
    return static_cast<float>(count_include_pad ? th.padded * tw.padded : th.taps * tw.taps);
  }
  // Of a window that lies in the padding altogether; and `count` such windows of n channels.
  float empty() const noexcept { return max ? -std::numeric_limits<float>::infinity() : 0.0f; }
  void fill_empty(dim_t count, float* y, dim_t y_step, dim_t n) const noexcept {
    for (dim_t i = 0; i < count; ++i) std::fill_n(y + i * y_step, n, empty());
  }
};

constexpr dim_t kScratch = 8 * 1024;  // floats on the stack: 32 KiB, as L1

// One output row of one image, channels contiguous.
void direct_row(const Pool& p, const Taps& th, const float* x, const View& xv, float* y,
                const View& yv) noexcept {
  const dim_t channels = xv.shape[1], sh = xv.stride[2], sw = xv.stride[3];
  for_each_column_run(p.w, 0, p.w.out, [&](dim_t o, dim_t count, const Taps& tw) {
    float* to = y + o * yv.stride[3];
    if (th.taps == 0 || tw.taps == 0) return p.fill_empty(count, to, yv.stride[3], channels);
    p.kernel({.x = x + th.first * sh + tw.first * sw,
              .x_step = p.w.stride * sw,
              .rows = th.taps,
              .row_step = p.h.dilation * sh,
              .cols = tw.taps,
              .col_step = p.w.dilation * sw,
              .y = to,
              .y_step = yv.stride[3],
              .pixels = count,
              .n = channels,
              .divisor = p.divisor(th, tw),
              .from = {},
              .to = {}});
  });
}

// One output row in two passes, down and then across, through a scratch row [columns][n]: the sum
// of height and width of the window in taps for an output, instead of their product. With channels
// contiguous n is a block of them; in NCHW n is 1, step is 1, and the vectors run along the row.
// `step` and `y_step` are the pixel steps of x and y. Long rows go in pieces. The scratch row has
// the padding too, so that a maximum is one call across; a mean has divisors of its own at the
// edges.
void separable_row(const Pool& p, const Taps& th, const float* x, dim_t row_step, dim_t step,
                   dim_t n, float* y, dim_t y_step) noexcept {
  if (th.taps == 0) return p.fill_empty(p.w.out, y, y_step, n);
  alignas(kAlignment) float scratch[kScratch];
  const dim_t piece = (kScratch / n - p.w.extent()) / p.w.stride + 1;
  for (dim_t from = 0; from < p.w.out; from += piece) {
    const dim_t to = std::min(p.w.out, from + piece);
    // Columns [begin, end) are what these outputs see, [lo, hi) of them lie in the image.
    const dim_t begin = from * p.w.stride - p.w.pad_lo,
                end = (to - 1) * p.w.stride - p.w.pad_lo + p.w.extent();
    const dim_t lo = std::clamp<dim_t>(0, begin, end), hi = std::clamp(p.w.in, lo, end);
    p.fill_empty(lo - begin, scratch, n, n);
    p.fill_empty(end - hi, scratch + (hi - begin) * n, n, n);
    PoolRow row{.x = x + th.first * row_step + lo * step,
                .x_step = step,
                .rows = th.taps,
                .row_step = p.h.dilation * row_step,
                .cols = 1,
                .col_step = 0,
                .y = scratch + (lo - begin) * n,
                .y_step = n,
                .pixels = hi - lo,
                .n = n,
                .divisor = 1.0f,
                .from = {},
                .to = {}};
    if (hi > lo) p.kernel(row);

    row.x_step = p.w.stride * n;
    row.rows = 1;
    row.col_step = p.w.dilation * n;
    row.y_step = y_step;
    const auto across = [&](dim_t o, dim_t count, dim_t first, dim_t taps) {
      row.x = scratch + (first - begin) * n;
      row.cols = taps;
      row.y = y + o * y_step;
      row.pixels = count;
      p.kernel(row);
    };
    if (p.max) {
      across(from, to - from, begin, p.w.kernel);
      continue;
    }
    for_each_column_run(p.w, from, to, [&](dim_t o, dim_t count, const Taps& tw) {
      if (tw.taps == 0) return p.fill_empty(count, y + o * y_step, y_step, n);
      row.divisor = p.divisor(th, tw);
      across(o, count, tw.first, tw.taps);
    });
  }
}

// Any strides, an element at a time.
void strided_plane(const Pool& p, const float* x, const View& xv, float* y,
                   const View& yv) noexcept {
  for (dim_t oh = 0; oh < p.h.out; ++oh) {
    const Taps th = taps_of(p.h, oh);
    for (dim_t ow = 0; ow < p.w.out; ++ow) {
      const Taps tw = taps_of(p.w, ow);
      float acc = p.empty();
      for (dim_t r = 0; r < th.taps; ++r)
        for (dim_t c = 0; c < tw.taps; ++c) {
          const float v = x[(th.first + r * p.h.dilation) * xv.stride[2] +
                            (tw.first + c * p.w.dilation) * xv.stride[3]];
          if (!p.max)
            acc += v;
          else if (v > acc || v != v)
            acc = v;
        }
      const bool divide = !p.max && th.taps * tw.taps > 0;
      y[oh * yv.stride[2] + ow * yv.stride[3]] = divide ? acc / p.divisor(th, tw) : acc;
    }
  }
}

bool unit(const View& v, int dimension) noexcept {
  return v.shape[dimension] == 1 || v.stride[dimension] == 1;
}

void pool2d(const View& x, const View& y, const PoolShape& s, bool max,
            bool count_include_pad) noexcept {
  if (y.size() == 0) return;
  const Pool p{axis_of(x, y, s, 0), axis_of(x, y, s, 1), max, count_include_pad,
               max ? kernels().pool.max_row : kernels().pool.average_row};
  const dim_t channels = x.shape[1], rows = p.h.out, window = p.h.kernel * p.w.kernel;
  // Rows (or planes) that are worth a thread: 16 Ki taps.
  const auto grain = [window](dim_t outputs) {
    const double taps = static_cast<double>(window) * static_cast<double>(outputs);
    return static_cast<dim_t>(16 * 1024 / taps) + 1;
  };

  const bool by_column = unit(x, 3) && unit(y, 3) && p.w.extent() <= kScratch / 2;
  if (unit(x, 1) && unit(y, 1) && (channels > 1 || !by_column)) {
    // Down and across costs a load and store more per input column, of which an output has
    // as many as the stride.
    const dim_t block = std::min<dim_t>(channels, 64);
    const bool separable = max && 2 * window > 3 * (p.w.stride * (p.h.kernel + 1) + p.w.kernel) &&
                           p.w.extent() <= kScratch / (2 * block);
    parallel_for(x.shape[0] * rows, grain(channels * p.w.out), [&](dim_t begin, dim_t end) {
      for (dim_t i = begin; i < end; ++i) {
        const float* from = x.as<float>() + i / rows * x.stride[0];
        float* to = y.as<float>() + i / rows * y.stride[0] + i % rows * y.stride[2];
        const Taps th = taps_of(p.h, i % rows);
        if (!separable) {
          direct_row(p, th, from, x, to, y);
          continue;
        }
        for (dim_t c = 0; c < channels; c += block)
          separable_row(p, th, from + c, x.stride[2], x.stride[3], std::min(block, channels - c),
                        to + c, y.stride[3]);
      }
    });
    return;
  }
  parallel_for(x.shape[0] * channels, grain(rows * p.w.out), [&](dim_t begin, dim_t end) {
    for (dim_t i = begin; i < end; ++i) {
      const float* from = x.as<float>() + i / channels * x.stride[0] + i % channels * x.stride[1];
      float* to = y.as<float>() + i / channels * y.stride[0] + i % channels * y.stride[1];
      if (!by_column) {
        strided_plane(p, from, x, to, y);
        continue;
      }
      for (dim_t oh = 0; oh < rows; ++oh)
        separable_row(p, taps_of(p.h, oh), from, x.stride[2], 1, 1, to + oh * y.stride[2], 1);
    }
  });
}

}  // namespace

void max_pool2d(const View& x, const View& y, const PoolShape& p) noexcept {
  if (x.element != Element::f32) return max_pool2d_of_bytes(x, y, p);
  pool2d(x, y, p, true, false);
}

void avg_pool2d(const View& x, const View& y, const PoolShape& p, bool count_include_pad) noexcept {
  pool2d(x, y, p, false, count_include_pad);
}

}  // namespace fastconv
