// L4 nn: resizing (resize.h). Which input pixels an output pixel takes, and with what weights, is
// worked out once for each axis. Linear: two input rows are blended into a scratch row, which is
// then blended across; with channels contiguous that is the vector kernel both times, in NCHW the
// second step is a gather. Other layouts are staged through row-major copies.
#include "nn/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <vector>

#include "core/buffer.h"
#include "core/division.h"
#include "core/parallel.h"
#include "kernels/dispatch.h"
#include "nn/layout.h"

namespace fastconv {
namespace {

// The two pixels (or, for nearest, the one pixel `lo`) of an input axis that an output pixel takes.
struct Source {
  dim_t lo, hi;
  float w_lo, w_hi;
};

// In double, each a quotient that rounds once: what is whole comes out whole.
double coordinate(ResizeCoordinates mode, dim_t o, dim_t in, dim_t out, const ResizeScale& scale) {
  const double x = static_cast<double>(o);
  switch (mode) {
    case ResizeCoordinates::align_corners:
      return out == 1 ? 0.0 : x * static_cast<double>(in - 1) / static_cast<double>(out - 1);
    case ResizeCoordinates::asymmetric:
    case ResizeCoordinates::pytorch_asymmetric:
      return x * scale.in / scale.out;
    case ResizeCoordinates::pytorch_half_pixel:
      if (out == 1) return 0.0;
      [[fallthrough]];
    case ResizeCoordinates::half_pixel:
      return (x + 0.5) * scale.in / scale.out - 0.5;
  }
  return x;
}

// In float, as torch and ONNX Runtime do for a factor that is no ratio: it decides which pixel is
// nearest.
float float_coordinate(ResizeCoordinates mode, dim_t o, dim_t in, dim_t out,
                       const ResizeScale& factor) {
  if (mode == ResizeCoordinates::align_corners)
    return static_cast<float>(coordinate(mode, o, in, out, factor));
  const double exact_scale = factor.out / factor.in;
  const float x = static_cast<float>(o), scale = static_cast<float>(exact_scale);
  if (mode == ResizeCoordinates::pytorch_asymmetric)
    return x * static_cast<float>(1.0 / exact_scale);
  if (mode == ResizeCoordinates::asymmetric) return x / scale;
  if (mode == ResizeCoordinates::pytorch_half_pixel && out == 1) return 0.0f;
  return (x + 0.5f) / scale - 0.5f;
}

dim_t rounded(float x, ResizeRounding rounding) {
  switch (rounding) {
    case ResizeRounding::floor:
      break;
    case ResizeRounding::ceil:
      x = std::ceil(x);
      break;
    case ResizeRounding::round_prefer_floor:
      x = std::ceil(x - 0.5f);
      break;
    case ResizeRounding::round_prefer_ceil:
      x += 0.5f;
      break;
  }
  return static_cast<dim_t>(std::clamp(std::floor(x), -1.0f, 0x1p62f));
}

// A coordinate without rounding; q > 0.
struct Rational {
  dim_t p, q;
};

Rational exact_coordinate(ResizeCoordinates mode, dim_t o, dim_t in, dim_t out,
                          const ResizeScale& scale) {
  const dim_t to = static_cast<dim_t>(scale.out), from = static_cast<dim_t>(scale.in);
  switch (mode) {
    case ResizeCoordinates::align_corners:
      return out == 1 ? Rational{0, 1} : Rational{o * (in - 1), out - 1};
    case ResizeCoordinates::asymmetric:
    case ResizeCoordinates::pytorch_asymmetric:
      return {o * from, to};
    case ResizeCoordinates::pytorch_half_pixel:
      if (out == 1) return {0, 1};
      [[fallthrough]];
    case ResizeCoordinates::half_pixel:
      return {(2 * o + 1) * from - to, 2 * to};
  }
  return {o, 1};
}

dim_t rounded(const Rational& x, ResizeRounding rounding) {
  switch (rounding) {
    case ResizeRounding::floor:
      break;
    case ResizeRounding::ceil:
      return ceil_div(x.p, x.q);
    case ResizeRounding::round_prefer_floor:
      return ceil_div(2 * x.p - x.q, 2 * x.q);
    case ResizeRounding::round_prefer_ceil:
      return floor_div(2 * x.p + x.q, 2 * x.q);
  }
  return floor_div(x.p, x.q);
}

// Whether exact_coordinate() and its rounding stay within 63 bits.
bool is_exact(const ResizeParams& p, dim_t in, dim_t out, const ResizeScale& scale) {
  constexpr dim_t limit = dim_t{1} << 30;
  const auto whole = [](double v) { return v < static_cast<double>(limit) && v == std::floor(v); };
  return in < limit && out < limit &&
         (p.coordinates == ResizeCoordinates::align_corners ||
          (whole(scale.out) && whole(scale.in)));
}

std::vector<Source> sources(const ResizeParams& p, dim_t in, dim_t out, const ResizeScale& scale) {
  std::vector<Source> map(static_cast<size_t>(out));
  const bool exact = is_exact(p, in, out, scale);
  for (dim_t o = 0; o < out; ++o) {
    Source& s = map[static_cast<size_t>(o)];
    if (p.mode == ResizeMode::nearest) {
      const dim_t at =
          exact ? rounded(exact_coordinate(p.coordinates, o, in, out, scale), p.rounding)
                : rounded(float_coordinate(p.coordinates, o, in, out, scale), p.rounding);
      s.lo = std::clamp<dim_t>(at, 0, in - 1);
      continue;
    }
    const double x =
        std::clamp(coordinate(p.coordinates, o, in, out, scale), 0.0, static_cast<double>(in - 1));
    s.lo = static_cast<dim_t>(x);
    s.hi = std::min(s.lo + 1, in - 1);
    s.w_hi = static_cast<float>(x - static_cast<double>(s.lo));
    if (s.w_hi == 1.0f) {  // rounded up: all of it is the next pixel's
      s.lo = s.hi;
      s.w_hi = 0.0f;
    }
    s.w_lo = 1.0f - s.w_hi;
  }
  return map;
}

bool unit(const View& v, int dimension) {
  return v.shape[dimension] == 1 || v.stride[dimension] == 1;
}

// One output row. `pixel` channels lie side by side at x_step and y_step from the next pixel's.
struct Rows {
  const std::vector<Source>& across;
  dim_t in_pixels, channels, x_step, y_step;
  void (*blend)(dim_t, const float*, float, const float*, float, float*);

  template <class T>
  void nearest(const T* x, T* y) const {
    for (const Source& s : across) {
      if (channels == 1)
        *y = x[s.lo * x_step];
      else
        std::memcpy(y, x + s.lo * x_step, static_cast<size_t>(channels) * sizeof(T));
      y += y_step;
    }
  }

  // A neighbour without weight is not read: 0 times infinity would be NaN.
  void linear(const float* lo, const float* hi, const Source& down, float* y,
              float* scratch) const {
    const float* row = lo;
    dim_t step = x_step;
    if (down.w_hi != 0.0f) {
      const bool dense = x_step == channels;
      const dim_t runs = dense ? 1 : in_pixels, n = dense ? in_pixels * channels : channels;
      for (dim_t i = 0; i < runs; ++i)
        blend(n, lo + i * x_step, down.w_lo, hi + i * x_step, down.w_hi, scratch + i * channels);
      row = scratch;
      step = channels;
    }
    for (const Source& s : across) {
      const float *a = row + s.lo * step, *b = row + s.hi * step;
      if (s.w_hi == 0.0f)
        std::memcpy(y, a, static_cast<size_t>(channels) * sizeof(float));
      else if (channels == 1)
        *y = s.w_lo * *a + s.w_hi * *b;
      else
        blend(channels, a, s.w_lo, b, s.w_hi, y);
      y += y_step;
    }
  }
};

template <class T>
void resize_as(const View& x, const View& y, const ResizeParams& p);

template <class T>
void resize_staged(const View& x, const View& y, const ResizeParams& p) {
  Buffer<T> x_dense(x.size()), y_dense(y.size());
  const View from = row_major(x_dense.data(), x.rank, x.shape),
             to = row_major(y_dense.data(), y.rank, y.shape);
  copy(x, from);
  resize_as<T>(from, to, p);
  copy(to, y);
}

// T float, or uint8_t for the nearest pixels of bytes.
template <class T>
void resize_as(const View& x, const View& y, const ResizeParams& p) {
  if (y.size() == 0) return;
  const bool planes = unit(x, 3) && unit(y, 3);
  const bool pixels = unit(x, 1) && unit(y, 1) && (x.shape[1] > 1 || !planes);
  if (!planes && !pixels) return resize_staged<T>(x, y, p);

  const std::vector<Source> down = sources(p, x.shape[2], y.shape[2], p.scale_h);
  const std::vector<Source> across = sources(p, x.shape[3], y.shape[3], p.scale_w);
  // With channels contiguous a row holds all of them; in NCHW the channels are images of their own.
  const Rows rows{across,
                  x.shape[3],
                  pixels ? x.shape[1] : 1,
                  pixels ? x.stride[3] : 1,
                  pixels ? y.stride[3] : 1,
                  kernels().resize.blend};
  const dim_t channels = pixels ? 1 : x.shape[1], height = y.shape[2],
              images = x.shape[0] * channels;
  const dim_t scratch_size = (rows.in_pixels * rows.channels + 15) / 16 * 16;
  const dim_t row_work = y.shape[3] * rows.channels, grain = 8 * 1024;
  const bool dense = rows.y_step == rows.channels;  // output rows that repeat are copied
  const int threads =
      static_cast<int>(std::clamp<dim_t>(images * height * row_work / grain, 1, get_num_threads()));
  Buffer<float> scratch(p.mode == ResizeMode::linear ? threads * scratch_size : 0);

  parallel_run(threads, [&](int tid) {
    const Range range = partition(images * height, threads, tid);
    for (dim_t i = range.begin; i < range.end; ++i) {
      const dim_t image = i / height, oh = i % height;
      const T* from = static_cast<const T*>(x.data) + image / channels * x.stride[0] +
                      image % channels * x.stride[1];
      T* to = static_cast<T*>(y.data) + image / channels * y.stride[0] +
              image % channels * y.stride[1] + oh * y.stride[2];
      const Source& s = down[static_cast<size_t>(oh)];
      if (p.mode == ResizeMode::nearest && dense && i > range.begin && oh > 0 &&
          down[static_cast<size_t>(oh - 1)].lo == s.lo)
        std::memcpy(to, to - y.stride[2], static_cast<size_t>(row_work) * sizeof(T));
      else if (p.mode == ResizeMode::nearest)
        rows.nearest(from + s.lo * x.stride[2], to);
      else if constexpr (std::is_same_v<T, float>)
        rows.linear(from + s.lo * x.stride[2], from + s.hi * x.stride[2], s, to,
                    scratch.data() + tid * scratch_size);
    }
  });
}

}  // namespace

void resize2d(const View& x, const View& y, const ResizeParams& p) {
  x.element == Element::f32 ? resize_as<float>(x, y, p) : resize_as<uint8_t>(x, y, p);
}

}  // namespace fastconv
