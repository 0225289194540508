// L0 core: how a call that takes long is stopped. The thread that made the call asks every 100 ms
// whether it should go on (bindings/gil.cpp asks Python for signals); when not, interrupted() is
// true on every thread that works for the call, their loops end early, and the caller throws what
// the question threw. What the call should have written is then undefined.
#pragma once
#include <atomic>
#include <cstdint>
#include <exception>

namespace fastconv {

// Made on the calling thread around its work. Calls may nest: a signal's handler may make one.
class Interruptible {
 public:
  // ask: throws what should end the call; returns whether to ask again.
  using Ask = bool (*)();
  explicit Interruptible(Ask ask) noexcept;
  ~Interruptible();
  Interruptible(const Interruptible&) = delete;
  Interruptible& operator=(const Interruptible&) = delete;
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

  // The call that the current thread works for, or null. Workers are told by the pool.
  static Interruptible* current() noexcept;
  static void work_for(Interruptible* call) noexcept;

 private:
  friend bool interrupted() noexcept;
  void poll() noexcept;

  Ask ask_;
  int64_t next_ms_ = 0;  // when to ask; 0: not known yet
  std::atomic<bool> stopped_{false};
  std::exception_ptr error_;
  Interruptible *before_, *asked_before_;
};

// Whether the current thread's work is to end. 7 ns on the thread that made the call, 2 on others:
// for loops whose turns take a microsecond and more, from the second turn on.
bool interrupted() noexcept;

}  // namespace fastconv
