// L0 core: tests make one allocation of this module fail, each in turn. Every `new` of ours passes
// here (CMakeLists.txt has the linker redirect it, libraries' own are left alone), and so does
// Buffer's memory. Off, it costs a load that is always predicted.
#pragma once
#include "core/types.h"

namespace fastconv {

// The n-th allocation from now on, by any thread, fails; none does where n is 0. Returns what was
// left of the count before: more than 0 where it had not come to that yet.
dim_t fail_allocation(dim_t n) noexcept;

// Whether the allocation that asks is the one.
bool allocation_fails() noexcept;

}  // namespace fastconv
