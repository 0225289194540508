// L4 conv: where the tiles of Winograd convolution lie along an axis of an image. Used by
// algo_winograd.cpp and integer_winograd.cpp.
#pragma once
#include <algorithm>
#include <vector>

#include "core/division.h"
#include "core/shape.h"

namespace fastconv {

// A row or column of tiles: n input positions `in + dilation * i`, of which [begin, end) lie in the
// image, and `count` output positions `out + dilation * i`.
struct AxisTile {
  dim_t in, begin, end, out;
  int count;
};

// For tiles of m outputs from n inputs. A dilated convolution is dilation^2 dense ones on
// interleaved images; each gets tiles of its own.
inline std::vector<AxisTile> axis_tiles(const ConvShape& s, int axis, int m, int n) {
  const dim_t step = s.dilation[axis], size = s.in[axis];
  std::vector<AxisTile> tiles;
  for (dim_t phase = 0; phase < std::min(step, s.out[axis]); ++phase) {
    const dim_t outputs = ceil_div(s.out[axis] - phase, step);
    for (dim_t o = 0; o < outputs; o += m) {
      AxisTile t{phase + o * step - s.pad_lo[axis], 0, n, phase + o * step,
                 static_cast<int>(std::min<dim_t>(m, outputs - o))};
      while (t.begin < t.end && t.in + t.begin * step < 0) ++t.begin;
      while (t.begin < t.end && t.in + (t.end - 1) * step >= size) --t.end;
      tiles.push_back(t);
    }
  }
  return tiles;
}

// How many axis_tiles returns: an image may be larger than any list of its tiles should be.
inline double count_axis_tiles(const ConvShape& s, int axis, int m) {
  const dim_t step = s.dilation[axis], outputs = s.out[axis] / step, longer = s.out[axis] % step;
  return static_cast<double>(longer) * static_cast<double>(ceil_div(outputs + 1, m)) +
         static_cast<double>(step - longer) * static_cast<double>(ceil_div(outputs, m));
}

}  // namespace fastconv
