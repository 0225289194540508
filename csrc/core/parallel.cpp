// L0 core: the pool behind parallel_run. One mailbox a worker: the caller writes fn and context,
// then bumps `go`. Who moves `claimed` to that number runs the share: the worker, or the caller,
// once it has done its own share and the worker has not begun. So a worker that the scheduler
// keeps off its core is waited for only where it holds a share, and is then left alone for a
// while. The worker copies the number to `done` when its share is finished. `go` and `done` have
// a cache line each, and workers that are not asked are not disturbed. Both sides spin for kSpin
// and then sleep on a futex (std::atomic::wait): layers follow each other within microseconds, and
// an idle process burns nothing. Workers are detached and the pool is never destroyed: at exit
// there is nothing to join, so nothing to hang on. A forked child has no workers; it forgets the
// pool and makes another when it needs one. Workers compute in the mode of float_mode.h and are
// told whose call they work for (interrupt.h).
#include "core/parallel.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <exception>
#include <memory>
#include <thread>
#include <vector>

#include "core/allocation.h"
#include "core/check.h"
#include "core/cpu.h"
#include "core/float_mode.h"
#include "core/interrupt.h"

namespace fastconv {
namespace {

constexpr int kMaxThreads = 4096;  // more is a slip of the keyboard, and would be tried
constexpr size_t kLine = 64;
using Clock = std::chrono::steady_clock;
constexpr std::chrono::microseconds kSpin{50};
// A worker that has not begun after so much work of the caller's, or that holds its share so much
// longer than the caller, is off its core: other threads have it.
constexpr std::chrono::microseconds kLate{300};
// It is then left alone for the first, and if it comes late again twice as long, up to the second.
constexpr std::chrono::milliseconds kRest{2}, kLongestRest{64};

void pause() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// Pauses, then sleeps. It does not yield: beside a busy neighbour that gives away the rest of the
// time slice, at each step of a network. The sleeper leaves its core to whom it waits for.
void wait_while(const std::atomic<uint32_t>& word, uint32_t old) noexcept {
  const auto start = std::chrono::steady_clock::now();
  for (;;) {
    for (int i = 0; i < 32; ++i) {  // the clock costs as much as a pause: read it seldom
      if (word.load(std::memory_order_acquire) != old) return;
      pause();
    }
    if (std::chrono::steady_clock::now() - start > kSpin) break;
  }
  word.wait(old, std::memory_order_acquire);
}

// Moves a worker's thread off the caller's core, and leaves it free to go where it likes from
// there. A scheduler can keep both on one core for many milliseconds beside an idle one, above all
// after they were stopped or slept. Before a share is claimed: a worker that comes to a busy core
// so holds nothing that is waited for. Only where there is a core for each thread.
void step_aside(pid_t thread, int caller_cpu, int threads) noexcept {
  cpu_set_t allowed;
  if (caller_cpu < 0 || caller_cpu >= CPU_SETSIZE) return;
  if (sched_getaffinity(thread, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < threads)
    return;
  cpu_set_t others = allowed;
  CPU_CLR(caller_cpu, &others);
  if (sched_setaffinity(thread, sizeof others, &others) == 0)
    sched_setaffinity(thread, sizeof allowed, &allowed);
}

// The store is sequentially consistent: it must be seen before notify_one looks for sleepers.
void post(std::atomic<uint32_t>& word, uint32_t value) noexcept {
  word.store(value);
  word.notify_one();
}

struct Worker {
  alignas(kLine) std::atomic<uint32_t> go{0};
  std::atomic<uint32_t> claimed{0};
  std::atomic<int> threads{0}, caller_cpu{0};  // read before the share is claimed
  ParallelFn fn = nullptr;  // on the line of `go`: the worker gets all of it with one miss
  void* context = nullptr;
  Interruptible* call = nullptr;
  int tid = 0;
  std::atomic<pid_t> thread{0};
  alignas(kLine) std::atomic<uint32_t> done{0};
  // The caller's, who holds the pool.
  alignas(kLine) Clock::time_point rests_until{};
  Clock::duration rest = kRest;

  void start(ParallelFn f, void* c, int of_threads, int cpu) noexcept {
    fn = f;
    context = c;
    call = Interruptible::current();
    threads.store(of_threads, std::memory_order_relaxed);
    caller_cpu.store(cpu, std::memory_order_relaxed);
    post(go, go.load(std::memory_order_relaxed) + 1);
  }

  bool claim(uint32_t round) noexcept {
    uint32_t before = round - 1;
    return claimed.compare_exchange_strong(before, round, std::memory_order_acq_rel);
  }

  // The caller's end of a round that it began at `start`.
  void finish(Clock::time_point start) noexcept {
    const uint32_t round = go.load(std::memory_order_relaxed);
    if (claim(round)) {
      if (Clock::now() - start > kLate) leave_alone();
      fn(context, tid);
    } else if (uint32_t last = done.load(std::memory_order_acquire); last != round) {
      const Clock::time_point waits = Clock::now();
      do {  // `last` is older than the round before where the caller did that one
        wait_while(done, last);
        last = done.load(std::memory_order_acquire);
      } while (last != round);
      if (Clock::now() - waits > std::max<Clock::duration>(kLate, waits - start))
        leave_alone();
      else
        rest = kRest;
    }
  }

  // It may be waiting for this very core, which its caller does not give up: so it is sent away.
  void leave_alone() noexcept {
    if (const pid_t id = thread.load(std::memory_order_relaxed))
      step_aside(id, sched_getcpu(), threads.load(std::memory_order_relaxed));
    rests_until = Clock::now() + rest;
    rest = std::min<Clock::duration>(2 * rest, kLongestRest);
  }

  void loop() noexcept {
    FloatMode::set_default();
    const CountAllocations count;
    thread.store(gettid(), std::memory_order_relaxed);
    for (uint32_t round = 0;;) {
      wait_while(go, round);
      round = go.load(std::memory_order_acquire);
      const int cpu = caller_cpu.load(std::memory_order_relaxed);
      if (sched_getcpu() == cpu) step_aside(0, cpu, threads.load(std::memory_order_relaxed));
      if (!claim(round)) continue;  // the caller did it; what else is in the mailbox may be newer
      Interruptible::work_for(call);
      fn(context, tid);
      post(done, round);
    }
  }
};

struct Pool {
  std::atomic_flag busy;
  std::vector<std::unique_ptr<Worker>>
      workers;  // touched by the holder of `busy` alone; worker i runs tid i + 1

  // As many workers as the machine gives: with fewer than asked the caller runs the rest.
  void grow(int count) noexcept {
    sigset_t all, before;  // signals belong to the threads that the program made
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
      workers.reserve(count);
      while (static_cast<int>(workers.size()) < count) {
        auto worker = std::make_unique<Worker>();
        worker->tid = static_cast<int>(workers.size()) + 1;
        std::thread(&Worker::loop, worker.get()).detach();
        workers.push_back(std::move(worker));
      }
    } catch (const std::exception&) {
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
};

constexpr int kAsk = 0;  // in place of a number: ask the machine
std::atomic<int> num_threads{kAsk};
std::atomic<bool> is_default{true};
thread_local int thread_limit = kMaxThreads;
std::atomic<Pool*> the_pool{nullptr};

// In a child it only forgets: what the parent's threads held when it forked (`busy`, a half-written
// mailbox) stays behind in the old pool.
[[maybe_unused]] const int fork_handler = pthread_atfork(nullptr, nullptr, [] {
  the_pool.store(nullptr);
  if (is_default.load()) num_threads.store(kAsk);
});

// Null when there is no memory for one.
Pool* pool() noexcept {
  Pool* current = the_pool.load(std::memory_order_acquire);
  if (current != nullptr) return current;
  std::unique_ptr<Pool> made(new (std::nothrow) Pool);
  if (the_pool.compare_exchange_strong(current, made.get())) return made.release();
  return current;
}

}  // namespace

int get_num_threads() noexcept {
  int n = num_threads.load(std::memory_order_relaxed);
  if (n == kAsk) {
    int asked = 1;
    try {
      asked = std::min(default_num_threads(), kMaxThreads);
    } catch (const std::exception&) {  // no memory, or the child has set a variable to nonsense
    }
    n = num_threads.compare_exchange_strong(n, asked) ? asked : n;
  }
  return std::min(n, thread_limit);
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

void parallel_run(int threads, ParallelFn fn, void* context) noexcept {
  Pool* const p = threads > 1 ? pool() : nullptr;
  const bool ours = p != nullptr && !p->busy.test_and_set(std::memory_order_acquire);
  if (!ours) {
    for (int tid = 0; tid < threads; ++tid) fn(context, tid);
    return;
  }
  if (static_cast<int>(p->workers.size()) < threads - 1) p->grow(threads - 1);
  const int asked = std::min(threads - 1, static_cast<int>(p->workers.size()));
  const int cpu = sched_getcpu();
  const Clock::time_point start = Clock::now();
  const auto rests = [&](int i) { return p->workers[i]->rests_until > start; };
  for (int i = 0; i < asked; ++i)
    if (!rests(i)) p->workers[i]->start(fn, context, threads, cpu);
  fn(context, 0);
  for (int tid = 1; tid < threads; ++tid)
    if (tid > asked || rests(tid - 1)) fn(context, tid);
  for (int i = 0; i < asked; ++i)
    if (!rests(i)) p->workers[i]->finish(start);
  p->busy.clear(std::memory_order_release);
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
