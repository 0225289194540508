// L4 nn: the first of a row in order, and running sums: what needs no vectors to be fast.
#pragma once
#include "core/view.h"

namespace fastconv {

// indices[r * k + i] = where the i-th largest (or smallest) of row r of x (rows, n) is, i < k <= n.
// Of equal elements the first comes first; NaN counts as larger than all numbers, and 0 as -0.
void top_k(const View& x, dim_t k, bool largest, int64_t* indices);

// y[i] = the sum of x[0..i], or without x[i] where it is exclusive, along the middle of three
// dimensions, from its end where it is reverse. In f32, in order.
void cumulative_sum(const View& x, const View& y, bool exclusive, bool reverse) noexcept;

}  // namespace fastconv
