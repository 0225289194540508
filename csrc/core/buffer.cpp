// L0 core: memory for Buffer. From 4 MiB on platform.h asks for huge pages: weights and images pass
// through in streams, and hardware prefetchers stop at a page's end.
//
// Freed blocks of 256 KiB or more are kept, 64 MiB at most, for the next that needs as much. A
// functional call has packed weights and staged images for that call alone, and the kernel fills
// each page that it hands out with zeros: with huge ones that can take longer than the call's work.
#include "core/buffer.h"

#include <mutex>
#include <new>

#include "core/allocation.h"
#include "core/fork_mutex.h"
#include "core/platform.h"

namespace fastconv {
namespace {

constexpr size_t kMiB = size_t{1} << 20;
constexpr size_t kKept = kMiB / 4, kKeepAtMost = 64 * kMiB;

// Freed blocks, the oldest first. A thread that finds the list in use goes without it: nobody
// waits.
class FreeBlocks {
 public:
  // The smallest one that is large enough and at most twice as large, or {}.
  Block take(size_t bytes) noexcept {
    const std::unique_lock<ForkMutex> lock(mutex_, std::try_to_lock);
    if (!lock) return {};
    int best = -1;
    for (int i = 0; i < count_; ++i)
      if (blocks_[i].bytes >= bytes && blocks_[i].bytes / 2 <= bytes &&
          (best < 0 || blocks_[i].bytes < blocks_[best].bytes))
        best = i;
    return best < 0 ? Block{} : remove(best);
  }
  // Keeps a block in place of older ones, or frees it.
  void give(Block block) noexcept {
    const std::unique_lock<ForkMutex> lock(mutex_, std::try_to_lock);
    if (!lock || block.bytes > kKeepAtMost) return free_memory(block.data);
    while (count_ == kBlocks || bytes_ + block.bytes > kKeepAtMost) free_memory(remove(0).data);
    blocks_[count_++] = block;
    bytes_ += block.bytes;
  }

 private:
  Block remove(int at) noexcept {
    const Block block = blocks_[at];
    bytes_ -= block.bytes;
    for (--count_; at < count_; ++at) blocks_[at] = blocks_[at + 1];
    return block;
  }

  static constexpr int kBlocks = 16;
  ForkMutex mutex_;
  Block blocks_[kBlocks];
  int count_ = 0;
  size_t bytes_ = 0;
};

// Not destroyed: buffers of static lifetime are freed after it would be.
FreeBlocks& free_blocks() {
  static FreeBlocks& blocks = *new FreeBlocks;
  return blocks;
}

}  // namespace

Block allocate_block(size_t bytes) {
  if (allocation_fails()) throw std::bad_alloc();
  if (bytes >= kKept)
    if (const Block kept = free_blocks().take(bytes); kept.data) return kept;
  void* const data = allocate_memory(bytes);
  if (data == nullptr) throw std::bad_alloc();
  return {data, bytes};
}

void free_block(Block block) noexcept {
  if (block.bytes >= kKept)
    free_blocks().give(block);
  else
    free_memory(block.data);
}

}  // namespace fastconv
