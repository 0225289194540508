// L4 nn: sampling at points (grid_sample.h). Points are done a block at a time: first which pixels
// each sums and by which weights, then, channel by channel, the sums.
#include "nn/grid_sample.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/interrupt.h"
#include "core/parallel.h"
#include "nn/strided.h"

namespace fastconv {
namespace {

constexpr int kMostTaps = 4;  // along an axis
constexpr dim_t kPoints = 64;

struct Axis {
  dim_t size;
  SampleMode mode;
  SamplePadding padding;
  bool aligned;

  int taps() const noexcept {
    return mode == SampleMode::nearest ? 1 : mode == SampleMode::linear ? 2 : kMostTaps;
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
    if (padding == SamplePadding::reflection) return reflected(std::clamp(x, -kMost, kMost));
    return std::clamp(x, -4.0f, static_cast<float>(size + 3));
  }

  // The pixels that a point from -1 to 1 sums and their weights; -1 for one that counts as 0.
  void find(float point, dim_t* pixel, float* weight) const noexcept {
    const float n = static_cast<float>(size);
    float x = aligned ? (point + 1) / 2 * (n - 1) : ((point + 1) * n - 1) / 2;
    if (mode == SampleMode::nearest) x = std::nearbyint(x);
    x = padded(x);
    float first = mode == SampleMode::nearest ? std::nearbyint(x) : std::floor(x);
    const float t = x - first;
    if (mode == SampleMode::nearest) {
      weight[0] = 1.0f;
    } else if (mode == SampleMode::linear) {
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
    for (int i = 0; i < taps(); ++i) {
      float place = first + static_cast<float>(i);
      const bool inside = place >= 0 && place < n;
      if (padding == SamplePadding::reflection) place = padded(place);
      pixel[i] = padding == SamplePadding::zeros && !inside
                     ? -1
                     : static_cast<dim_t>(std::clamp(place, 0.0f, n - 1));
    }
  }
};

// What a block of points sums: offsets from an image's channel, tap by tap.
struct Block {
  dim_t offset[kMostTaps * kMostTaps][kPoints];
  float weight[kMostTaps * kMostTaps][kPoints];
  bool counts[kMostTaps * kMostTaps][kPoints];
  dim_t partial[kPoints], partials;  // points some of whose pixels count as 0
};

void find_block(const Axis& rows, const Axis& columns, const View& x, const View& grid, dim_t image,
                dim_t first, dim_t count, Block& block) noexcept {
  const int down = rows.taps(), across = columns.taps();
  block.partials = 0;
  for (dim_t p = 0; p < count; ++p) {
    const dim_t at = first + p, width = grid.shape[2];
    const float* point = grid.as<float>() + image * grid.stride[0] + at / width * grid.stride[1] +
                         at % width * grid.stride[2];
    dim_t row[kMostTaps], column[kMostTaps];
    float by_row[kMostTaps], by_column[kMostTaps];
    columns.find(point[0], column, by_column);
    rows.find(point[grid.stride[3]], row, by_row);
    bool whole = true;
    for (int i = 0; i < down; ++i)
      for (int j = 0; j < across; ++j) {
        const int tap = i * across + j;
        const bool counts = row[i] >= 0 && column[j] >= 0;
        whole = whole && counts;
        block.counts[tap][p] = counts;
        block.offset[tap][p] = counts ? row[i] * x.stride[2] + column[j] * x.stride[3] : 0;
        block.weight[tap][p] = by_row[i] * by_column[j];
      }
    if (!whole) block.partial[block.partials++] = p;
  }
}

// As if all pixels counted; then again the points of which some do not, for 0 times infinity is
// NaN.
void sum_block(const Block& block, int taps, dim_t count, const float* x, float* sums) noexcept {
  for (dim_t p = 0; p < count; ++p) sums[p] = block.weight[0][p] * x[block.offset[0][p]];
  for (int tap = 1; tap < taps; ++tap) {
    const dim_t* offset = block.offset[tap];
    const float* weight = block.weight[tap];
    for (dim_t p = 0; p < count; ++p) sums[p] += weight[p] * x[offset[p]];
  }
  for (dim_t i = 0; i < block.partials; ++i) {
    const dim_t p = block.partial[i];
    float sum = 0.0f;
    for (int tap = 0; tap < taps; ++tap)
      if (block.counts[tap][p]) sum += block.weight[tap][p] * x[block.offset[tap][p]];
    sums[p] = sum;
  }
}

}  // namespace

void grid_sample(const View& x, const View& grid, const View& y, SampleMode mode,
                 SamplePadding padding, bool align_corners) noexcept {
  const Axis rows{x.shape[2], mode, padding, align_corners};
  const Axis columns{x.shape[3], mode, padding, align_corners};
  const int taps = rows.taps() * columns.taps();
  const dim_t channels = x.shape[1], width = grid.shape[2], points = grid.shape[1] * width;
  const dim_t blocks = ceil_div(points, kPoints);
  const dim_t work = kPoints * taps * (channels + 8);
  parallel_for(x.shape[0] * blocks, std::max<dim_t>(1, kGrain / work), [&](dim_t begin, dim_t end) {
    Block block;
    float sums[kPoints];
    for (dim_t at = begin; at < end; ++at) {
      if (at > begin && interrupted()) return;
      const dim_t image = at / blocks, first = at % blocks * kPoints;
      const dim_t count = std::min(kPoints, points - first);
      find_block(rows, columns, x, grid, image, first, count, block);
      for (dim_t c = 0; c < channels; ++c) {
        const float* from = x.as<float>() + image * x.stride[0] + c * x.stride[1];
        sum_block(block, taps, count, from, sums);
        float* to = y.as<float>() + image * y.stride[0] + c * y.stride[1];
        dim_t row = first / width, column = first % width;
        for (dim_t p = 0; p < count; ++p) {
          to[row * y.stride[2] + column * y.stride[3]] = sums[p];
          if (++column == width) {
            column = 0;
            ++row;
          }
        }
      }
    }
  });
}

}  // namespace fastconv
