// L4 nn: sampling at points (grid_sample.h). Points are done a block at a time: first which pixels
// each sums and by which weights, then, channel by channel, the sums.
#include "nn/grid_sample.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/check.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "kernels/dispatch.h"
#include "nn/strided.h"

namespace fastconv {
namespace {

constexpr int kMostTaps = 4;  // along an axis
constexpr dim_t kPoints = 64;

constexpr int taps_of(SampleMode mode) noexcept {
  return mode == SampleMode::nearest ? 1 : mode == SampleMode::linear ? 2 : kMostTaps;
}

// An axis of the images. Mode and padding are known where a point is looked for, which takes as
// long as to sum its pixels.
template <SampleMode kMode, SamplePadding kPadding>
struct Axis {
  dim_t size;
  bool aligned;

  // floor() of what integers hold: without SSE 4.1 the library's is a call.
  static float whole(float x) noexcept {
    const float cut = static_cast<float>(static_cast<dim_t>(x));
    return cut - (cut > x ? 1.0f : 0.0f);
  }
  float reflected(float x) const noexcept {
    const float low = aligned ? 0.0f : -0.5f, span = static_cast<float>(size - 1) - 2 * low;
    if (span <= 0) return 0.0f;
    const float turns = std::fmod(std::fabs(x - low), 2 * span);
    return low + std::min(turns, 2 * span - turns);
  }
  // A coordinate moved to where the padding finds its values; four pixels outside all taps are.
  float padded(float x) const noexcept {
    constexpr float kMost = std::numeric_limits<float>::max();
    if (x != x) x = -4.0f;
    if (kPadding == SamplePadding::reflection) return reflected(std::clamp(x, -kMost, kMost));
    return std::clamp(x, -4.0f, static_cast<float>(size + 3));
  }

  // The pixels that a point from -1 to 1 sums and their weights; -1 for one that counts as 0.
  void find(float point, dim_t* pixel, float* weight) const noexcept {
    const float n = static_cast<float>(size);
    float x = aligned ? (point + 1) / 2 * (n - 1) : ((point + 1) * n - 1) / 2;
    if (kMode == SampleMode::nearest) x = std::nearbyint(x);
    x = padded(x);
    float first = kMode == SampleMode::nearest ? std::nearbyint(x) : whole(x);
    const float t = x - first;
    if (kMode == SampleMode::nearest) {
      weight[0] = 1.0f;
    } else if (kMode == SampleMode::linear) {
      weight[0] = 1 - t;
      weight[1] = t;
    } else {
      constexpr float a = -0.75f;
      const auto near = [](float d) { return ((a + 2) * d - (a + 3)) * d * d + 1; };
      const auto far = [](float d) { return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a; };
      weight[0] = far(t + 1);
      weight[1] = near(t);
      weight[2] = near(1 - t);
      weight[3] = far(2 - t);
      first -= 1;
    }
    for (int i = 0; i < taps_of(kMode); ++i) {
      float place = first + static_cast<float>(i);
      const bool inside = place >= 0 && place < n;
      if (kPadding == SamplePadding::reflection) place = padded(place);
      pixel[i] = kPadding == SamplePadding::zeros && !inside
                     ? -1
                     : static_cast<dim_t>(std::clamp(place, 0.0f, n - 1));
    }
  }
};

// What a block of points sums: offsets from an image's channel, tap by tap of each point.
template <int kTaps>
struct Block {
  dim_t offset[kPoints][kTaps];
  float weight[kPoints][kTaps];
  bool counts[kPoints][kTaps];
  bool whole[kPoints];  // all count
};

template <class AnyAxis, int kTaps>
void find_block(const AnyAxis& rows, const AnyAxis& columns, int along, const View& x,
                const View& grid, dim_t image, dim_t first, dim_t count,
                Block<kTaps>& block) noexcept {
  const dim_t width = grid.shape[2];
  dim_t down = first / width, across = first % width;
  const float* points = grid.as<float>() + image * grid.stride[0];
  for (dim_t p = 0; p < count; ++p) {
    const float* point = points + down * grid.stride[1] + across * grid.stride[2];
    if (++across == width) {
      across = 0;
      ++down;
    }
    dim_t row[kMostTaps], column[kMostTaps];
    float by_row[kMostTaps], by_column[kMostTaps];
    columns.find(point[0], column, by_column);
    rows.find(point[grid.stride[3]], row, by_row);
    bool whole = true;
    for (int i = 0; i < along; ++i)
      for (int j = 0; j < along; ++j) {
        const int tap = i * along + j;
        const bool counts = row[i] >= 0 && column[j] >= 0;
        whole = whole && counts;
        block.counts[p][tap] = counts;
        block.offset[p][tap] = counts ? row[i] * x.stride[2] + column[j] * x.stride[3] : 0;
        block.weight[p][tap] = by_row[i] * by_column[j];
      }
    block.whole[p] = whole;
  }
}

// One point of one channel. A pixel that does not count is left out: 0 times infinity is NaN.
template <int kTaps>
float sum_at(const Block<kTaps>& block, dim_t p, const float* x) noexcept {
  float sum = 0.0f;
  if (block.whole[p]) {
    for (int tap = 0; tap < kTaps; ++tap) sum += block.weight[p][tap] * x[block.offset[p][tap]];
    return sum;
  }
  for (int tap = 0; tap < kTaps; ++tap)
    if (block.counts[p][tap]) sum += block.weight[p][tap] * x[block.offset[p][tap]];
  return sum;
}

template <SampleMode kMode, SamplePadding kPadding>
void sample(const View& x, const View& grid, const View& y, bool aligned) noexcept {
  constexpr int kAlong = taps_of(kMode), kTaps = kAlong * kAlong;
  const Axis<kMode, kPadding> rows{x.shape[2], aligned}, columns{x.shape[3], aligned};
  const dim_t channels = x.shape[1], width = grid.shape[2], points = grid.shape[1] * width;
  const dim_t blocks = ceil_div(points, kPoints);
  const dim_t work = kPoints * kTaps * (channels + 8);
  const KernelTable& kernel = kernels();
  // Where the channels of a pixel lie together, a point's are summed at once.
  const bool together = x.stride[1] == 1 && y.stride[1] == 1 && channels >= 4;
  parallel_for(x.shape[0] * blocks, std::max<dim_t>(1, kGrain / work), [&](dim_t begin, dim_t end) {
    Block<kTaps> block;
    for (dim_t at = begin; at < end; ++at) {
      if (at > begin && interrupted()) return;
      const dim_t image = at / blocks, first = at % blocks * kPoints;
      const dim_t count = std::min(kPoints, points - first);
      find_block(rows, columns, kAlong, x, grid, image, first, count, block);
      const float* from = x.as<float>() + image * x.stride[0];
      float* const to = y.as<float>() + image * y.stride[0];
      // f(p, offset in y) for each point.
      const auto each = [&](auto f) {
        dim_t row = first / width, column = first % width;
        for (dim_t p = 0; p < count; ++p) {
          f(p, row * y.stride[2] + column * y.stride[3]);
          if (++column == width) {
            column = 0;
            ++row;
          }
        }
      };
      if (together) {
        each([&](dim_t p, dim_t offset) {
          const float* pixel[kTaps];
          float weight[kTaps];
          int taps = 0;
          for (int tap = 0; tap < kTaps; ++tap) {
            pixel[taps] = from + block.offset[p][tap];
            weight[taps] = block.weight[p][tap];
            taps += block.counts[p][tap];
          }
          kernel.resize.weighted(channels, taps, pixel, weight, to + offset);
        });
        continue;
      }
      for (dim_t c = 0; c < channels; ++c) {
        const float* plane = from + c * x.stride[1];
        float* const result = to + c * y.stride[1];
        each([&](dim_t p, dim_t offset) { result[offset] = sum_at(block, p, plane); });
      }
    }
  });
}

template <SampleMode kMode>
void sample_padded(const View& x, const View& grid, const View& y, SamplePadding padding,
                   bool aligned) noexcept {
  switch (padding) {
    case SamplePadding::zeros:
      return sample<kMode, SamplePadding::zeros>(x, grid, y, aligned);
    case SamplePadding::border:
      return sample<kMode, SamplePadding::border>(x, grid, y, aligned);
    case SamplePadding::reflection:
      return sample<kMode, SamplePadding::reflection>(x, grid, y, aligned);
  }
}

}  // namespace

void check_grid_sample(const View& x, const View& grid, const View& y) {
  FC_CHECK(x.rank == 4, ShapeError, "x: expected 4 dimensions, got shape ", shape_string(x));
  FC_CHECK(grid.rank == 4, ShapeError, "grid: expected 4 dimensions, got shape ",
           shape_string(grid));
  FC_CHECK(grid.shape[0] == x.shape[0] && grid.shape[3] == 2 && x.size() > 0, ShapeError,
           "x, grid: expected (n, channels, height, width), none of them 0, and (n, oh, ow, 2), "
           "got ",
           shape_string(x), " and ", shape_string(grid));
  const dim_t shape[4] = {x.shape[0], x.shape[1], grid.shape[1], grid.shape[2]};
  FC_CHECK(y.rank == 4 && std::equal(shape, shape + 4, y.shape), ShapeError,
           "y: expected (n, channels, oh, ow), got ", shape_string(y));
}

void grid_sample(const View& x, const View& grid, const View& y, SampleMode mode,
                 SamplePadding padding, bool align_corners) noexcept {
  switch (mode) {
    case SampleMode::nearest:
      return sample_padded<SampleMode::nearest>(x, grid, y, padding, align_corners);
    case SampleMode::linear:
      return sample_padded<SampleMode::linear>(x, grid, y, padding, align_corners);
    case SampleMode::cubic:
      return sample_padded<SampleMode::cubic>(x, grid, y, padding, align_corners);
  }
}

}  // namespace fastconv
