// L0 core: the gate that holders of a ForkMutex share and a fork closes; see fork_mutex.h.
#include "core/fork_mutex.h"

#include <pthread.h>

#include <new>
#include <shared_mutex>

namespace fastconv {
namespace {

// Not destroyed: at exit threads may still run.
alignas(std::shared_mutex) unsigned char gate_memory[sizeof(std::shared_mutex)];
std::shared_mutex& gate() noexcept {
  return *std::launder(reinterpret_cast<std::shared_mutex*>(gate_memory));
}
void make_gate() noexcept { new (gate_memory) std::shared_mutex; }

thread_local int held = 0;  // by this thread; one may be held inside another

bool enter() noexcept {
  if (held == 0 && !gate().try_lock_shared()) return false;
  ++held;
  return true;
}
void leave() noexcept {
  if (--held == 0) gate().unlock_shared();
}

// When the module is loaded. The child makes the gate anew: its owner was a thread of the parent's.
[[maybe_unused]] const bool registered = [] {
  make_gate();
  return pthread_atfork([] { gate().lock(); }, [] { gate().unlock(); }, make_gate) == 0;
}();

}  // namespace

void ForkMutex::lock() noexcept {
  if (held == 0) gate().lock_shared();
  ++held;
  mutex_.lock();
}

bool ForkMutex::try_lock() noexcept {
  if (!enter()) return false;
  if (mutex_.try_lock()) return true;
  leave();
  return false;
}

void ForkMutex::unlock() noexcept {
  mutex_.unlock();
  leave();
}

}  // namespace fastconv
