// L4 nn: pooling over the last two dimensions of NCHW logical views.
#pragma once
#include "core/quantization.h"
#include "core/shape.h"
#include "core/view.h"

namespace fastconv {

// Of f32, u8 or s8. Padding never wins a maximum and NaN always does, as in torch.
void max_pool2d(const View& x, const View& y, const PoolShape& p) noexcept;
void max_pool2d_of_bytes(const View& x, const View& y, const PoolShape& p) noexcept;
// Divides by the window's size including padding (count_include_pad) or by its in-bounds part; a
// ceil_mode window that hangs over the padded input is cut to it first, as in torch.
void avg_pool2d(const View& x, const View& y, const PoolShape& p, bool count_include_pad) noexcept;

// The same of u8 or s8: exact sums of integers, each then the nearest number of y's to its mean.
// Windows have at most kMaxSummedBytes elements (kernels/kernel_table.h).
void quantized_avg_pool2d(const View& x, Quantization from, const View& y, Quantization to,
                          const PoolShape& p, bool count_include_pad) noexcept;

}  // namespace fastconv
