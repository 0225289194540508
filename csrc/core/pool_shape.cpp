// L0 core: the output size and padding of a pooling layer (shape.h).
#include <algorithm>

#include "core/check.h"
#include "core/shape.h"

namespace fastconv {

PoolShape pool_shape(PoolShape p, dim_t ih, dim_t iw, bool ceil_mode, AutoPad auto_pad) {
  constexpr dim_t kMost = dim_t{1} << 24;  // products of a few of these stay in range
  const dim_t in[2] = {ih, iw};
  const char* axis[2] = {"height", "width"};
  for (int i = 0; i < 2; ++i) {
    FC_CHECK(in[i] >= 1 && in[i] < kMost, ShapeError, "x: expected a ", axis[i],
             " of at least 1 (and below 2^24), got ", in[i]);
    FC_CHECK(p.kernel[i] >= 1 && p.kernel[i] < kMost, ArgumentError,
             "kernel_size: expected at least 1 (and below 2^24), got ", p.kernel[i]);
    FC_CHECK(p.stride[i] >= 1 && p.stride[i] < kMost, ArgumentError,
             "stride: expected at least 1 (and below 2^24), got ", p.stride[i]);
    FC_CHECK(p.dilation[i] >= 1 && p.dilation[i] < kMost, ArgumentError,
             "dilation: expected at least 1 (and below 2^24), got ", p.dilation[i]);
    const dim_t extent = (p.kernel[i] - 1) * p.dilation[i] + 1;
    if (auto_pad != AutoPad::explicit_) {
      p.out[i] = (in[i] + p.stride[i] - 1) / p.stride[i];
      const dim_t total = std::max<dim_t>(0, (p.out[i] - 1) * p.stride[i] + extent - in[i]);
      p.pad_lo[i] = auto_pad == AutoPad::same_upper ? total / 2 : total - total / 2;
      p.pad_hi[i] = total - p.pad_lo[i];
      continue;
    }
    for (const dim_t pad : {p.pad_lo[i], p.pad_hi[i]})
      FC_CHECK(pad >= 0 && pad < extent, ArgumentError, "padding: expected 0 to ", extent - 1,
               ", less than the window's ", axis[i], ", got ", pad);
    const dim_t room = in[i] + p.pad_lo[i] + p.pad_hi[i] - extent;
    FC_CHECK(room >= 0, ShapeError, "kernel_size: expected a window of at most the padded input's ",
             axis[i], ", ", room + extent, ", got ", extent);
    p.out[i] = (room + (ceil_mode ? p.stride[i] - 1 : 0)) / p.stride[i] + 1;
    if ((p.out[i] - 1) * p.stride[i] >= in[i] + p.pad_lo[i]) --p.out[i];
  }
  return p;
}

}  // namespace fastconv
