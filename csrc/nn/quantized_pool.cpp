// L4 nn: pooling of numbers of 8 bits (pool.h). Windows go straight through the kernel, vectors along
// channels where these are contiguous in both; otherwise each channel is an image of its own.
#include <algorithm>
#include <type_traits>

#include "core/parallel.h"
#include "kernels/dispatch.h"
#include "nn/pool.h"
#include "nn/windows.h"

namespace fastconv {
namespace {

template <class T>
struct BytePool {
  WindowAxis h, w;
  void (*kernel)(const PoolRowOf<T>&);
  T empty;  // of a window that lies in the padding altogether
  bool count_include_pad = false;
  Quantization from = {}, to = {};

  float divisor(const Taps& th, const Taps& tw) const noexcept {
    return static_cast<float>(count_include_pad ? th.padded * tw.padded : th.taps * tw.taps);
  }

  // One output row of one image, n channels side by side.
  void row(const Taps& th, const T* x, const View& xv, T* y, const View& yv,
           dim_t n) const noexcept {
    const dim_t sh = xv.stride[2], sw = xv.stride[3], step = yv.stride[3];
    for_each_column_run(w, 0, w.out, [&](dim_t o, dim_t count, const Taps& tw) {
      T* first = y + o * step;
      if (th.taps == 0 || tw.taps == 0) {
        for (dim_t i = 0; i < count; ++i) std::fill_n(first + i * step, n, empty);
        return;
      }
      kernel({.x = x + th.first * sh + tw.first * sw,
              .x_step = w.stride * sw,
              .rows = th.taps,
              .row_step = h.dilation * sh,
              .cols = tw.taps,
              .col_step = w.dilation * sw,
              .y = first,
              .y_step = step,
              .pixels = count,
              .n = n,
              .divisor = divisor(th, tw),
              .from = from,
              .to = to});
    });
  }

  void run(const View& x, const View& y) const noexcept {
    if (y.size() == 0) return;
    const auto unit = [](const View& v) { return v.shape[1] == 1 || v.stride[1] == 1; };
    const dim_t channels = x.shape[1], rows = h.out;
    // An image of few rows, a global average's one, is shared by blocks of channels.
    constexpr dim_t kBlock = 128, kFewRows = 8;
    const bool together = unit(x) && unit(y);
    const dim_t block = !together ? 1 : rows < kFewRows ? std::min(channels, kBlock) : channels;
    const dim_t blocks = ceil_div(channels, block);
    const double taps =
        static_cast<double>(h.kernel * w.kernel) * static_cast<double>(block * w.out);
    const dim_t grain = static_cast<dim_t>(64 * 1024 / taps) + 1;
    parallel_for(x.shape[0] * rows * blocks, grain, [&](dim_t begin, dim_t end) {
      for (dim_t i = begin; i < end; ++i) {
        const dim_t image = i / (rows * blocks), at = i / blocks % rows, c = i % blocks * block;
        row(taps_of(h, at), x.as<T>() + image * x.stride[0] + c * x.stride[1], x,
            y.as<T>() + image * y.stride[0] + c * y.stride[1] + at * y.stride[2], y,
            std::min(block, channels - c));
      }
    });
  }
};

template <class T>
void max_of(const View& x, const View& y, const PoolShape& p) noexcept {
  constexpr T kLeast = std::is_signed_v<T> ? -128 : 0;
  BytePool<T>{axis_of(x, y, p, 0), axis_of(x, y, p, 1), quantized_kernels<T>().max_row, kLeast}.run(
      x, y);
}

template <class T>
void average_of(const View& x, Quantization from, const View& y, Quantization to,
                const PoolShape& p, bool count_include_pad) noexcept {
  BytePool<T>{axis_of(x, y, p, 0),
              axis_of(x, y, p, 1),
              quantized_kernels<T>().average_row,
              static_cast<T>(to.zero),
              count_include_pad,
              from,
              to}
      .run(x, y);
}

}  // namespace

void max_pool2d_of_bytes(const View& x, const View& y, const PoolShape& p) noexcept {
  x.element == Element::u8 ? max_of<uint8_t>(x, y, p) : max_of<int8_t>(x, y, p);
}

void quantized_avg_pool2d(const View& x, Quantization from, const View& y, Quantization to,
                          const PoolShape& p, bool count_include_pad) noexcept {
  x.element == Element::u8 ? average_of<uint8_t>(x, from, y, to, p, count_include_pad)
                           : average_of<int8_t>(x, from, y, to, p, count_include_pad);
}

}  // namespace fastconv
