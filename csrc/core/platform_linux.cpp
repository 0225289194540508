// L0 core: platform.h on Linux, by its system calls and what it tells under /proc and /sys.
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <thread>

#include "core/check.h"
#include "core/cpu.h"
#include "core/platform.h"

namespace fastconv {
namespace {

// Rounded down: a thread beyond the quota would be throttled while the others wait for it at the
// barrier.
int quota_threads(dim_t quota_us, dim_t period_us) {
  constexpr int kNoLimit = std::numeric_limits<int>::max();
  if (quota_us <= 0 || period_us <= 0) return kNoLimit;
  return static_cast<int>(std::clamp<dim_t>(quota_us / period_us, 1, kNoLimit));
}

// The value of a line of /proc/cpuinfo.
std::string value_of(const std::string& line) {
  return line.substr(std::min(line.size(), line.find(':') + 2));
}

std::chrono::nanoseconds time_of(clockid_t clock) noexcept {
  timespec t{};
  clock_gettime(clock, &t);
  return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
}

// Moves a thread to some of the cores that it may use, and lets it use all of them again.
void move_to(pid_t thread, const cpu_set_t& cores, const cpu_set_t& allowed) noexcept {
  if (sched_setaffinity(thread, sizeof cores, &cores) == 0)
    sched_setaffinity(thread, sizeof allowed, &allowed);
}

#if defined(SYS_arch_prctl)
// Tile registers are a state that Linux gives a process only when it asks (Documentation/arch/x86/
// xstate.rst of the kernel).
constexpr int kTileState = 18;
constexpr int kGetSupported = 0x1021, kRequest = 0x1023;  // what the call is asked for
#endif

}  // namespace

const char* const kPlatform = "linux";

int usable_processors() noexcept {
  // A mask of the default 1024 processors is refused by the kernel on larger machines: grow it.
  for (int processors = 1024; processors <= 1 << 20; processors *= 2) {
    cpu_set_t* const mask = CPU_ALLOC(processors);
    if (mask == nullptr) break;
    const size_t bytes = CPU_ALLOC_SIZE(processors);
    const int count = sched_getaffinity(0, bytes, mask) == 0 ? CPU_COUNT_S(bytes, mask) : 0;
    CPU_FREE(mask);
    if (count > 0) return count;
  }
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

// The quota of a control group and of every group above it; the smallest holds. In a container the
// path that /proc/self/cgroup names is often not mounted, and the limits are at the mount's root:
// the last step of the walk.
int cgroup_threads(const std::string& root) {
  int limit = std::numeric_limits<int>::max();
  std::ifstream groups(root +
                       "/proc/self/cgroup");  // lines of "id:controllers:path"; id 0 is version 2
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    std::string controllers = ",";
    controllers.append(line, first + 1, second - first - 1).append(",");
    const bool version2 = controllers == ",,";
    if (!version2 && controllers.find(",cpu,") == std::string::npos) continue;
    for (std::string path = line.substr(second + 1);; path.erase(path.rfind('/'))) {
      if (path == "/") path.clear();
      dim_t quota = 0, period = 0;
      if (version2) {
        std::ifstream(root + "/sys/fs/cgroup" + path + "/cpu.max") >> quota >>
            period;  // "max 100000": no quota, fails to 0
      } else {
        std::ifstream(root + "/sys/fs/cgroup/cpu" + path + "/cpu.cfs_quota_us") >> quota;
        std::ifstream(root + "/sys/fs/cgroup/cpu" + path + "/cpu.cfs_period_us") >> period;
      }
      limit = std::min(limit, quota_threads(quota, period));
      if (path.find('/') == std::string::npos) break;
    }
  }
  return limit;
}

// Most kernels have no name for Arm's processors, but the numbers of the maker and of the part.
std::string system_cpu_model() {
  std::string maker, part;
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("model name", 0) == 0 || line.rfind("Model", 0) == 0) return value_of(line);
    if (line.rfind("CPU implementer", 0) == 0) maker = value_of(line);
    if (line.rfind("CPU part", 0) == 0) part = value_of(line);
  }
  return maker.empty() ? "" : message("Arm, implementer ", maker, ", part ", part);
}

void read_system_caches(Caches& found) {
  for (int i = 0; i < 8; ++i) {
    const std::string directory = message("/sys/devices/system/cpu/cpu0/cache/index", i, "/");
    int level = 0;
    dim_t kib = 0;
    std::string type;
    std::ifstream(directory + "level") >> level;
    std::ifstream(directory + "type") >> type;
    std::ifstream(directory + "size") >> kib;  // "512K"
    if (kib <= 0 || type == "Instruction") continue;
    if (level == 1) found.l1d = kib * 1024;
    if (level == 2) found.l2 = kib * 1024;
    if (level == 3) found.l3 = kib * 1024;
  }
}

unsigned long arm_features() noexcept { return getauxval(AT_HWCAP); }

#if defined(SYS_arch_prctl)
bool system_has_tiles() noexcept {
  uint64_t supported = 0;
  return syscall(SYS_arch_prctl, kGetSupported, &supported) == 0 && (supported >> kTileState & 1);
}
bool request_tiles() noexcept { return syscall(SYS_arch_prctl, kRequest, kTileState) == 0; }
#else
bool system_has_tiles() noexcept { return false; }
bool request_tiles() noexcept { return false; }
#endif

void* allocate_memory(size_t bytes) noexcept {
  constexpr size_t kHugePage = size_t{2} << 20;
  const bool huge = bytes >= 2 * kHugePage;
  void* data = nullptr;
  if (posix_memalign(&data, huge ? kHugePage : kAlignment, bytes)) return nullptr;
  // Whole huge pages only: no memory that was not asked for. The answer does not matter.
  if (huge) madvise(data, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
  return data;
}

void free_memory(void* data) noexcept { free(data); }

ThreadHandle this_thread() noexcept {
  clockid_t clock;
  if (pthread_getcpuclockid(pthread_self(), &clock) != 0) clock = CLOCK_MONOTONIC;
  return {gettid(), clock};
}

bool is_first_thread() noexcept { return gettid() == getpid(); }

std::chrono::nanoseconds processor_time(ThreadHandle thread) noexcept {
  return time_of(thread.clock);
}

int current_core() noexcept { return sched_getcpu(); }

void bring_here(ThreadHandle thread) noexcept {
  cpu_set_t allowed, here;
  const int core = sched_getcpu();
  if (core < 0 || core >= CPU_SETSIZE) return;
  if (sched_getaffinity(thread.number, sizeof allowed, &allowed) != 0 || !CPU_ISSET(core, &allowed))
    return;
  CPU_ZERO(&here);
  CPU_SET(core, &here);
  move_to(thread.number, here, allowed);
}

void move_off(int core, ThreadHandle thread, int least_cores) noexcept {
  cpu_set_t allowed;
  if (core < 0 || core >= CPU_SETSIZE) return;
  if (sched_getaffinity(thread.number, sizeof allowed, &allowed) != 0 ||
      CPU_COUNT(&allowed) < least_cores)
    return;
  cpu_set_t others = allowed;
  CPU_CLR(core, &others);
  move_to(thread.number, others, allowed);
}

// The clock that the kernel keeps at each tick, 1 to 10 ms: a fifth of the cost of the exact one.
int64_t coarse_milliseconds() noexcept {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time_of(CLOCK_MONOTONIC_COARSE))
      .count();
}

}  // namespace fastconv
