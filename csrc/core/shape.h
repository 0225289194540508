// L0 core: the only shape arithmetic. Every layer asks here for output sizes and paddings; Python
// calls it through out_shape of _core.Conv and _core.pool_out_shape and never recomputes it.
#pragma once
#include <initializer_list>

#include "core/types.h"

namespace fastconv {

constexpr int kMaxSpatial = 3;  // depth, height, width

enum class AutoPad : int {
  explicit_,
  same_upper,
  same_lower
};  // ONNX auto_pad; "same" puts an odd pixel at the end / start

// A convolution of a given input. Spatial arrays run over (d, h, w), right-aligned: an image has
// size 1 and kernel 1 in d.
struct ConvShape {
  dim_t n = 0, ic = 0, oc = 0, groups = 1;
  dim_t in[kMaxSpatial] = {1, 1, 1}, out[kMaxSpatial] = {1, 1, 1}, kernel[kMaxSpatial] = {1, 1, 1};
  dim_t stride[kMaxSpatial] = {1, 1, 1}, dilation[kMaxSpatial] = {1, 1, 1};
  dim_t pad_lo[kMaxSpatial] = {0, 0, 0}, pad_hi[kMaxSpatial] = {0, 0, 0};

  dim_t group_ic() const { return ic / groups; }
  dim_t group_oc() const { return oc / groups; }
  dim_t taps() const { return kernel[0] * kernel[1] * kernel[2]; }
  dim_t out_pixels() const { return out[0] * out[1] * out[2]; }
  bool padded() const {
    for (int i = 0; i < kMaxSpatial; ++i)
      if (pad_lo[i] || pad_hi[i]) return true;
    return false;
  }
};

// Shares of a convolution's weights, 0 where nobody counted.
struct Zeros {
  double single = 0;      // weights that are zeros
  double blocks[2] = {};  // blocks of them, as wide as SparseTile's panels may be
};

// Of a convolution that multiplies the signs of its input: what the signs of 0 and of NaN are, besides
// -1 of what is below 0 and 1 of what is above. Each is -1, 0 or 1, and that of NaN may be NaN.
struct Signs {
  bool taken = false;
  float of_zero = 1, of_nan = 1;
};

// What is known of a convolution before its input: weights' shape and attributes.
struct ConvParams {
  int spatial = 2;  // 0 (a fully connected layer) to 3
  bool transposed = false;
  bool exact = false;   // only algorithms whose error is that of a sum of the products
  bool bf16 = false;    // x and w may be rounded to bf16
  bool planar = false;  // the arrays to come are planes of channels (NCHW), not pixels of channels
  AutoPad auto_pad = AutoPad::explicit_;
  dim_t oc = 0, ic = 0, groups = 1;
  dim_t kernel[kMaxSpatial] = {1, 1, 1}, stride[kMaxSpatial] = {1, 1, 1},
        dilation[kMaxSpatial] = {1, 1, 1};
  dim_t pad_lo[kMaxSpatial] = {0, 0, 0}, pad_hi[kMaxSpatial] = {0, 0, 0},
        output_padding[kMaxSpatial] = {0, 0, 0};
  Zeros zeros;
  // Of a fully connected layer: how many different weights, where a codebook has room for them and
  // somebody counted, else 0.
  int values = 0;
  Signs signs;
};

// The product of sizes; ShapeError beyond 2^48 elements, where byte offsets are in danger and no
// memory is large enough.
dim_t checked_product(std::initializer_list<dim_t> sizes);

// Throws ArgumentError / ShapeError, naming the argument, where the parameters make no convolution.
void check_params(const ConvParams& p);
// The convolution of an input (n, ic, spatial...); throws ShapeError where they do not fit
// together.
ConvShape conv_shape(const ConvParams& p, int rank, const dim_t* x_shape);

struct PoolShape {
  dim_t kernel[2] = {1, 1}, stride[2] = {1, 1}, dilation[2] = {1, 1}, pad_lo[2] = {0, 0},
        pad_hi[2] = {0, 0};
  dim_t out[2] = {0, 0};  // filled by pool_shape
};
// torch's rule: with ceil_mode, a last window that would start beyond the input and its low padding
// is dropped.
PoolShape pool_shape(PoolShape p, dim_t ih, dim_t iw, bool ceil_mode, AutoPad auto_pad);

}  // namespace fastconv
