// L0 core: interruptible calls; see interrupt.h.
#include "core/interrupt.h"

#include <limits>

#include "core/platform.h"

namespace fastconv {
namespace {

constexpr int64_t kEveryMs = 100;

// Whose work this thread does; and the same on the thread that made the call, else null.
thread_local Interruptible* served = nullptr;
thread_local Interruptible* asked = nullptr;

}  // namespace

Interruptible::Interruptible(Ask ask) noexcept : ask_(ask), before_(served), asked_before_(asked) {
  served = asked = this;
}

Interruptible::~Interruptible() {
  served = before_;
  asked = asked_before_;
}

Interruptible* Interruptible::current() noexcept { return served; }

void Interruptible::work_for(Interruptible* call) noexcept { served = call; }

void Interruptible::poll() noexcept {
  const int64_t now = coarse_milliseconds();
  if (now < next_ms_) return;
  if (next_ms_ == 0) {  // a short call is over before it comes here, and need not know the time
    next_ms_ = now + kEveryMs;
    return;
  }
  try {
    next_ms_ = ask_() ? coarse_milliseconds() + kEveryMs : std::numeric_limits<int64_t>::max();
  } catch (...) {
    error_ = std::current_exception();
    stopped_.store(true, std::memory_order_relaxed);
  }
}

bool interrupted() noexcept {
  Interruptible* const call = served;
  if (call == nullptr) return false;
  if (call == asked && !call->stopped_.load(std::memory_order_relaxed)) call->poll();
  return call->stopped_.load(std::memory_order_relaxed);
}

}  // namespace fastconv
