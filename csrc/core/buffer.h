// L0 core: cache-line aligned f32 storage, not initialised, movable. Large pieces are used again
// when they are freed; see buffer.cpp. A Buffer may also stand for memory that is somebody else's.
#pragma once
#include <cstring>
#include <memory>

#include "core/division.h"
#include "core/types.h"

namespace fastconv {

struct Block {
  void* data = nullptr;
  size_t bytes = 0;  // at least as many as were asked for
};
Block allocate_block(size_t bytes);  // or bad_alloc
void free_block(Block block) noexcept;
struct FreeBlock {
  size_t bytes = 0;  // 0: not ours
  void operator()(float* data) const noexcept {
    if (bytes) free_block({data, bytes});
  }
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
  // Memory that outlives the buffer and that nobody writes through it.
  static Buffer borrowed(const float* data, dim_t elements) {
    Buffer b;
    b.data_ = {const_cast<float*>(data), FreeBlock{}};
    b.size_ = elements;
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

// Where the arrays of a packing come from: new memory, to be filled; or, one after another, those
// that an equal packing filled before and that lie in memory which outlives this one (a mapped
// file), each at a multiple of kAlignment bytes from the first.
class BufferSource {
 public:
  BufferSource() = default;
  BufferSource(const float* stored, dim_t floats) noexcept : stored_(stored), floats_(floats) {}
  bool filled() const noexcept { return stored_ != nullptr; }
  Buffer take(dim_t elements) {
    if (!filled()) return Buffer(elements);
    const dim_t at = taken_;
    taken_ += round_up(elements, kAlignment / static_cast<dim_t>(sizeof(float)));
    // Past the end nothing is lent: complete() says so, and whoever asks it reads no element.
    return taken_ <= floats_ ? Buffer::borrowed(stored_ + at, elements) : Buffer();
  }
  dim_t floats() const noexcept { return floats_; }
  dim_t taken() const noexcept { return taken_; }
  bool complete() const noexcept { return taken_ == floats_; }  // all was taken, and no more

 private:
  const float* stored_ = nullptr;
  dim_t floats_ = 0, taken_ = 0;
};

}  // namespace fastconv
