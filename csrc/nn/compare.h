// L4 nn: comparisons, logic and choices, element by element. Operands have y's shape, broadcast
// dimensions with stride 0; bytes of 1 or 0 say what is true, and any that are not 0 are.
#pragma once
#include "core/ops.h"
#include "core/view.h"

namespace fastconv {

// a, b: f32, y: u8
void compare(CompareOp op, const View& a, const View& b, const View& y) noexcept;
// all u8
void logic(LogicOp op, const View& a, const View& b, const View& y) noexcept;
// y = condition ? a : b. condition: u8; the others of one type of 1, 2, 4 or 8 bytes.
void choose(const View& condition, const View& a, const View& b, const View& y) noexcept;

}  // namespace fastconv
