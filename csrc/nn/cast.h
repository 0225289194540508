// L4 nn: numbers of f32 and of bf16 as each other, element by element.
#pragma once
#include "core/view.h"

namespace fastconv {

// y = x as a number of bf16: of f32 the nearest one, ties to even; a NaN stays one. Either may be f32
// or bf16, and where both are f32, y may be x.
void cast_bf16(const View& x, const View& y) noexcept;

}  // namespace fastconv
