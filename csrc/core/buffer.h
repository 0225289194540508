// L0 core: cache-line aligned storage of elements of one type, not initialised, movable. Large
// pieces are used again when they are freed; see buffer.cpp. A Buffer may also stand for memory
// that is somebody else's.
#pragma once
#include <cstddef>
#include <cstring>
#include <memory>

#include "core/division.h"
#include "core/element.h"
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
  void operator()(void* data) const noexcept {
    if (bytes) free_block({data, bytes});
  }
};

template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(dim_t elements) : size_(elements) {
    if (elements <= 0) return;
    const Block block = allocate_block(static_cast<size_t>(bytes()));
    data_ = {static_cast<T*>(block.data), FreeBlock{block.bytes}};
  }
  static Buffer copy_of(const T* source, dim_t elements) {
    Buffer b(elements);
    if (elements > 0) std::memcpy(b.data(), source, static_cast<size_t>(b.bytes()));
    return b;
  }
  // Memory that outlives the buffer and that nobody writes through it.
  static Buffer borrowed(const T* data, dim_t elements) {
    Buffer b;
    b.data_ = {const_cast<T*>(data), FreeBlock{}};
    b.size_ = elements;
    return b;
  }
  T* data() noexcept { return data_.get(); }
  const T* data() const noexcept { return data_.get(); }
  dim_t size() const noexcept { return size_; }
  dim_t bytes() const noexcept { return size_ * static_cast<dim_t>(sizeof(T)); }
  // Grow-only: keeps the old storage when it is large enough; the contents are lost when it is not.
  void reserve(dim_t elements) {
    if (elements > size_) *this = Buffer(elements);
  }

 private:
  std::unique_ptr<T, FreeBlock> data_;
  dim_t size_ = 0;
};

// The elements of a Buffer, for those who keep them and need not know their type.
struct PackedArray {
  template <class T>
  PackedArray(const Buffer<T>& buffer) noexcept
      : data(buffer.data()), size(buffer.size()), element(element_of<T>) {}

  const void* data;
  dim_t size;
  Element element;
};

// Where the arrays of a packing come from: new memory, to be filled; or, one after another, those
// that an equal packing filled before and that lie in memory which outlives this one (a mapped
// file), each at a multiple of kAlignment bytes from the first.
class BufferSource {
 public:
  BufferSource() = default;
  BufferSource(const void* stored, dim_t bytes) noexcept
      : stored_(static_cast<const std::byte*>(stored)), bytes_(bytes) {}
  bool filled() const noexcept { return stored_ != nullptr; }
  template <class T>
  Buffer<T> take(dim_t elements) {
    if (!filled()) return Buffer<T>(elements);
    const std::byte* const at = stored_ + taken_;
    taken_ += round_up(elements * static_cast<dim_t>(sizeof(T)), dim_t{kAlignment});
    // Past the end nothing is lent: complete() says so, and whoever asks it reads no element.
    return taken_ <= bytes_ ? Buffer<T>::borrowed(reinterpret_cast<const T*>(at), elements)
                            : Buffer<T>();
  }
  dim_t bytes() const noexcept { return bytes_; }
  dim_t taken() const noexcept { return taken_; }
  bool complete() const noexcept { return taken_ == bytes_; }  // all was taken, and no more

 private:
  const std::byte* stored_ = nullptr;
  dim_t bytes_ = 0, taken_ = 0;
};

}  // namespace fastconv
