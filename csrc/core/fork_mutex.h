// L0 core: a mutex for what the threads of a process share and a forked child goes on using. A fork
// waits until nobody holds one: the child then finds all of them free and what they guard whole. It
// must not be held while waiting for the GIL, which the forking thread has.
#pragma once
#include <mutex>

namespace fastconv {

class ForkMutex {
 public:
  void lock() noexcept;
  bool try_lock() noexcept;
  void unlock() noexcept;

 private:
  std::mutex mutex_;
};

}  // namespace fastconv
