// L4 nn: softmax along one dimension, with the maximum subtracted.
#pragma once
#include "core/view.h"

namespace fastconv {

void softmax(const View& x, const View& y, int axis) noexcept;

}  // namespace fastconv
