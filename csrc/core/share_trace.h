// L0 core: which thread ran which share of a parallel_run, and when, for who draws a run
// (fastconv profile --trace). Off, as it is unless asked for, it costs a load for each share.
#pragma once
#include <cstdint>
#include <vector>

#include "core/parallel.h"

namespace fastconv {

struct ShareEvent {
  int32_t thread;  // as ThreadHandle numbers it
  int share;
  int64_t begin_ns, end_ns;  // of the steady clock
};

inline constexpr int kMaxShareEvents = 1 << 16;  // later ones are not kept

void start_share_trace();
std::vector<ShareEvent> stop_share_trace();

// Runs a share, and notes it while there is a trace.
void run_share(ParallelFn fn, void* context, int share) noexcept;

}  // namespace fastconv
