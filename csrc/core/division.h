// L0 core: whole-number division, rounded as named. The divisor is positive.
#pragma once
#include "core/types.h"

namespace fastconv {

inline dim_t floor_div(dim_t a, dim_t b) noexcept { return a >= 0 ? a / b : -((-a + b - 1) / b); }
inline dim_t ceil_div(dim_t a, dim_t b) noexcept { return -floor_div(-a, b); }
inline dim_t round_up(dim_t a, dim_t b) noexcept { return ceil_div(a, b) * b; }

}  // namespace fastconv
