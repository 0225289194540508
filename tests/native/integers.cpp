// Native tests: numbers of 8 bits, convolved by every algorithm that accepts them, and what stands
// for real numbers, against loops over integers and in ONNX's order of operations.
#include <algorithm>
#include <cmath>
#include <map>

#include "check.h"
#include "conv/integer_conv.h"
#include "core/check.h"
#include "nn/layout.h"
#include "nn/quantized.h"

namespace native {
namespace {

using namespace fastconv;

struct Case {
  const char* name;
  dim_t n, ic, oc, groups, size, kernel, stride, pad, dilation;
};

constexpr Case kCases[] = {
    {"3x3 of bytes", 2, 6, 21, 1, 13, 3, 1, 1, 1},
    {"3x3 of bytes, many channels", 1, 40, 33, 1, 9, 3, 1, 1, 1},
    {"3x3 of bytes, stride 2", 1, 5, 18, 1, 15, 3, 2, 1, 1},
    {"dilated, of bytes", 1, 7, 9, 1, 14, 3, 1, 2, 2},
    {"1x1 of bytes", 2, 19, 26, 1, 7, 1, 1, 0, 1},
    {"1x1 of bytes, of whole words and panels", 2, 40, 70, 1, 7, 1, 1, 0, 1},
    {"1x1 of bytes, of whole words and panels, stride 2", 2, 40, 70, 1, 7, 1, 2, 0, 1},
    {"5x5 of bytes", 1, 4, 12, 1, 11, 5, 1, 2, 1},
    {"groups of bytes", 1, 12, 24, 3, 8, 3, 1, 1, 1},
    {"depthwise, of bytes", 1, 20, 20, 20, 9, 3, 1, 1, 1},
    {"depthwise, of bytes, stride 2", 1, 16, 16, 16, 9, 3, 2, 1, 1},
};

// Sums of (x - x_zero) * (w - w_zero), NHWC.
template <class X>
std::vector<int32_t> sums_of(const Case& c, const ConvShape& s, const std::vector<X>& x, int x_zero,
                             const std::vector<int8_t>& w, const std::vector<int32_t>& w_zero) {
  const dim_t gic = c.ic / c.groups, goc = c.oc / c.groups;
  std::vector<int32_t> sums;
  for (dim_t n = 0; n < c.n; ++n)
    for (dim_t oh = 0; oh < s.out[1]; ++oh)
      for (dim_t ow = 0; ow < s.out[2]; ++ow)
        for (dim_t o = 0; o < c.oc; ++o) {
          int64_t sum = 0;
          for (dim_t kh = 0; kh < c.kernel; ++kh)
            for (dim_t kw = 0; kw < c.kernel; ++kw) {
              const dim_t ih = oh * c.stride - c.pad + kh * c.dilation,
                          iw = ow * c.stride - c.pad + kw * c.dilation;
              if (ih < 0 || ih >= c.size || iw < 0 || iw >= c.size) continue;
              for (dim_t i = 0; i < gic; ++i)
                sum +=
                    static_cast<int64_t>(
                        x[((n * c.size + ih) * c.size + iw) * c.ic + o / goc * gic + i] - x_zero) *
                    (w[((o * gic + i) * c.kernel + kh) * c.kernel + kw] - w_zero[o]);
            }
          sums.push_back(static_cast<int32_t>(sum));
        }
  return sums;
}

// Adds to `cases` the algorithms that accepted it.
template <class X>
void convolution(const Case& c, int x_zero, int w_zeros, std::map<std::string, int>& cases) {
  ConvParams p;
  p.oc = c.oc;
  p.ic = c.ic;
  p.groups = c.groups;
  for (int i = 1; i < 3; ++i) {
    p.kernel[i] = c.kernel;
    p.stride[i] = c.stride;
    p.dilation[i] = c.dilation;
    p.pad_lo[i] = p.pad_hi[i] = c.pad;
  }
  const dim_t x_shape[4] = {c.n, c.ic, c.size, c.size};
  const ConvShape s = conv_shape(p, 4, x_shape);
  const dim_t y_shape[4] = {c.n, c.oc, s.out[1], s.out[2]};
  Random random(static_cast<uint32_t>(c.ic * 1009 + c.oc * 31 + c.kernel));
  const int least = static_cast<X>(-1) < 0 ? -128 : 0;
  std::vector<X> x = random.integers<X>(c.n * c.ic * c.size * c.size, least, least + 255);
  const std::vector<int8_t> w =
      random.integers<int8_t>(c.oc * c.ic / c.groups * c.kernel * c.kernel, -128, 127);
  const std::vector<int32_t> w_zero = random.integers<int32_t>(c.oc, -w_zeros, w_zeros);
  const std::vector<int32_t> expected = sums_of(c, s, x, x_zero, w, w_zero);
  const int32_t zero = x_zero;
  const IntegerWeights weights{reinterpret_cast<const uint8_t*>(w.data()), true, w_zero.data(),
                               c.oc};
  std::vector<std::string> names = integer_algorithm_names();
  names.push_back("auto");
  for (const std::string& name : names) {
    std::unique_ptr<IntegerConv> conv;
    try {
      conv = std::make_unique<IntegerConv>(p, weights, least < 0, &zero, IntegerResult{}, name);
    } catch (const ArgumentError&) {
      continue;
    }
    ++cases[name];
    std::vector<int32_t> y(expected.size(), -1);
    const auto plan =
        conv->bind(channels_last(x.data(), 4, x_shape), channels_last(y.data(), 4, y_shape));
    Buffer<std::byte> workspace(plan->workspace());
    plan->run(x.data(), nullptr, y.data(), workspace.data());
    check_true(std::string(c.name) + " by " + name, y == expected);
  }
}

template <class T>
T saturated(float v, Quantization q) {
  const int least = static_cast<T>(-1) < 0 ? -128 : 0;
  if (std::isnan(v)) return 0;
  const double whole = std::nearbyint(static_cast<double>(v)) + q.zero;
  return static_cast<T>(std::clamp(whole, static_cast<double>(least), least + 255.0));
}

template <class T>
void numbers(dim_t n, Quantization q) {
  Random random(static_cast<uint32_t>(n));
  std::vector<float> x = random.numbers(n), real(x.size());
  for (float& v : x) v *= 40;
  if (n > 3) x[2] = NAN, x[3] = 1e30f;
  std::vector<T> y(x.size()), z(x.size()), wanted;
  const std::string of = static_cast<T>(-1) < 0 ? "s8" : "u8";
  quantize(row_major(x.data(), 1, &n), q, row_major(y.data(), 1, &n));
  for (const float v : x) wanted.push_back(saturated<T>(v / q.scale, q));
  check_true("quantize to " + of, y == wanted);

  dequantize(row_major(y.data(), 1, &n), q, row_major(real.data(), 1, &n));
  for (dim_t i = 0; i < n; ++i)
    check("dequantize " + of, i, real[i], {static_cast<float>(y[i] - q.zero) * q.scale, 0});

  const std::vector<T> other = random.integers<T>(n, 0, 120);
  const Quantization from{0.5f, 3}, to{0.75f, 20};
  std::vector<T> b = other;
  for (const BinaryOp op : {BinaryOp::add, BinaryOp::mul}) {
    quantized_binary(op, row_major(y.data(), 1, &n), q, row_major(b.data(), 1, &n), from,
                     row_major(z.data(), 1, &n), to);
    wanted.clear();
    for (dim_t i = 0; i < n; ++i) {
      const float left = static_cast<float>(y[i] - q.zero) * q.scale,
                  right = static_cast<float>(b[i] - from.zero) * from.scale;
      const float result = op == BinaryOp::add ? left + right : left * right;
      wanted.push_back(saturated<T>(result / to.scale, to));
    }
    check_true("two of " + of, z == wanted);
  }

  std::vector<uint8_t> table(256), bytes = random.integers<uint8_t>(n, 0, 255), found(bytes.size()),
                                   looked_up;
  for (int i = 0; i < 256; ++i) table[i] = static_cast<uint8_t>(i * 167 + 13);
  lookup(row_major(bytes.data(), 1, &n), table.data(), row_major(found.data(), 1, &n));
  for (const uint8_t byte : bytes) looked_up.push_back(table[byte]);
  check_true("lookup", found == looked_up);
}

void transposes(dim_t c, dim_t size) {
  Random random(static_cast<uint32_t>(c));
  const dim_t shape[4] = {2, c, size, size};
  std::vector<uint8_t> planes = random.integers<uint8_t>(2 * c * size * size, 0, 255),
                       pixels(planes.size()), expected;
  copy(row_major(planes.data(), 4, shape), channels_last(pixels.data(), 4, shape));
  for (dim_t n = 0; n < 2; ++n)
    for (dim_t i = 0; i < size * size; ++i)
      for (dim_t ch = 0; ch < c; ++ch) expected.push_back(planes[(n * c + ch) * size * size + i]);
  check_true("NCHW to NHWC of bytes", pixels == expected);
}

}  // namespace

void test_integers() {
  std::map<std::string, int> cases;  // that an algorithm had
  for (const Case& c : kCases) {
    convolution<uint8_t>(c, 131, 0, cases);
    convolution<uint8_t>(c, 0, 4, cases);
    convolution<int8_t>(c, -5, 3, cases);
  }
  for (const std::string& name : integer_algorithm_names())
    check_true(name + ": it accepts something", cases[name] > 0);
  for (const dim_t n : {1, 3, 4, 7, 8, 16, 31, 64, 200}) {
    numbers<uint8_t>(n, {0.3f, 128});
    numbers<int8_t>(n, {0.4f, -3});
  }
  for (const dim_t c : {1, 2, 3, 16, 21, 40}) transposes(c, 9);
}

}  // namespace native
