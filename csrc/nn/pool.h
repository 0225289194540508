// L4 nn: pooling over the last two dimensions of NCHW logical views.
#pragma once
#include "core/shape.h"
#include "core/view.h"

namespace fastconv {

// Padding never wins a maximum and NaN always does, as in torch.
void max_pool2d(const View& x, const View& y, const PoolShape& p) noexcept;
// Divides by the window's size including padding (count_include_pad) or by its in-bounds part; a
// ceil_mode window that hangs over the padded input is cut to it first, as in torch.
void avg_pool2d(const View& x, const View& y, const PoolShape& p, bool count_include_pad) noexcept;

}  // namespace fastconv
