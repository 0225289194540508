// Native tests: pooling, resizing, normalisation and changes of layout, against plain loops.
#include <algorithm>
#include <cmath>

#include "check.h"
#include "nn/layout.h"
#include "nn/norm.h"
#include "nn/pool.h"
#include "nn/resize.h"
#include "nn/softmax.h"

namespace native {
namespace {

using namespace fastconv;

// An image of NCHW order in logical order, NHWC or NCHW in memory.
struct Image {
  std::vector<float> data;
  View view;

  Image(dim_t n, dim_t c, dim_t h, dim_t w, bool planar)
      : data(static_cast<size_t>(n * c * h * w), NAN) {
    const dim_t shape[4] = {n, c, h, w};
    view = planar ? row_major(data.data(), 4, shape) : channels_last(data.data(), 4, shape);
  }
  float& at(dim_t n, dim_t c, dim_t h, dim_t w) {
    return data[static_cast<size_t>(n * view.stride[0] + c * view.stride[1] + h * view.stride[2] +
                                    w * view.stride[3])];
  }
  // f(n, c, h, w) for every element.
  template <class F>
  void each(F f) const {
    for (dim_t n = 0; n < view.shape[0]; ++n)
      for (dim_t c = 0; c < view.shape[1]; ++c)
        for (dim_t h = 0; h < view.shape[2]; ++h)
          for (dim_t w = 0; w < view.shape[3]; ++w) f(n, c, h, w);
  }
};

Image random_image(dim_t n, dim_t c, dim_t h, dim_t w, bool planar) {
  Image image(n, c, h, w, planar);
  Random random(static_cast<uint32_t>(c * 1000 + h));
  for (float& x : image.data) x = random.number();
  return image;
}

void pools(dim_t c, dim_t size, dim_t kernel, dim_t stride, dim_t pad, bool planar) {
  Image x = random_image(2, c, size, size, planar);
  PoolShape p;
  for (int i = 0; i < 2; ++i) {
    p.kernel[i] = kernel;
    p.stride[i] = stride;
    p.pad_lo[i] = p.pad_hi[i] = pad;
  }
  p = pool_shape(p, size, size, false, AutoPad::explicit_);
  Image most(2, c, p.out[0], p.out[1], planar), mean = most;
  mean.view.data = mean.data.data();
  max_pool2d(x.view, most.view, p);
  avg_pool2d(x.view, mean.view, p, true);
  const std::string of = "pool of " + std::to_string(c) + " channels, " + std::to_string(kernel) +
                         "x" + std::to_string(kernel) + (planar ? ", NCHW" : ", NHWC");
  most.each([&](dim_t n, dim_t ch, dim_t h, dim_t w) {
    double largest = -INFINITY, sum = 0, magnitude = 0;
    for (dim_t i = h * stride - pad; i < h * stride - pad + kernel; ++i)
      for (dim_t j = w * stride - pad; j < w * stride - pad + kernel; ++j) {
        if (i < 0 || i >= size || j < 0 || j >= size) continue;
        const double value = x.at(n, ch, i, j);
        largest = std::max(largest, value);
        sum += value;
        magnitude += std::abs(value);
      }
    const double taps = static_cast<double>(kernel * kernel);
    check("max " + of, h, most.at(n, ch, h, w), {largest, 0});
    check("average " + of, h, mean.at(n, ch, h, w),
          {sum / taps, sum_bound(kernel * kernel, magnitude / taps)});
  });
}

// Twice the size, by bilinear interpolation of half pixels.
void resize(dim_t c, dim_t size, bool planar) {
  Image x = random_image(1, c, size, size, planar), y(1, c, 2 * size, 2 * size, planar);
  const ResizeScale twice{2, 1};
  resize2d(
      x.view, y.view,
      {ResizeMode::linear, ResizeCoordinates::half_pixel, ResizeRounding::floor, twice, twice});
  y.each([&](dim_t n, dim_t ch, dim_t h, dim_t w) {
    const auto axis = [&](dim_t at, dim_t(&pixel)[2], double& share) {
      const double place =
          std::clamp((static_cast<double>(at) + 0.5) / 2 - 0.5, 0.0, static_cast<double>(size - 1));
      pixel[0] = static_cast<dim_t>(place);
      pixel[1] = std::min(pixel[0] + 1, size - 1);
      share = place - std::floor(place);
    };
    dim_t i[2], j[2];
    double down = 0, across = 0;
    axis(h, i, down);
    axis(w, j, across);
    const double above = (1 - across) * x.at(n, ch, i[0], j[0]) + across * x.at(n, ch, i[0], j[1]),
                 below = (1 - across) * x.at(n, ch, i[1], j[0]) + across * x.at(n, ch, i[1], j[1]);
    check("resize", h, y.at(n, ch, h, w), {(1 - down) * above + down * below, sum_bound(4, 1)});
  });
}

void layouts(dim_t c, dim_t h, dim_t w) {
  Image planes = random_image(2, c, h, w, true), pixels(2, c, h, w, false), back(2, c, h, w, true);
  copy(planes.view, pixels.view);
  copy(pixels.view, back.view);
  planes.each([&](dim_t n, dim_t ch, dim_t i, dim_t j) {
    check("NCHW to NHWC", i, pixels.at(n, ch, i, j), {planes.at(n, ch, i, j), 0});
    check("NHWC to NCHW", i, back.at(n, ch, i, j), {planes.at(n, ch, i, j), 0});
  });
}

void norms(dim_t c, dim_t size, bool planar) {
  Image x = random_image(1, c, size, size, planar), y(1, c, size, size, planar);
  Random random(5);
  const std::vector<float> scale = random.numbers(c), shift = random.numbers(c);
  channel_affine(x.view, scale.data(), shift.data(), y.view, {});
  x.each([&](dim_t n, dim_t ch, dim_t h, dim_t w) {
    const double term = static_cast<double>(x.at(n, ch, h, w)) * scale[ch];
    check("channel_affine", h, y.at(n, ch, h, w),
          {term + shift[ch], sum_bound(1, std::abs(term) + std::abs(shift[ch]))});
  });
  lrn(x.view, y.view, 5, 0.5f, 0.75f, 2.0f);
  x.each([&](dim_t n, dim_t ch, dim_t h, dim_t w) {
    double sum = 0;
    for (dim_t i = std::max<dim_t>(0, ch - 2); i <= std::min(c - 1, ch + 2); ++i)
      sum += static_cast<double>(x.at(n, i, h, w)) * x.at(n, i, h, w);
    const double value = x.at(n, ch, h, w) * std::pow(2.0 + 0.5 / 5 * sum, -0.75);
    check("lrn", h, y.at(n, ch, h, w), {value, 16 * 0x1p-24 * std::abs(value)});
  });
}

void rows(dim_t n) {
  const dim_t shape[2] = {3, n};
  Random random(static_cast<uint32_t>(n));
  std::vector<float> x = random.numbers(3 * n), y(x.size(), NAN), z = y;
  const std::vector<float> scale = random.numbers(n), shift = random.numbers(n);
  for (float& v : x) v *= 9.0f;
  softmax(row_major(x.data(), 2, shape), row_major(y.data(), 2, shape), 1);
  layer_norm(row_major(x.data(), 2, shape), scale.data(), shift.data(), 1,
             row_major(z.data(), 2, shape), 0.5f);
  for (dim_t r = 0; r < 3; ++r) {
    double total = 0, sum = 0, squares = 0;
    for (dim_t i = 0; i < n; ++i) {
      total += std::exp(static_cast<double>(x[r * n + i]));
      sum += x[r * n + i];
    }
    const double count = static_cast<double>(n), mean = sum / count;
    for (dim_t i = 0; i < n; ++i) squares += std::pow(x[r * n + i] - mean, 2);
    const double deviation = std::sqrt(squares / count + 0.5);
    for (dim_t i = 0; i < n; ++i) {
      const double share = std::exp(static_cast<double>(x[r * n + i])) / total;
      // The difference from the maximum, at most 18, is rounded before exp grows that.
      check("softmax of " + std::to_string(n), i, y[r * n + i],
            {share, sum_bound(n + 18, share) + 0x1p-126});
      const double normal = (x[r * n + i] - mean) / deviation * scale[i];
      check("layer_norm of " + std::to_string(n), i, z[r * n + i],
            {normal + shift[i], sum_bound(2 * n + 8, 9 / deviation + std::abs(normal) + 1)});
    }
  }
  // Down the columns.
  softmax(row_major(x.data(), 2, shape), row_major(y.data(), 2, shape), 0);
  for (dim_t i = 0; i < n; ++i) {
    double total = 0;
    for (dim_t r = 0; r < 3; ++r) total += std::exp(static_cast<double>(x[r * n + i]));
    for (dim_t r = 0; r < 3; ++r) {
      const double share = std::exp(static_cast<double>(x[r * n + i])) / total;
      check("softmax of columns", i, y[r * n + i], {share, sum_bound(3 + 18, share) + 0x1p-126});
    }
  }
}

}  // namespace

void test_images() {
  for (const bool planar : {false, true})
    for (const dim_t c : {1, 3, 16, 21}) {
      pools(c, 11, 3, 2, 1, planar);
      pools(c, 8, 2, 2, 0, planar);
      pools(c, 7, 7, 1, 0, planar);
      resize(c, 6, planar);
      norms(c, 5, planar);
    }
  for (const dim_t c : {1, 3, 8, 19}) layouts(c, 9, 7);
  for (const dim_t n : {1, 3, 4, 7, 8, 15, 16, 49, 130}) rows(n);
}

}  // namespace native
