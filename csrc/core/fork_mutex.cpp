// L0 core: the gate that holders of a ForkMutex pass and a fork closes; see fork_mutex.h. Two
// atomic additions, where a shared_mutex takes four times as long.
#include "core/fork_mutex.h"

#include <atomic>
#include <thread>

#include "core/platform.h"

namespace fastconv {
namespace {

std::atomic<int> inside{0};  // threads that hold one or more
std::atomic<bool> closed{false};
thread_local int held = 0;  // by this thread: one may be held inside another

void enter() noexcept {
  if (held++ > 0) return;
  inside.fetch_add(1);
  while (closed.load()) {
    inside.fetch_sub(1);
    while (closed.load()) std::this_thread::yield();
    inside.fetch_add(1);
  }
}

void leave() noexcept {
  if (--held == 0) inside.fetch_sub(1);
}

// Of the thread that forks, before; and after, in both processes.
void close() noexcept {
  while (closed.exchange(true)) std::this_thread::yield();  // another thread forks too
  while (inside.load() > 0) std::this_thread::yield();
}
void open() noexcept { closed.store(false); }

[[maybe_unused]] const bool registered = [] {
  at_fork(close, open, open);
  return true;
}();

}  // namespace

void ForkMutex::lock() noexcept {
  enter();
  mutex_.lock();
}

bool ForkMutex::try_lock() noexcept {
  enter();
  if (mutex_.try_lock()) return true;
  leave();
  return false;
}

void ForkMutex::unlock() noexcept {
  mutex_.unlock();
  leave();
}

}  // namespace fastconv
