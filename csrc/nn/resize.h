// L4 nn: resizing the last two dimensions of NCHW logical views.
#pragma once
#include "core/view.h"

namespace fastconv {

enum class ResizeMode : int { nearest, linear };
// How an output pixel maps to an input coordinate. The names are ONNX Resize's, but for the last:
// asymmetric, o / scale, with the reciprocal of a scale that is no ratio of whole numbers rounded
// first. That is torch's nearest, which differs in some pixels where o / scale is nearly whole.
enum class ResizeCoordinates : int {
  half_pixel,
  align_corners,
  asymmetric,
  pytorch_half_pixel,
  pytorch_asymmetric,
};
enum class ResizeRounding : int {
  floor,
  ceil,
  round_prefer_floor,
  round_prefer_ceil
};  // nearest only

// Output / input, which maps coordinates; it need not be the ratio of the sizes. Kept as a
// fraction, for a quotient rounds: of whole numbers, nearest finds its pixels without any rounding.
struct ResizeScale {
  double out, in;
};

struct ResizeParams {
  ResizeMode mode;
  ResizeCoordinates coordinates;
  ResizeRounding rounding;
  ResizeScale scale_h, scale_w;
};
// Of f32; of u8 and s8 too where the mode is nearest.
void resize2d(const View& x, const View& y, const ResizeParams& p);

}  // namespace fastconv
