// L0 core: what fastconv asks of the operating system beside the standard library.
// platform_linux.cpp answers on Linux. platform_portable.cpp answers elsewhere, and on Linux too
// where FASTCONV_PORTABLE of CMakeLists.txt says so, for tests: it goes without what only Linux
// tells, so that a caller needs no other path. platform.cpp has what all systems but Windows share.
#pragma once
#include <chrono>
#include <string>

#include "core/types.h"

#if !defined(_WIN32)
#include <signal.h>
#endif

namespace fastconv {

struct Caches;

extern const char* const kPlatform;  // "linux" or "portable"

// Processors that this process may use, at least 1.
int usable_processors() noexcept;
// Processors that the control groups of this process leave it, rounded down but at least 1; INT_MAX
// without a quota. Tests lay out /proc and /sys under another root.
int cgroup_threads(const std::string& root = "");

// What the system says of the processor where the processor itself does not: its model, or nothing;
// the data caches that are found; of 64-bit Arm the features, as the bits of Linux's AT_HWCAP.
std::string system_cpu_model();
void read_system_caches(Caches& found);
unsigned long arm_features() noexcept;
// Tile registers of x86 (AMX): whether the system has them to give, and whether it gives them.
bool system_has_tiles() noexcept;
bool request_tiles() noexcept;

// Memory whose address is a multiple of kAlignment, or null. Large pieces are made of large pages,
// where the system has such.
void* allocate_memory(size_t bytes) noexcept;
void free_memory(void* data) noexcept;

// A thread, for others to look at and to move. Small enough for an atomic.
struct ThreadHandle {
  int32_t number = 0;  // on Linux that of threading.get_native_id(); 0 is no thread
  int32_t clock = 0;   // on Linux that of its processor time
};
ThreadHandle this_thread() noexcept;
// Whether the calling thread is the process's first; in a forked child, the one that forked.
bool is_first_thread() noexcept;
// What the thread has had of its core; the time of a clock where the system does not tell, as if it
// had all of its core.
std::chrono::nanoseconds processor_time(ThreadHandle thread) noexcept;
// The core of the calling thread, or -1.
int current_core() noexcept;
// Moves a thread to the current core, and leaves it free to go where it likes from there.
void bring_here(ThreadHandle thread) noexcept;
// Likewise moves a thread off a core, if it may use at least so many.
void move_off(int core, ThreadHandle thread, int least_cores) noexcept;

// Milliseconds of a steady clock that is cheap to read and may stand still for some of them.
int64_t coarse_milliseconds() noexcept;

// Functions, or null, that a fork calls from now on: before it, and after it in both processes.
void at_fork(void (*before)(), void (*in_parent)(), void (*in_child)()) noexcept;

// While it lives, no signal is delivered to the thread, nor to those that it starts.
class BlockedSignals {
 public:
  BlockedSignals() noexcept;
  ~BlockedSignals();
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

 private:
#if !defined(_WIN32)
  sigset_t before_;
#endif
};

}  // namespace fastconv
