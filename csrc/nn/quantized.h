// L4 nn: numbers of 8 bits that stand for real ones, element by element. The arithmetic is that of
// ONNX's QuantizeLinear and of ONNX Runtime's QLinear operators (kernels/quantized.inl.h).
#pragma once
#include "core/ops.h"
#include "core/quantization.h"
#include "core/view.h"

namespace fastconv {

// y of u8 or s8 = x / scale, rounded to nearest, ties to even, + zero, saturated; NaN gives 0.
void quantize(const View& x, Quantization q, const View& y) noexcept;
// y = (x - zero) * scale, x of u8, s8 or s32; of s32 the zero is 0.
void dequantize(const View& x, Quantization q, const View& y) noexcept;
// y = table[x] for bytes x as numbers without a sign; a table has 256 bytes. y may be x.
void lookup(const View& x, const uint8_t* table, const View& y) noexcept;
// y = quantised(a op b), op add or mul; operands of one type, broadcast with stride 0. y may be a
// or b.
void quantized_binary(BinaryOp op, const View& a, Quantization from_a, const View& b,
                      Quantization from_b, const View& y, Quantization to) noexcept;
// What DynamicQuantizeLinear quantises x with: range[0], the scale with which 255 steps are as far
// as from the least to the largest of x and 0, and range[1], where 0 then lies, before it is
// rounded. Both are NaN where x has one.
void dynamic_range(const View& x, float* range) noexcept;

}  // namespace fastconv
