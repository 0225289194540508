// L0 core: the pool behind parallel_run. A caller takes the workers that are free, as many as its
// part of the threads beside other callers, and shares with them are a Team. Each worker has a
// mailbox: the caller writes what to do, then bumps `go`. Who moves `claimed` to that number runs
// the worker's first share: the worker, or a lane of the team that has nothing left to do. So a
// worker that the scheduler keeps off its core is waited for only where it holds a share; who waits
// moves it to its own core, and sleeps. It copies the number to `done` when nothing is left. `go`
// and `done` have a cache line each, and workers that are not asked are not disturbed. Both sides
// spin for kSpin and then sleep on a futex (std::atomic::wait): layers follow each other within
// microseconds, and an idle process burns nothing. Workers are detached and the pool is never
// destroyed: at exit there is nothing to join, so nothing to hang on. A forked child has no
// workers; it forgets the pool and makes another when it needs one. Workers compute in the mode of
// float_mode.h and are told whose call they work for (interrupt.h).
#include "core/parallel.h"

#include <atomic>
#include <chrono>
#include <exception>
#include <memory>
#include <thread>

#include "core/allocation.h"
#include "core/check.h"
#include "core/cpu.h"
#include "core/float_mode.h"
#include "core/interrupt.h"
#include "core/platform.h"
#include "core/share_trace.h"

namespace fastconv {
namespace {

constexpr size_t kLine = 64;
using Clock = std::chrono::steady_clock;
constexpr std::chrono::microseconds kSpin{50};
// How often a caller looks whether the worker that it waits for has a core, and for how long.
constexpr std::chrono::microseconds kLook{10}, kWatch{1000};
// A worker that has not come for the first of these times is sent off its caller's core, where it
// may wait for as long as the caller computes; and again after the second.
constexpr std::chrono::milliseconds kMissing{3}, kSentAgain{30};

void pause() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// Whether the word changes within that time. It does not yield: beside a busy neighbour that gives
// away the rest of the time slice, at each step of a network.
bool changes_within(std::chrono::nanoseconds time, const std::atomic<uint32_t>& word,
                    uint32_t old) noexcept {
  const Clock::time_point start = Clock::now();
  do {
    for (int i = 0; i < 32; ++i) {  // the clock costs as much as a pause: read it seldom
      if (word.load(std::memory_order_acquire) != old) return true;
      pause();
    }
  } while (Clock::now() - start < time);
  return false;
}

void wait_while(const std::atomic<uint32_t>& word, uint32_t old) noexcept {
  if (!changes_within(kSpin, word, old)) word.wait(old, std::memory_order_acquire);
}

// The store is sequentially consistent: it must be seen before notify_one looks for sleepers.
void post(std::atomic<uint32_t>& word, uint32_t value) noexcept {
  word.store(value);
  word.notify_one();
}

struct Worker;

// What lanes need to know of a parallel_run. Lane 0 is the caller; the others are workers, whose
// first shares are 1, 2, ... in their order. The shares that are then left go to whoever is free.
struct Team {
  const ParallelFn fn;
  void* const context;
  Interruptible* const call;
  const int shares, caller_cpu;
  Worker* first = nullptr;
  std::atomic<int> next{0};  // of the shares that are no lane's first

  void run_what_is_left() noexcept;
};

struct Worker {
  alignas(kLine) std::atomic<uint32_t> go{0};
  // Twice the number of the round, and one more where it was another lane that did the share.
  std::atomic<uint32_t> claimed{0};
  std::atomic<int> shares{0}, caller_cpu{0};  // read before the share is claimed
  Team* team = nullptr;                       // on the line of `go`: one miss brings all of it
  Worker* next_in_team = nullptr;
  int share = 0;
  uint32_t round = 0;  // the team's; `go` follows once the whole team is written down
  std::atomic<ThreadHandle> thread{ThreadHandle{}};  // written before the first claim
  alignas(kLine) std::atomic<uint32_t> done{0};
  alignas(kLine) std::atomic_flag taken;
  Clock::time_point missing_since{}, sent_away{};  // of who has taken the worker; missing: not zero
  std::atomic<Worker*> next{nullptr};

  void join(Team& t, int first_share) noexcept {
    team = &t;
    share = first_share;
    round = go.load(std::memory_order_relaxed) + 1;
    next_in_team = nullptr;
    shares.store(t.shares, std::memory_order_relaxed);
    caller_cpu.store(t.caller_cpu, std::memory_order_relaxed);
  }

  // False when another lane has the share, and when `of` is a round of the past.
  bool claim(uint32_t of, bool by_another) noexcept {
    uint32_t before = claimed.load(std::memory_order_relaxed);
    while (before >> 1 == (of - 1) << 1 >> 1)
      if (claimed.compare_exchange_weak(before, of << 1 | (by_another ? 1 : 0),
                                        std::memory_order_acq_rel, std::memory_order_relaxed))
        return true;
    return false;
  }

  // The caller's end of a round that it began at `start`, when all shares are claimed.
  void finish(Clock::time_point start) noexcept {
    if (claimed.load(std::memory_order_acquire) & 1) return missed(start);
    missing_since = {};
    uint32_t last = done.load(std::memory_order_acquire);
    while (last != round) {  // it is older than the round before where another lane did that one
      wait_until_done(last);
      last = done.load(std::memory_order_acquire);
    }
  }

  // A worker that lost its core in the middle of a share, to a busy neighbour for a time slice,
  // gets the core of the caller, who has nothing else to do with it.
  void wait_until_done(uint32_t last) noexcept {
    if (changes_within(kLook, done, last)) return;
    const ThreadHandle worker = thread.load(std::memory_order_relaxed);
    const Clock::time_point start = Clock::now();
    for (auto before = processor_time(worker); Clock::now() - start < kWatch;) {
      if (changes_within(kLook, done, last)) return;
      const auto now = processor_time(worker);
      if (now - before < kLook / 2) {
        bring_here(worker);
        break;
      }
      before = now;
    }
    done.wait(last, std::memory_order_acquire);
  }

  void missed(Clock::time_point start) noexcept {
    if (missing_since == Clock::time_point{}) missing_since = start;
    const Clock::time_point now = Clock::now();
    if (now - missing_since < kMissing || now - sent_away < kSentAgain) return;
    sent_away = now;
    if (const ThreadHandle worker = thread.load(std::memory_order_relaxed); worker.number != 0)
      move_off(current_core(), worker, shares.load(std::memory_order_relaxed));
  }

  void loop() noexcept;
};

// Takes shares until there are none: those of no lane, and those of workers that have not begun.
void Team::run_what_is_left() noexcept {
  for (int s = next.fetch_add(1, std::memory_order_relaxed); s < shares;
       s = next.fetch_add(1, std::memory_order_relaxed))
    run_share(fn, context, s);
  for (Worker* w = first; w != nullptr; w = w->next_in_team)
    if (w->claim(w->round, true)) run_share(fn, context, w->share);
}

// Set while a thread runs shares: what they start in parallel has no other threads.
thread_local bool in_team = false;
// Whether the thread is in a call that `callers` counts, or works for one.
thread_local bool in_call = false;
std::atomic<int> callers{0};

void Worker::loop() noexcept {
  FloatMode::set_default();
  const CountAllocations count;
  in_team = in_call = true;
  const ThreadHandle own = this_thread();
  thread.store(own, std::memory_order_relaxed);
  for (uint32_t seen = 0;;) {
    wait_while(go, seen);
    seen = go.load(std::memory_order_acquire);
    const int cpu = caller_cpu.load(std::memory_order_relaxed),
              of = shares.load(std::memory_order_relaxed);
    // A scheduler can keep both on one core for many milliseconds beside an idle one, above all after
    // they were stopped or slept. Only where there is a core for each share; and before the share is
    // claimed: a worker that comes to a busy core so holds nothing that is waited for.
    if (current_core() == cpu) move_off(cpu, own, of);
    if (!claim(seen, false)) continue;  // another lane did it; the mailbox may be newer by now
    Team& t = *team;
    Interruptible::work_for(t.call);
    run_share(t.fn, t.context, share);
    t.run_what_is_left();
    post(done, seen);
    if (current_core() == cpu) move_off(cpu, own, of);  // the waiting caller left it the core
  }
}

struct Pool {
  std::atomic<Worker*> first{nullptr};
  std::atomic<int> size{0};
  std::atomic_flag grows;

  // As many workers as the machine gives: with fewer than asked the caller runs the rest.
  void grow(int count) noexcept {
    if (grows.test_and_set(std::memory_order_acquire)) return;  // another caller is at it
    const BlockedSignals blocked;  // signals belong to the threads that the program made
    try {
      std::atomic<Worker*>* end = &first;
      while (Worker* worker = end->load(std::memory_order_relaxed)) end = &worker->next;
      for (int n = size.load(std::memory_order_relaxed); n < count; ++n) {
        auto worker = std::make_unique<Worker>();
        std::thread(&Worker::loop, worker.get()).detach();
        end->store(worker.get(), std::memory_order_release);
        end = &worker.release()->next;
        size.store(n + 1, std::memory_order_relaxed);
      }
    } catch (const std::exception&) {
    }
    grows.clear(std::memory_order_release);
  }

  // Takes up to `count` free workers and makes them the team's.
  int gather(Team& team, int count) noexcept {
    int found = 0;
    Worker** end = &team.first;
    for (Worker* w = first.load(std::memory_order_acquire); w != nullptr && found < count;
         w = w->next.load(std::memory_order_acquire)) {
      if (w->taken.test(std::memory_order_relaxed) ||
          w->taken.test_and_set(std::memory_order_acquire))
        continue;
      w->join(team, ++found);
      *end = w;
      end = &w->next_in_team;
    }
    return found;
  }
};

constexpr int kAsk = 0;  // in place of a number: ask the machine, or the process
std::atomic<int> num_threads{kAsk};
std::atomic<bool> is_default{true};
thread_local int thread_limit = kMaxThreads;
thread_local int context_threads = kAsk;  // of the current call, in place of the process's number
std::atomic<Pool*> the_pool{nullptr};

// In a child it only forgets: what the parent's threads held when it forked (taken workers, a
// half-written mailbox) stays behind in the old pool, and their calls have no end here.
[[maybe_unused]] const bool fork_handled = [] {
  at_fork(nullptr, nullptr, [] {
    the_pool.store(nullptr);
    callers.store(in_call ? 1 : 0);
    if (is_default.load()) num_threads.store(kAsk);
  });
  return true;
}();

// Null when there is no memory for one.
Pool* pool() noexcept {
  Pool* current = the_pool.load(std::memory_order_acquire);
  if (current != nullptr) return current;
  std::unique_ptr<Pool> made(new (std::nothrow) Pool);
  if (the_pool.compare_exchange_strong(current, made.get())) return made.release();
  return current;
}

int process_threads() noexcept {
  int n = num_threads.load(std::memory_order_relaxed);
  if (n == kAsk) {
    int asked = 1;
    try {
      asked = std::min(default_num_threads(), kMaxThreads);
    } catch (const std::exception&) {  // no memory, or the child has set a variable to nonsense
    }
    n = num_threads.compare_exchange_strong(n, asked) ? asked : n;
  }
  return n;
}

// How many threads a parallel_run of so many shares gets: its part of the process's.
int lanes_for(int shares) noexcept {
  if (in_team || shares < 2) return 1;
  const int beside = std::max(1, callers.load(std::memory_order_relaxed));
  if (beside == 1) return shares;
  return std::clamp(std::max(process_threads(), context_threads) / beside, 1, shares);
}

}  // namespace

int get_num_threads() noexcept {
  return std::min(context_threads != kAsk ? context_threads : process_threads(), thread_limit);
}

void set_num_threads(int n) {
  FC_CHECK(n >= 1 && n <= kMaxThreads, ArgumentError, "n: expected 1 to ", kMaxThreads,
           " threads, got ", n);
  is_default.store(false);
  num_threads.store(n, std::memory_order_relaxed);
}

void set_default_num_threads() {
  num_threads.store(std::min(default_num_threads(), kMaxThreads));
  is_default.store(true);
}

ThreadLimit::ThreadLimit(int n) noexcept : before_(thread_limit) { thread_limit = n; }
ThreadLimit::~ThreadLimit() { thread_limit = before_; }

Caller::Caller(int threads) noexcept : threads_before_(context_threads), outermost_(!in_call) {
  context_threads = threads;
  if (!outermost_) return;
  in_call = true;
  callers.fetch_add(1, std::memory_order_relaxed);
}
Caller::~Caller() {
  context_threads = threads_before_;
  if (!outermost_) return;
  in_call = false;
  callers.fetch_sub(1, std::memory_order_relaxed);
}

void parallel_run(int threads, ParallelFn fn, void* context) noexcept {
  const int lanes = lanes_for(threads);
  Pool* const p = lanes > 1 ? pool() : nullptr;
  if (p == nullptr) {
    for (int share = 0; share < threads; ++share) run_share(fn, context, share);
    return;
  }
  if (p->size.load(std::memory_order_relaxed) < lanes - 1) p->grow(lanes - 1);
  Team team{fn, context, Interruptible::current(), threads, current_core()};
  const Clock::time_point start = Clock::now();
  team.next.store(1 + p->gather(team, lanes - 1), std::memory_order_relaxed);
  for (Worker* w = team.first; w != nullptr; w = w->next_in_team) post(w->go, w->round);
  in_team = true;
  run_share(fn, context, 0);
  team.run_what_is_left();
  in_team = false;
  for (Worker* w = team.first; w != nullptr; w = w->next_in_team) w->finish(start);
  for (Worker* w = team.first; w != nullptr;) {
    Worker* const next = w->next_in_team;
    w->taken.clear(std::memory_order_release);
    w = next;
  }
}

}  // namespace fastconv

// Entry points for threadpoolctl, which finds a library's controls by their C names
// (python/fastconv/_threads.py).
extern "C" {
__attribute__((visibility("default"))) int fastconv_get_num_threads() {
  return fastconv::get_num_threads();
}
__attribute__((visibility("default"))) void fastconv_set_num_threads(int n) {
  fastconv::set_num_threads(std::clamp(n, 1, fastconv::kMaxThreads));
}
}
