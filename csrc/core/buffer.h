// L0 core: cache-line aligned f32 storage, not initialised, movable. Large pieces ask for huge
// pages: weights and images pass through in streams, and hardware prefetchers stop at a page's end
// (on one Zen 3 core ResNet-50 92.2 to 89.6 ms, VGG-16 209 to 194).
#pragma once
#include <stdlib.h>
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "core/types.h"

namespace fastconv {

class Buffer {
  static constexpr size_t kHugePage = size_t{2} << 20;

 public:
  Buffer() = default;
  explicit Buffer(dim_t elements) : size_(elements) {
    if (elements <= 0) return;
    const size_t bytes = static_cast<size_t>(elements) * sizeof(float);
    const size_t alignment = bytes >= 2 * kHugePage ? kHugePage : kAlignment;
    void* data = nullptr;
    if (posix_memalign(&data, alignment, bytes)) throw std::bad_alloc();
    data_.reset(static_cast<float*>(data));
#ifdef MADV_HUGEPAGE
    // Whole huge pages only: nothing is reserved that was not asked for. The answer does not
    // matter.
    if (alignment == kHugePage) madvise(data, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  }
  static Buffer copy_of(const float* source, dim_t elements) {
    Buffer b(elements);
    if (elements > 0) std::memcpy(b.data(), source, static_cast<size_t>(elements) * sizeof(float));
    return b;
  }
  float* data() noexcept { return data_.get(); }
  const float* data() const noexcept { return data_.get(); }
  dim_t size() const noexcept { return size_; }
  // Grow-only: keeps the old storage when it is large enough; the contents are lost when it is not.
  void reserve(dim_t elements) {
    if (elements > size_) *this = Buffer(elements);
  }

 private:
  struct Free {
    void operator()(float* p) const noexcept { std::free(p); }
  };
  std::unique_ptr<float, Free> data_;
  dim_t size_ = 0;
};

}  // namespace fastconv
