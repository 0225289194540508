// L4 nn: reductions over a set of dimensions; y has x's rank, reduced dimensions of size 1.
#pragma once
#include "core/ops.h"
#include "core/view.h"

namespace fastconv {

// Reduces every dimension where y.shape is 1. Deterministic: the order of summation depends on
// shapes alone.
void reduce(ReduceOp op, const View& x, const View& y) noexcept;

}  // namespace fastconv
