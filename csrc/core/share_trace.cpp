// L0 core: the events of a trace, written by any thread that runs a share.
#include "core/share_trace.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>

#include "core/platform.h"

namespace fastconv {
namespace {

// Written by any thread while another may read: an event counts once its end is there.
struct Event {
  std::atomic<int32_t> thread{0};
  std::atomic<int> share{0};
  std::atomic<int64_t> begin{0}, end{0};
};

std::atomic<bool> tracing{false};
std::atomic<int> next_event{0};
// Allocated by the first trace and never freed: a share of another call may still write to it.
std::atomic<Event*> events{nullptr};

int64_t now() noexcept {
  const auto time = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time).count();
}

}  // namespace

void start_share_trace() {
  if (!events.load()) events = std::make_unique<Event[]>(kMaxShareEvents).release();
  std::for_each_n(events.load(), kMaxShareEvents, [](Event& event) { event.end = 0; });
  next_event = 0;
  tracing = true;
}

std::vector<ShareEvent> stop_share_trace() {
  tracing = false;
  std::vector<ShareEvent> found;
  const Event* const event = events.load();
  for (int i = 0; i < std::min(next_event.load(), kMaxShareEvents); ++i)
    if (event[i].end)
      found.push_back({event[i].thread, event[i].share, event[i].begin, event[i].end});
  return found;
}

void run_share(ParallelFn fn, void* context, int share) noexcept {
  if (!tracing.load(std::memory_order_acquire)) return fn(context, share);
  const int64_t begin = now();
  fn(context, share);
  if (next_event.load() >= kMaxShareEvents) return;
  const int i = next_event++;
  if (i >= kMaxShareEvents) return;
  Event& event = events.load()[i];
  event.thread = this_thread().number;
  event.share = share;
  event.begin = begin;
  event.end = now();
}

}  // namespace fastconv
