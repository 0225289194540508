// Native tests: products by weights that are kept in few bits. Signs, convolved with signs, are held
// against sums of integers; weights of few values, looked up, against sums of whole numbers, which f32
// has exactly.
#include <cmath>

#include "check.h"
#include "conv/conv2d.h"

namespace native {
namespace {

using namespace fastconv;

struct Signed {
  const char* name;
  dim_t n, ic, oc, groups, size, kernel, stride, pad, dilation;
  bool zeros;
};

constexpr Signed kSigned[] = {
    {"3x3 of signs", 2, 70, 21, 1, 9, 3, 1, 1, 1, false},
    {"3x3 of signs and zeros", 1, 40, 33, 1, 8, 3, 1, 1, 1, true},
    {"1x1 of signs, many channels", 1, 1100, 18, 1, 3, 1, 1, 0, 1, true},
    {"5x5 of signs, stride 2", 1, 9, 12, 1, 11, 5, 2, 2, 1, false},
    {"dilated, of signs", 1, 33, 9, 1, 10, 3, 1, 2, 2, false},
    {"groups of signs", 1, 96, 24, 3, 6, 3, 1, 1, 1, true},
};

int sign_of(float x) { return (x > 0) - (x < 0); }

void convolve_signs(const Signed& c) {
  ConvParams p;
  p.oc = c.oc;
  p.ic = c.ic;
  p.groups = c.groups;
  p.signs = {true, 0.0f, NAN};
  for (int i = 1; i < 3; ++i) {
    p.kernel[i] = c.kernel;
    p.stride[i] = c.stride;
    p.dilation[i] = c.dilation;
    p.pad_lo[i] = p.pad_hi[i] = c.pad;
  }
  const dim_t x_shape[4] = {c.n, c.ic, c.size, c.size}, gic = c.ic / c.groups,
              goc = c.oc / c.groups;
  Random random(static_cast<uint32_t>(c.ic * 1009 + c.oc * 31 + c.kernel));
  std::vector<float> x = random.numbers(c.n * c.ic * c.size * c.size);
  if (c.zeros)
    for (float& number : x)
      if (random.integer(0, 7) == 0) number = 0;
  std::vector<float> w = random.numbers(c.oc * gic * c.kernel * c.kernel);
  for (size_t i = 0; i < w.size(); ++i) {
    const dim_t filter = static_cast<dim_t>(i) / (gic * c.kernel * c.kernel);
    w[i] = std::copysign(filter % 2 ? 0.25f : 2.0f, w[i]);
  }
  const Conv conv(p, w.data(), nullptr, Activation{}, "auto");
  const ConvShape s = conv.shape(4, x_shape);
  const dim_t y_shape[4] = {c.n, c.oc, s.out[1], s.out[2]};
  std::vector<float> y(static_cast<size_t>(c.n * c.oc * s.out[1] * s.out[2]), NAN);
  const View from = row_major(x.data(), 4, x_shape), to = row_major(y.data(), 4, y_shape);
  const auto bound = conv.bind(from, to, nullptr);
  Buffer<std::byte> workspace(bound->workspace());
  bound->run(x.data(), nullptr, y.data(), workspace.data());

  std::vector<Expected> expected;
  for (dim_t n = 0; n < c.n; ++n)
    for (dim_t o = 0; o < c.oc; ++o)
      for (dim_t oh = 0; oh < s.out[1]; ++oh)
        for (dim_t ow = 0; ow < s.out[2]; ++ow) {
          int sum = 0;
          for (dim_t i = 0; i < gic; ++i)
            for (dim_t kh = 0; kh < c.kernel; ++kh)
              for (dim_t kw = 0; kw < c.kernel; ++kw) {
                const dim_t ih = oh * c.stride - c.pad + kh * c.dilation,
                            iw = ow * c.stride - c.pad + kw * c.dilation;
                if (ih < 0 || ih >= c.size || iw < 0 || iw >= c.size) continue;
                sum += sign_of(x[((n * c.ic + o / goc * gic + i) * c.size + ih) * c.size + iw]) *
                       sign_of(w[((o * gic + i) * c.kernel + kh) * c.kernel + kw]);
              }
          expected.push_back({sum * (o % 2 ? 0.25 : 2.0), 0});
        }
  check_all(c.name, y, expected);
}

void look_up(dim_t M, dim_t K, dim_t N, int values) {
  ConvParams p;
  p.spatial = 0;
  p.ic = K;
  p.oc = N;
  Random random(static_cast<uint32_t>(M * 10007 + N * 101 + K));
  const std::vector<float> w = random.whole_numbers(N * K, 0, values - 1);
  std::vector<float> x = random.whole_numbers(M * K, -9, 9),
                     bias = random.whole_numbers(N, -99, 99);
  std::vector<float> y(static_cast<size_t>(M * N), NAN);
  const Conv conv(p, w.data(), bias.data(), {Act::clamp, 0.0f, 900.0f}, "codebook");
  const dim_t x_shape[2] = {M, K}, y_shape[2] = {M, N};
  const auto bound =
      conv.bind(row_major(x.data(), 2, x_shape), row_major(y.data(), 2, y_shape), nullptr);
  check_true("a codebook needs no workspace", bound->workspace() == 0);
  bound->run(x.data(), nullptr, y.data(), nullptr);

  std::vector<Expected> expected;
  for (dim_t m = 0; m < M; ++m)
    for (dim_t n = 0; n < N; ++n) {
      double sum = bias[static_cast<size_t>(n)];
      for (dim_t k = 0; k < K; ++k) sum += x[m * K + k] * w[n * K + k];
      expected.push_back({sum < 0 ? 0 : sum > 900 ? 900 : sum, 0});
    }
  check_all("codebook of " + std::to_string(values) + ", " + std::to_string(M) + "x" +
                std::to_string(K) + "x" + std::to_string(N),
            y, expected);
}

}  // namespace

void test_weights() {
  for (const Signed& c : kSigned) convolve_signs(c);
  for (const int values : {1, 2, 16, 17, 32})
    for (const dim_t M : {1, 2, 3, 4, 9}) look_up(M, 45 + 7 * M, 65 + values, values);
  look_up(1, 3, 1, 16);
  look_up(5, 400, 200, 32);
}

}  // namespace native
