// L0 core: allocations that fail on demand; see allocation.h.
#include "core/allocation.h"

#include <atomic>
#include <new>

namespace fastconv {
namespace {

std::atomic<dim_t> left{0};

}  // namespace

dim_t fail_allocation(dim_t n) noexcept { return left.exchange(n); }

bool allocation_fails() noexcept {
  return left.load(std::memory_order_relaxed) > 0 && left.fetch_sub(1) == 1;
}

}  // namespace fastconv

#if defined(FASTCONV_WRAP_NEW)
// What the linker calls where ours say operator new: plain, of aligned types, nothrow.
extern "C" {
void* __real__Znwm(size_t size);
void* __wrap__Znwm(size_t size) {
  if (fastconv::allocation_fails()) throw std::bad_alloc();
  return __real__Znwm(size);
}
void* __real__ZnwmSt11align_val_t(size_t size, std::align_val_t alignment);
void* __wrap__ZnwmSt11align_val_t(size_t size, std::align_val_t alignment) {
  if (fastconv::allocation_fails()) throw std::bad_alloc();
  return __real__ZnwmSt11align_val_t(size, alignment);
}
void* __real__ZnwmRKSt9nothrow_t(size_t size, const std::nothrow_t& nothrow) noexcept;
void* __wrap__ZnwmRKSt9nothrow_t(size_t size, const std::nothrow_t& nothrow) noexcept {
  return fastconv::allocation_fails() ? nullptr : __real__ZnwmRKSt9nothrow_t(size, nothrow);
}
}
#endif
