// L0 core: what this machine is: features (CPUID and XCR0, never a list of models), caches, and how
// many threads it is polite to start. kernels/dispatch.cpp asks for the tier, gemm/ for the caches,
// bindings/bind_core.cpp for the number of threads. A feature counts only when the operating system
// saves its registers too: CPUID alone says that the silicon has them.
#include "core/cpu.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>
#include <optional>
#include <thread>

#include "core/check.h"

#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace fastconv {
namespace {

struct TierInfo {
  const char* name;
  bool built;
};
// Indexed by Tier. The FASTCONV_HAVE_ macros come from CMakeLists.txt, one for each tier of
// cmake/isa.cmake that is built.
constexpr TierInfo kTiers[kTierCount] = {
    {"ref", true},
#if defined(FASTCONV_HAVE_AVX2)
    {"avx2", true},
#else
    {"avx2", false},
#endif
#if defined(FASTCONV_HAVE_AVX512)
    {"avx512", true},
#else
    {"avx512", false},
#endif
};

struct ExtensionInfo {
  const char* name;
  Tier tier;  // which it extends
  bool built;
};
// Indexed by Extension.
constexpr ExtensionInfo kExtensions[kExtensionCount] = {
#if defined(FASTCONV_HAVE_AVX_VNNI)
    {"avx_vnni", Tier::avx2, true},
#else
    {"avx_vnni", Tier::avx2, false},
#endif
#if defined(FASTCONV_HAVE_AVX512_VNNI)
    {"avx512_vnni", Tier::avx512, true},
#else
    {"avx512_vnni", Tier::avx512, false},
#endif
#if defined(FASTCONV_HAVE_AVX512_BF16)
    {"avx512_bf16", Tier::avx512, true},
#else
    {"avx512_bf16", Tier::avx512, false},
#endif
};

#if defined(FASTCONV_EMULATE_AVX512)
constexpr bool kEmulateAvx512 =
    true;  // the avx512 tier and the VNNI extensions are AVX2 code: they run wherever avx2 does
#else
constexpr bool kEmulateAvx512 = false;
#endif

#if defined(__x86_64__)

struct Regs {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

// All zero where the processor has no such leaf.
Regs cpuid(uint32_t leaf, uint32_t subleaf = 0) {
  Regs r;
  if (__get_cpuid_max(leaf & 0x80000000u, nullptr) >= leaf)
    __cpuid_count(leaf, subleaf, r.eax, r.ebx, r.ecx, r.edx);
  return r;
}

bool bit(uint32_t word, int index) { return (word >> index) & 1; }

bool cpu_has(Tier tier) {
  const Regs one = cpuid(1), seven = cpuid(7);
  if (!bit(one.ecx, 27)) return false;  // OSXSAVE: without it there is no xgetbv to ask
  uint32_t xcr0, high;
  __asm__("xgetbv" : "=a"(xcr0), "=d"(high) : "c"(0));
  const bool ymm = (xcr0 & 0x06) == 0x06;  // SSE and AVX state
  const bool zmm =
      ymm && (xcr0 & 0xe0) == 0xe0;  // mask registers, upper halves, registers 16 to 31
  const bool avx2 = ymm && bit(one.ecx, 28) && bit(one.ecx, 12) &&
                    bit(one.ecx, 29) &&  // AVX FMA F16C
                    bit(seven.ebx, 5);   // AVX2
  if (tier == Tier::avx2) return avx2;
  return avx2 && zmm && bit(seven.ebx, 16) && bit(seven.ebx, 17) &&
         bit(seven.ebx, 28) &&                      // F DQ CD
         bit(seven.ebx, 30) && bit(seven.ebx, 31);  // BW VL
}

bool cpu_has(Extension extension) {
  const Regs seven = cpuid(7), more = seven.eax >= 1 ? cpuid(7, 1) : Regs();
  switch (extension) {
    case Extension::avx_vnni:
      return bit(more.eax, 4);
    case Extension::avx512_vnni:
      return bit(seven.ecx, 11);
    case Extension::avx512_bf16:
      return bit(more.eax, 5);
  }
  return false;
}

std::string read_model() {
  char brand[49] = {};
  for (uint32_t i = 0; i < 3; ++i) {
    const Regs r = cpuid(0x80000002u + i);
    std::memcpy(brand + 16 * i, &r, 16);
  }
  std::string model = brand;
  model.erase(0, model.find_first_not_of(' '));
  model.erase(model.find_last_not_of(" ") + 1);
  return model;
}

// Intel's leaf 4 and AMD's 0x8000001D have one layout: a cache per subleaf, type 0 ends the list.
void read_caches(Caches& found) {
  const uint32_t leaf = cpuid(4).eax & 31 ? 4 : 0x8000001Du;
  for (uint32_t i = 0; i < 8; ++i) {
    const Regs r = cpuid(leaf, i);
    const uint32_t type = r.eax & 31, level = (r.eax >> 5) & 7;
    if (type == 0) return;
    if (type == 2) continue;  // instructions
    const dim_t ways = (r.ebx >> 22) + 1, partitions = ((r.ebx >> 12) & 1023) + 1;
    const dim_t line = (r.ebx & 4095) + 1, sets = dim_t{r.ecx} + 1;
    const dim_t bytes = ways * partitions * line * sets;
    if (level == 1) found.l1d = bytes;
    if (level == 2) found.l2 = bytes;
    if (level == 3) found.l3 = bytes;
  }
}

#else

bool cpu_has(Tier) { return false; }
bool cpu_has(Extension) { return false; }

std::string read_model() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.rfind("model name", 0) == 0 || line.rfind("Model", 0) == 0)
      return line.substr(std::min(line.size(), line.find(':') + 2));
  return {};
}

void read_caches(Caches& found) {
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

#endif

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
  const std::string value =
      text;  // "4,2" gives one number for each level of nesting; ours is the first
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

const char* tier_name(Tier tier) noexcept { return kTiers[static_cast<int>(tier)].name; }

bool tier_built(Tier tier) noexcept { return kTiers[static_cast<int>(tier)].built; }

bool tier_supported(Tier tier) noexcept {
  if (tier == Tier::ref) return true;
  return cpu_has(tier == Tier::avx512 && kEmulateAvx512 ? Tier::avx2 : tier);
}

const char* extension_name(Extension extension) noexcept {
  return kExtensions[static_cast<int>(extension)].name;
}

bool extension_supported(Extension extension) noexcept {
  const ExtensionInfo& info = kExtensions[static_cast<int>(extension)];
  return info.built && tier_supported(info.tier) && (kEmulateAvx512 || cpu_has(extension));
}

Tier tier_named(const char* argument, const std::string& name) {
  std::string names;
  for (int i = 0; i < kTierCount; ++i) {
    if (name == kTiers[i].name) return static_cast<Tier>(i);
    names += message(i ? ", " : "", kTiers[i].name);
  }
  throw ArgumentError(message(argument, ": expected one of ", names, ", got '", name, "'"));
}

Tier tier_from_environment() {
  const char* const text = std::getenv("FASTCONV_ISA");
  // An emulated tier is slower than the one below it: only its name selects it.
  Tier cap = kEmulateAvx512 ? Tier::avx2 : static_cast<Tier>(kTierCount - 1);
  if (text != nullptr && *text != '\0') cap = tier_named("FASTCONV_ISA", text);
  int tier = static_cast<int>(cap);
  while (!tier_built(static_cast<Tier>(tier)) || !tier_supported(static_cast<Tier>(tier))) --tier;
  return static_cast<Tier>(tier);
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
