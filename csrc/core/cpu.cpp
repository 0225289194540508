// L0 core: what this machine is: which tiers run, caches, and how many threads it is polite to
// start. What is a processor family's own is in cpu_x86.cpp, cpu_arm.cpp or cpu_other.cpp.
// kernels/dispatch.cpp asks for the tier, gemm/ for the caches, bindings/bind_core.cpp for the
// number of threads.
#include "core/cpu.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <optional>
#include <thread>

#include "core/check.h"

#if defined(__linux__)
#include <sched.h>
#endif

namespace fastconv {
namespace {

using Features = uint64_t;  // bits
[[maybe_unused]] constexpr Features bit(Feature feature) {
  return Features{1} << static_cast<int>(feature);
}
constexpr int kFeatureCount = 0
#define FC_FEATURE(name) +1
#include "core/tiers.def"
#undef FC_FEATURE
    ;
static_assert(kFeatureCount < 64);

struct TierInfo {
  const char* name;
  Tier parent;
  bool extension, emulated;
  Features needs;  // besides the parent's
};
constexpr TierInfo kTiers[kTierCount] = {
#define FC_TIER(name, parent, extension, emulated, needs) \
  {#name, Tier::parent, extension, emulated, needs},
#include "core/tiers.def"
#undef FC_TIER
};
const TierInfo& info(Tier tier) noexcept { return kTiers[static_cast<int>(tier)]; }

Features features() noexcept {
  static const Features found = [] {
    Features all = 0;
    for (int i = 0; i < kFeatureCount; ++i)
      if (cpu_has(static_cast<Feature>(i))) all |= Features{1} << i;
    return all;
  }();
  return found;
}

// A whole positive decimal number, or nothing.
std::optional<int> parse_positive(const std::string& text) {
  if (text.empty() || text.size() > 9 || text.find_first_not_of("0123456789") != std::string::npos)
    return {};
  const int value = std::stoi(text);
  return value >= 1 ? std::optional<int>(value) : std::nullopt;
}

constexpr int kNoLimit = std::numeric_limits<int>::max();

int affinity_limit() {
#if defined(__linux__)
  // A mask of the default 1024 processors is refused by the kernel on larger machines: grow it.
  for (int processors = 1024; processors <= 1 << 20; processors *= 2) {
    cpu_set_t* const mask = CPU_ALLOC(processors);
    if (mask == nullptr) break;
    const size_t bytes = CPU_ALLOC_SIZE(processors);
    const int count = sched_getaffinity(0, bytes, mask) == 0 ? CPU_COUNT_S(bytes, mask) : 0;
    CPU_FREE(mask);
    if (count > 0) return count;
  }
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

// Rounded down: a thread beyond the quota would be throttled while the others wait for it at the
// barrier.
int quota_threads(dim_t quota_us, dim_t period_us) {
  if (quota_us <= 0 || period_us <= 0) return kNoLimit;
  return static_cast<int>(std::clamp<dim_t>(quota_us / period_us, 1, kNoLimit));
}

int omp_limit() {
  const char* const text = std::getenv("OMP_NUM_THREADS");
  if (text == nullptr) return kNoLimit;
  const std::string value = text;
  // "4,2" gives one number for each level of nesting; ours is the first.
  return parse_positive(value.substr(0, value.find(','))).value_or(kNoLimit);
}

int own_limit() {
  const char* const text = std::getenv("FASTCONV_NUM_THREADS");
  if (text == nullptr || *text == '\0')
    return kNoLimit;  // an empty variable is an unset one, as in a shell
  const std::optional<int> value = parse_positive(text);
  FC_CHECK(value, ArgumentError,
           "FASTCONV_NUM_THREADS: expected a whole number of at least 1, got '", text, "'");
  return *value;
}

}  // namespace

const char* tier_name(Tier tier) noexcept { return info(tier).name; }
Tier tier_parent(Tier tier) noexcept { return info(tier).parent; }
bool is_extension(Tier tier) noexcept { return info(tier).extension; }
bool is_emulated(Tier tier) noexcept { return info(tier).emulated; }

bool tier_supported(Tier tier) noexcept {
  for (; tier != tier_parent(tier); tier = tier_parent(tier))
    if ((info(tier).needs & ~features()) != 0) return false;
  return true;
}

Tier tier_named(const char* argument, const std::string& name) {
  std::string names;
  for (int i = 0; i < kTierCount; ++i) {
    if (kTiers[i].extension) continue;
    if (name == kTiers[i].name) return static_cast<Tier>(i);
    names += message(i ? ", " : "", kTiers[i].name);
  }
  throw ArgumentError(message(argument, ": expected one of ", names, ", got '", name, "'"));
}

Tier tier_from_environment() {
  const char* const text = std::getenv("FASTCONV_ISA");
  if (text != nullptr && *text != '\0') {
    Tier tier = tier_named("FASTCONV_ISA", text);
    while (!tier_supported(tier)) tier = tier_parent(tier);
    return tier;
  }
  int last = kTierCount - 1;
  const auto serves = [](Tier tier) {
    // An emulated tier is slower than its parent: only its name selects it.
    return !is_extension(tier) && !is_emulated(tier) && tier_supported(tier);
  };
  while (!serves(static_cast<Tier>(last))) --last;
  return static_cast<Tier>(last);
}

const Caches& caches() noexcept {
  static const Caches found = [] {
    Caches c;
    try {
      read_caches(c);
    } catch (const std::exception&) {  // out of memory while reading: the defaults serve
    }
    return c;
  }();
  return found;
}

std::string cpu_model() {
  const std::string model = read_model();
  return model.empty() ? "unknown" : model;
}

std::string model_of_cpuinfo() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.rfind("model name", 0) == 0 || line.rfind("Model", 0) == 0)
      return line.substr(std::min(line.size(), line.find(':') + 2));
  return {};
}

void read_caches_of_sysfs(Caches& found) {
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

// The quota of a control group and of every group above it; the smallest holds. In a container the
// path that /proc/self/cgroup names is often not mounted, and the limits are at the mount's root:
// the last step of the walk.
int cgroup_threads(const std::string& root) {
  int limit = kNoLimit;
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

int default_num_threads() {
  return std::min({affinity_limit(), cgroup_threads(), omp_limit(), own_limit()});
}

}  // namespace fastconv
