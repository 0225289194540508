// L0 core: platform.h by the standard library alone, but for the names that macOS has for what an
// Arm processor does not tell.
#include <algorithm>
#include <atomic>
#include <limits>
#include <new>
#include <thread>

#include "core/cpu.h"
#include "core/platform.h"

#if defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace fastconv {
namespace {

// Who loads the library, which a program does at its start.
std::thread::id first_thread = std::this_thread::get_id();
[[maybe_unused]] const bool fork_handled = [] {
  at_fork(nullptr, nullptr, [] { first_thread = std::this_thread::get_id(); });
  return true;
}();

}  // namespace

const char* const kPlatform = "portable";

int usable_processors() noexcept {
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

int cgroup_threads(const std::string&) { return std::numeric_limits<int>::max(); }

#if defined(__APPLE__)

std::string system_cpu_model() {
  char model[128] = {};
  size_t bytes = sizeof model - 1;
  return sysctlbyname("machdep.cpu.brand_string", model, &bytes, nullptr, 0) == 0 ? model : "";
}

// Of the faster cores, which the first level of performance is.
void read_system_caches(Caches& found) {
  const auto read = [](const char* name, dim_t& size) {
    int64_t value = 0;
    size_t bytes = sizeof value;  // little-endian: a number of 32 bits fills the lower half
    if (sysctlbyname(name, &value, &bytes, nullptr, 0) == 0 && value > 0) size = value;
  };
  read("hw.perflevel0.l1dcachesize", found.l1d);
  read("hw.perflevel0.l2cachesize", found.l2);
}

#else

std::string system_cpu_model() { return {}; }
void read_system_caches(Caches&) {}

#endif

// What the calling convention of 64-bit Arm takes for granted: the registers of ASIMD.
unsigned long arm_features() noexcept { return 1ul << 1; }

bool system_has_tiles() noexcept { return false; }
bool request_tiles() noexcept { return false; }

void* allocate_memory(size_t bytes) noexcept {
  return ::operator new(bytes, std::align_val_t{kAlignment}, std::nothrow);
}
void free_memory(void* data) noexcept { ::operator delete(data, std::align_val_t{kAlignment}); }

// Numbers of our own, in the order in which threads ask.
ThreadHandle this_thread() noexcept {
  static std::atomic<int32_t> last{0};
  thread_local const int32_t number = ++last;
  return {number, 0};
}

bool is_first_thread() noexcept { return std::this_thread::get_id() == first_thread; }

std::chrono::nanoseconds processor_time(ThreadHandle) noexcept {
  return std::chrono::steady_clock::now().time_since_epoch();
}

int current_core() noexcept { return -1; }
void bring_here(ThreadHandle) noexcept {}
void move_off(int, ThreadHandle, int) noexcept {}

int64_t coarse_milliseconds() noexcept {
  const auto time = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(time).count();
}

}  // namespace fastconv
