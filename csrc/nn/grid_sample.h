// L4 nn: values of images at points between their pixels (torch's grid_sample; ONNX GridSample).
#pragma once
#include "core/view.h"

namespace fastconv {

enum class SampleMode { nearest, linear, cubic };
enum class SamplePadding { zeros, border, reflection };

// x: (n, channels, height, width); grid: (n, oh, ow, 2), a column and a row from -1 to 1 for each
// result; y: (n, channels, oh, ow). -1 and 1 are the middles of the first and the last pixel where
// corners are aligned, else their outer borders. NaN is far outside.
// ShapeError unless they have such shapes, x of one pixel at least.
void check_grid_sample(const View& x, const View& grid, const View& y);
void grid_sample(const View& x, const View& grid, const View& y, SampleMode mode,
                 SamplePadding padding, bool align_corners) noexcept;

}  // namespace fastconv
