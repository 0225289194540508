// L4 nn: element by element.
#pragma once
#include "core/epilogue.h"
#include "core/ops.h"
#include "core/view.h"

namespace fastconv {

void activate(const View& x, const View& y, const Activation& activation) noexcept;
// y = act(a op b); a and b have y's shape, broadcast dimensions with stride 0. y may be a or b
// (same strides).
void binary(BinaryOp op, const View& a, const View& b, const View& y,
            const Activation& activation) noexcept;
// x < 0 ? slope * x : x, slope broadcast to x's shape with stride 0
void prelu(const View& x, const View& slope, const View& y) noexcept;

}  // namespace fastconv
