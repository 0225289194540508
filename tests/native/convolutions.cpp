// Native tests: convolutions of every kind, by every algorithm that accepts them, against seven
// loops in double.
#include <algorithm>
#include <bit>
#include <cmath>
#include <map>

#include "check.h"
#include "conv/conv2d.h"
#include "core/check.h"

namespace native {
namespace {

using namespace fastconv;

struct Case {
  const char* name;
  dim_t n, ic, oc, groups, size, kernel, stride, pad, dilation;
  bool transposed = false;
};

constexpr Case kCases[] = {
    {"dense 3x3", 2, 6, 21, 1, 13, 3, 1, 1, 1},
    {"dense 3x3, stride 2", 1, 5, 18, 1, 15, 3, 2, 1, 1},
    {"dilated", 1, 7, 9, 1, 14, 3, 1, 2, 2},
    {"1x1", 2, 19, 26, 1, 7, 1, 1, 0, 1},
    {"1x1, stride 2", 1, 8, 33, 1, 9, 1, 2, 0, 1},
    {"5x5", 1, 4, 12, 1, 11, 5, 1, 2, 1},
    {"7x7, stride 2", 1, 3, 16, 1, 21, 7, 2, 3, 1},
    {"groups of few channels", 1, 24, 24, 12, 10, 3, 1, 1, 1},
    {"groups of 4 channels", 1, 16, 16, 4, 9, 3, 1, 1, 1},
    {"groups of 8 channels", 1, 32, 32, 4, 9, 3, 2, 1, 1},
    {"wide groups", 1, 20, 36, 2, 8, 3, 1, 1, 1},
    {"depthwise 3x3", 2, 37, 37, 37, 12, 3, 1, 1, 1},
    {"depthwise 3x3, stride 2", 1, 16, 16, 16, 29, 3, 2, 1, 1},
    {"depthwise 5x5", 1, 9, 9, 9, 13, 5, 1, 2, 1},
    {"depthwise, dilated", 1, 12, 12, 12, 14, 3, 1, 2, 2},
    {"depthwise with a multiplier", 1, 6, 12, 6, 9, 3, 1, 1, 1},
    {"transposed", 1, 6, 10, 1, 7, 3, 2, 1, 1, true},
    {"transposed, stride 1", 1, 4, 8, 1, 9, 4, 1, 0, 1, true},
    {"one pixel", 1, 17, 5, 1, 1, 1, 1, 0, 1},
    {"many channels 3x3", 1, 40, 52, 1, 8, 3, 1, 1, 1},
};

// Where |x| and |w| are at most 1, a Winograd convolution's error is that of ic + 17 roundings of
// ic times this: the largest row of |A^T| times the sums of the rows of |G| times those of |B^T|,
// along both axes. 8 for F(2, 3), 48 for F(4, 3), 58 for F(2, 5).
double winograd_growth(const std::string& algorithm, dim_t kernel) {
  const double axis = algorithm == "winograd_f4" ? 48 : kernel == 3 ? 8 : 58;
  return axis * axis;
}

struct Problem {
  Case of;
  ConvParams params;
  ConvShape shape;
  std::vector<float> x, w, bias;       // x: NHWC
  std::vector<double> sum, magnitude;  // of y, NHWC, before the activation
};

// Adds the product of x's pixel and w's tap to y's pixel, wherever there is such a pixel.
void add_tap(Problem& p, dim_t n, dim_t ih, dim_t iw, dim_t kh, dim_t kw, dim_t oh, dim_t ow) {
  const Case& c = p.of;
  if (oh < 0 || oh >= p.shape.out[1] || ow < 0 || ow >= p.shape.out[2] || ih < 0 || ih >= c.size ||
      iw < 0 || iw >= c.size)
    return;
  const dim_t gic = c.ic / c.groups, goc = c.oc / c.groups;
  for (dim_t o = 0; o < c.oc; ++o)
    for (dim_t i = 0; i < gic; ++i) {
      const dim_t g = o / goc, ci = g * gic + i;
      const dim_t row = c.transposed ? ci * goc + o % goc : o * gic + i;
      const double term = static_cast<double>(p.x[((n * c.size + ih) * c.size + iw) * c.ic + ci]) *
                          p.w[(row * c.kernel + kh) * c.kernel + kw];
      const dim_t at = ((n * p.shape.out[1] + oh) * p.shape.out[2] + ow) * c.oc + o;
      p.sum[at] += term;
      p.magnitude[at] += std::abs(term);
    }
}

// bf16: what is expected is of x and w rounded to it.
Problem make(const Case& c, bool bf16) {
  Problem p{c, {}, {}, {}, {}, {}, {}, {}};
  p.params.oc = c.oc;
  p.params.ic = c.ic;
  p.params.groups = c.groups;
  p.params.transposed = c.transposed;
  for (int i = 1; i < 3; ++i) {
    p.params.kernel[i] = c.kernel;
    p.params.stride[i] = c.stride;
    p.params.dilation[i] = c.dilation;
    p.params.pad_lo[i] = p.params.pad_hi[i] = c.pad;
  }
  const dim_t size[4] = {c.n, c.ic, c.size, c.size};
  p.shape = conv_shape(p.params, 4, size);
  Random random(static_cast<uint32_t>(c.ic * 1009 + c.oc * 31 + c.kernel));
  p.x = random.numbers(c.n * c.ic * c.size * c.size);
  p.w = random.numbers(c.ic * c.oc / c.groups * c.kernel * c.kernel);
  p.bias = random.numbers(c.oc);
  const std::vector<float> x = p.x, w = p.w;
  p.params.bf16 = bf16;
  if (bf16) {
    p.x = rounded_to_bf16(p.x);
    p.w = rounded_to_bf16(p.w);
  }
  const dim_t outputs = c.n * p.shape.out_pixels() * c.oc;
  for (dim_t i = 0; i < outputs; ++i) {
    p.sum.push_back(p.bias[i % c.oc]);
    p.magnitude.push_back(std::abs(p.bias[i % c.oc]));
  }
  // A transposed convolution spreads each pixel of x over y; the other gathers those of x.
  for (dim_t n = 0; n < c.n; ++n)
    for (dim_t h = 0; h < (c.transposed ? c.size : p.shape.out[1]); ++h)
      for (dim_t w = 0; w < (c.transposed ? c.size : p.shape.out[2]); ++w)
        for (dim_t kh = 0; kh < c.kernel; ++kh)
          for (dim_t kw = 0; kw < c.kernel; ++kw) {
            const dim_t there_h = h * c.stride - c.pad + kh * c.dilation,
                        there_w = w * c.stride - c.pad + kw * c.dilation;
            if (c.transposed)
              add_tap(p, n, h, w, kh, kw, there_h, there_w);
            else
              add_tap(p, n, there_h, there_w, kh, kw, h, w);
          }
  p.x = x;
  p.w = w;
  return p;
}

std::vector<uint16_t> bits_of_bf16(const std::vector<float>& x) {
  std::vector<uint16_t> bits;
  for (const float number : rounded_to_bf16(x))
    bits.push_back(static_cast<uint16_t>(std::bit_cast<uint32_t>(number) >> 16));
  return bits;
}

// A plan on an x or a y of bf16, where it takes one, is that of f32 which is rounded; y is its result.
void run_in_bf16(const std::string& name, const Conv& conv, const std::vector<float>& x,
                 const View& x_view, const std::vector<float>& y, const View& y_view) {
  const ConvShape s = conv.shape(4, x_view.shape);
  const auto run = [&](View from, View to) {
    const auto bound = conv.bind(from, to, nullptr);
    Buffer<std::byte> workspace(bound->workspace());
    bound->run(from.data, nullptr, to.data, workspace.data());
  };
  if (conv.stores_bf16(s)) {
    std::vector<uint16_t> found(y.size());
    View to = y_view;
    to.element = Element::bf16;
    to.data = found.data();
    run(x_view, to);
    check_true(name + ": y as bf16", found == bits_of_bf16(y));
  }
  if (conv.reads_bf16(s)) {
    std::vector<uint16_t> given = bits_of_bf16(x);
    std::vector<float> found(y.size(), NAN);
    View from = x_view, to = y_view;
    from.element = Element::bf16;
    from.data = given.data();
    to.data = found.data();
    run(from, to);
    check_true(name + ": x as bf16", found == y);
  }
}

// Returns whether the algorithm accepts it.
bool run(const Problem& p, const std::string& algorithm, bool planar) {
  const Case& c = p.of;
  ConvParams params = p.params;
  params.planar = planar;
  const Activation relu{Act::clamp, 0.0f, INFINITY};
  std::unique_ptr<Conv> conv;
  try {
    conv = std::make_unique<Conv>(params, p.w.data(), p.bias.data(), relu, algorithm);
  } catch (const ArgumentError&) {
    return false;
  }
  const dim_t x_shape[4] = {c.n, c.ic, c.size, c.size},
              y_shape[4] = {c.n, c.oc, p.shape.out[1], p.shape.out[2]};
  const dim_t in_pixels = c.size * c.size, out_pixels = p.shape.out_pixels();
  std::vector<float> x = p.x, y(p.sum.size(), NAN), found(p.sum.size());
  if (planar)
    for (dim_t n = 0; n < c.n; ++n)
      for (dim_t i = 0; i < in_pixels; ++i)
        for (dim_t ch = 0; ch < c.ic; ++ch)
          x[(n * c.ic + ch) * in_pixels + i] = p.x[(n * in_pixels + i) * c.ic + ch];
  const View x_view =
      planar ? row_major(x.data(), 4, x_shape) : channels_last(x.data(), 4, x_shape);
  const View y_view =
      planar ? row_major(y.data(), 4, y_shape) : channels_last(y.data(), 4, y_shape);
  const std::unique_ptr<const BoundConv> bound = conv->bind(x_view, y_view, nullptr);
  Buffer<std::byte> workspace(bound->workspace());
  bound->run(x.data(), nullptr, y.data(), workspace.data());
  for (dim_t n = 0; n < c.n; ++n)
    for (dim_t i = 0; i < out_pixels; ++i)
      for (dim_t o = 0; o < c.oc; ++o)
        found[(n * out_pixels + i) * c.oc + o] =
            y[planar ? (n * c.oc + o) * out_pixels + i : (n * out_pixels + i) * c.oc + o];

  const bool winograd =
      algorithm == "winograd_f4" || algorithm == "winograd_f2" || algorithm == "auto";
  std::vector<Expected> expected;
  for (size_t i = 0; i < p.sum.size(); ++i) {
    const dim_t gic = c.ic / c.groups;
    double bound_of = sum_bound(gic * c.kernel * c.kernel, p.magnitude[i]);
    if (winograd && c.kernel > 1) {
      const double growth = algorithm == "auto" ? std::max(winograd_growth("winograd_f4", c.kernel),
                                                           winograd_growth("winograd_f2", c.kernel))
                                                : winograd_growth(algorithm, c.kernel);
      bound_of =
          sum_bound(gic + 17, growth * static_cast<double>(gic) + std::abs(p.bias[i % c.oc]));
    }
    expected.push_back({std::max(0.0, p.sum[i]), bound_of});
  }
  const std::string name =
      std::string(c.name) + " by " + algorithm + (planar ? ", NCHW" : ", NHWC");
  check_all(name, found, expected);
  run_in_bf16(name, *conv, x, x_view, y, y_view);
  return true;
}

}  // namespace

void test_convolutions() {
  std::map<std::string, int> cases;  // that an algorithm had
  for (const Case& c : kCases) {
    const Problem p = make(c, false), rounded = make(c, true);
    for (const bool planar : {false, true}) {
      check_true(std::string(c.name) + ": something accepts it", run(p, "auto", planar));
      for (const std::string& name : algorithm_names())
        cases[name] += run(name == "bf16" ? rounded : p, name, planar);
    }
  }
  for (const std::string& name :
       algorithm_names())  // that of fully connected layers is in weights.cpp
    check_true(name + ": it accepts something", cases[name] > 0 || name == "codebook");
}

}  // namespace native
