// L0 core: cache-line aligned f32 storage, not initialised, movable. Large pieces are used again
// when they are freed; see buffer.cpp.
#pragma once
#include <cstring>
#include <memory>

#include "core/types.h"

namespace fastconv {

struct Block {
  void* data = nullptr;
  size_t bytes = 0;  // at least as many as were asked for
};
Block allocate_block(size_t bytes);  // or bad_alloc
void free_block(Block block) noexcept;
struct FreeBlock {
  size_t bytes = 0;
  void operator()(float* data) const noexcept { free_block({data, bytes}); }
};

class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(dim_t elements) : size_(elements) {
    if (elements <= 0) return;
    const Block block = allocate_block(static_cast<size_t>(elements) * sizeof(float));
    data_ = {static_cast<float*>(block.data), FreeBlock{block.bytes}};
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
  std::unique_ptr<float, FreeBlock> data_;
  dim_t size_ = 0;
};

}  // namespace fastconv
