// L0 core: tests make one allocation of this module fail, each in turn. Every `new` in our objects
// passes here (CMakeLists.txt has the linker redirect it), and so does Buffer's memory. Off, it
// costs a load that is always predicted. Those of pybind11 do not count, which frees an object
// twice when it cannot register it (3.0); so ours say where they are.
#pragma once
#include "core/types.h"

namespace fastconv {

// The n-th allocation from now on, by any thread, fails; none does where n is 0. Returns what was
// left of the count before: more than 0 where it had not come to that yet.
dim_t fail_allocation(dim_t n) noexcept;

// While one lives, the allocations of its thread count.
class CountAllocations {
 public:
  CountAllocations() noexcept;
  ~CountAllocations();
  CountAllocations(const CountAllocations&) = delete;
  CountAllocations& operator=(const CountAllocations&) = delete;
};

// Whether the allocation that asks is the one.
bool allocation_fails() noexcept;

}  // namespace fastconv
