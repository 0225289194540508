// L4 nn: moving data between layouts. A layout is only strides (core/view.h), so one copy serves
// them all.
#pragma once
#include "core/view.h"

namespace fastconv {

// dst = src, equal logical shapes, any strides, elements of one size. NCHW <-> NHWC runs as blocked
// transposes, equal layouts as runs.
void copy(const View& src, const View& dst) noexcept;
void fill(const View& dst, float value) noexcept;

}  // namespace fastconv
