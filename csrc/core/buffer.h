// L0 core: cache-line aligned f32 storage, not initialised, movable.
#pragma once
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "core/types.h"

namespace fastconv {

class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(dim_t elements) : size_(elements) {
    if (elements <= 0) return;
    const size_t bytes =
        (static_cast<size_t>(elements) * sizeof(float) + kAlignment - 1) / kAlignment * kAlignment;
    data_.reset(static_cast<float*>(std::aligned_alloc(kAlignment, bytes)));
    if (!data_) throw std::bad_alloc();
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
