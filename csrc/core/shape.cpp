// L0 core: output sizes and paddings of convolutions; see shape.h. Messages start with the
// argument's name.
#include "core/shape.h"

#include <algorithm>

#include "core/check.h"

namespace fastconv {
namespace {

// Of any size or attribute: products of three then fit 64 bits with strides.
constexpr dim_t kLargest = dim_t{1} << 31;

// "same" pads so that out = ceil(in / stride); an odd pixel goes to the end (upper) or the start
// (lower).
void same_padding(dim_t total, AutoPad mode, dim_t& lo, dim_t& hi) {
  total = total > 0 ? total : 0;
  lo = mode == AutoPad::same_upper ? total / 2 : total - total / 2;
  hi = total - lo;
}

}  // namespace

dim_t checked_product(std::initializer_list<dim_t> sizes) {
  constexpr dim_t kMost = dim_t{1} << 48;
  dim_t product = 1;
  for (dim_t size : sizes) {
    FC_CHECK(size == 0 || product <= kMost / size, ShapeError,
             "padding: expected images of at most 2^48 elements with their padding, got more");
    product *= size;
  }
  return product;
}

void check_params(const ConvParams& p) {
  const auto in_range = [](const char* name, dim_t value, dim_t least) {
    FC_CHECK(value >= least && value < kLargest, ArgumentError, name, ": expected integers from ",
             least, " to 2^31 - 1, got ", value);
  };
  in_range("groups", p.groups, 1);
  for (int i = 0; i < kMaxSpatial; ++i) {
    in_range("stride", p.stride[i], 1);
    in_range("dilation", p.dilation[i], 1);
    in_range("padding", p.pad_lo[i], 0);
    in_range("padding", p.pad_hi[i], 0);
    FC_CHECK(p.kernel[i] >= 1, ShapeError,
             "w: expected a kernel of at least 1 in each dimension, got ", p.kernel[i]);
    if (p.transposed) {
      in_range("output_padding", p.output_padding[i], 0);
      FC_CHECK(
          p.output_padding[i] == 0 || p.output_padding[i] < std::max(p.stride[i], p.dilation[i]),
          ArgumentError, "output_padding: expected less than the stride or the dilation (",
          p.stride[i], ", ", p.dilation[i], "), got ", p.output_padding[i]);
    }
  }
  FC_CHECK(p.ic >= 1, ShapeError, "w: expected at least one input channel, got ", p.ic);
  FC_CHECK(p.oc % p.groups == 0, ShapeError, "groups: expected a divisor of the ", p.oc,
           " output channels, got ", p.groups);
  FC_CHECK(p.ic % p.groups == 0, ShapeError, "groups: expected a divisor of the ", p.ic,
           " input channels, got ", p.groups);
}

ConvShape conv_shape(const ConvParams& p, int rank, const dim_t* x_shape) {
  FC_CHECK(rank == p.spatial + 2, ShapeError, "x: expected ", p.spatial + 2, " dimensions, got ",
           rank);
  FC_CHECK(x_shape[1] == p.ic, ShapeError, "x: expected ", p.ic, " channels (", p.groups,
           " group(s) of ", p.ic / p.groups, "), got ", x_shape[1]);
  ConvShape s;
  s.n = x_shape[0];
  s.ic = p.ic;
  s.oc = p.oc;
  s.groups = p.groups;
  const int first = kMaxSpatial - p.spatial;
  for (int i = 0; i < kMaxSpatial; ++i) {
    s.in[i] = i < first ? 1 : x_shape[2 + i - first];
    s.kernel[i] = p.kernel[i];
    s.stride[i] = p.stride[i];
    s.dilation[i] = p.dilation[i];
    s.pad_lo[i] = p.pad_lo[i];
    s.pad_hi[i] = p.pad_hi[i];
    FC_CHECK(s.in[i] < kLargest && s.kernel[i] < kLargest, ShapeError,
             "x: expected less than 2^31 pixels in each dimension, got ", s.in[i]);
    const dim_t reach = (p.kernel[i] - 1) * p.dilation[i] + 1;
    if (p.transposed) {
      FC_CHECK(s.in[i] >= 1, ShapeError,
               "x: expected at least 1 pixel in each spatial dimension, got ", s.in[i]);
      const dim_t full = (s.in[i] - 1) * p.stride[i] + reach + p.output_padding[i];
      if (p.auto_pad != AutoPad::explicit_)
        same_padding(full - s.in[i] * p.stride[i], p.auto_pad, s.pad_lo[i], s.pad_hi[i]);
      s.out[i] = full - s.pad_lo[i] - s.pad_hi[i];
      FC_CHECK(s.out[i] >= 1, ShapeError, "padding: expected less than the full output of ", full,
               " pixels, got ", s.pad_lo[i], " + ", s.pad_hi[i]);
    } else {
      if (p.auto_pad != AutoPad::explicit_)
        same_padding(
            ((s.in[i] + p.stride[i] - 1) / p.stride[i] - 1) * p.stride[i] + reach - s.in[i],
            p.auto_pad, s.pad_lo[i], s.pad_hi[i]);
      const dim_t padded = s.in[i] + s.pad_lo[i] + s.pad_hi[i];
      FC_CHECK(s.in[i] >= 1, ShapeError,
               "x: expected at least 1 pixel in each spatial dimension, got ", s.in[i]);
      FC_CHECK(padded >= reach, ShapeError,
               "w: expected a kernel no larger than the padded input of ", padded, " pixels, got ",
               p.kernel[i], " taps with dilation ", p.dilation[i], " (", reach, " pixels)");
      s.out[i] = (padded - reach) / p.stride[i] + 1;
    }
  }
  checked_product({s.n, s.oc, s.out[0], s.out[1], s.out[2]});
  return s;
}

}  // namespace fastconv
