// L4 nn: the first of a row in order, and running sums: what needs no vectors to be fast.
#pragma once
#include "core/view.h"

namespace fastconv {

// The first k of each row of x, which lies along the last dimension, in descending (or ascending)
// order, and where they are there: values (f32) and indices (s64) have x's shape, but k <= n < 2^32
// last. Of equal elements the first comes first; NaN counts as larger than all numbers, and 0 as -0.
void top_k(const View& x, const View& values, const View& indices, bool largest);
// ShapeError unless they have such shapes.
void check_top_k(const View& x, const View& values, const View& indices);

// y[i] = the sum of x[0..i], or without x[i] where it is exclusive, along the middle of three
// dimensions, from its end where it is reverse. In f32, in order.
void cumulative_sum(const View& x, const View& y, bool exclusive, bool reverse) noexcept;

}  // namespace fastconv
