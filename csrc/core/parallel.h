// L0 core: one pool of threads. parallel_run(t, f) calls f(share) for share = 0..t-1 and returns
// when all are done; the first exception that one of them threw, on whatever thread, is then thrown
// to the caller. f must not wait for another share: how many threads take them, and which, depends
// on who is free, and inside a share there is but the current thread. Results are the same.
#pragma once
#include <algorithm>
#include <atomic>
#include <exception>
#include <type_traits>

#include "core/types.h"

namespace fastconv {

inline constexpr int kMaxThreads = 4096;  // more is a slip of the keyboard, and would be tried

// For the current call, where its Caller says so, or else for the whole process. Workers start when
// a call first needs them.
int get_num_threads() noexcept;
void set_num_threads(int n);  // the process's: 1 to kMaxThreads, else ArgumentError
// Sets what cpu.h's default_num_threads() says, or throws what it throws. Until a number is set by
// set_num_threads, a forked child asks again when it first wants to know: it may have been given
// other processors, another control group or environment.
void set_default_num_threads();

// While it lives, get_num_threads() is at most n on the thread that made it.
class ThreadLimit {
 public:
  explicit ThreadLimit(int n) noexcept;
  ~ThreadLimit();
  ThreadLimit(const ThreadLimit&) = delete;
  ThreadLimit& operator=(const ThreadLimit&) = delete;

 private:
  int before_;
};

// A call from outside, on the thread that makes it. threads: what get_num_threads() is meanwhile,
// or 0 for the process's number. Calls at the same time share the threads: each has its part of
// them, and at least the thread that it came on. Calls may nest; the outermost is counted.
class Caller {
 public:
  explicit Caller(int threads) noexcept;
  ~Caller();
  Caller(const Caller&) = delete;
  Caller& operator=(const Caller&) = delete;

 private:
  int threads_before_;
  bool outermost_;
};

using ParallelFn = void (*)(void* context, int share) noexcept;
void parallel_run(int threads, ParallelFn fn, void* context) noexcept;

template <class F>
void parallel_run(int threads, F&& f) {
  struct Call {
    std::remove_reference_t<F>& f;
    std::atomic_flag failed;
    std::exception_ptr error;
  } call{f, {}, {}};
  parallel_run(
      threads,
      [](void* context, int share) noexcept {
        Call& c = *static_cast<Call*>(context);
        try {
          c.f(share);
        } catch (...) {
          if (!c.failed.test_and_set()) c.error = std::current_exception();
        }
      },
      &call);
  if (call.error) std::rethrow_exception(call.error);
}

// The tid-th of `parts` nearly equal contiguous ranges of [0, n).
struct Range {
  dim_t begin, end;
};
inline Range partition(dim_t n, int parts, int tid) noexcept {
  const dim_t base = n / parts, extra = n % parts;
  const dim_t begin = tid * base + std::min<dim_t>(tid, extra);
  return {begin, begin + base + (tid < extra ? 1 : 0)};
}

// Below that many multiply-adds a thread's share costs more than waking it brings.
constexpr dim_t kFmasWorthAThread = 20000;

// parallel_for(n, grain, f): f(begin, end) over [0, n), at most one range a thread, none smaller
// than grain (but one).
template <class F>
void parallel_for(dim_t n, dim_t grain, F&& f) {
  if (n <= 0) return;
  const int threads = static_cast<int>(
      std::max<dim_t>(1, std::min<dim_t>(get_num_threads(), n / std::max<dim_t>(1, grain))));
  parallel_run(threads, [&](int tid) {
    const Range r = partition(n, threads, tid);
    if (r.begin < r.end) f(r.begin, r.end);
  });
}

}  // namespace fastconv
