// L0 core: cpu.h's questions on 64-bit Arm. Linux tells features in the auxiliary vector, macOS by
// names of sysctl; a processor's own registers for them are not readable by programs.
#include "core/cpu.h"
#include "core/tiles.h"

#if defined(__APPLE__)
#include <sys/sysctl.h>
#else
#include <sys/auxv.h>

#include <fstream>

#include "core/check.h"
#endif

namespace fastconv {

#if defined(__APPLE__)
namespace {

// 0 where there is no such name.
int64_t number_named(const char* name) noexcept {
  int64_t value = 0;
  size_t bytes = sizeof value;  // little-endian: a number of 32 bits fills the lower half
  return sysctlbyname(name, &value, &bytes, nullptr, 0) == 0 ? value : 0;
}

}  // namespace

bool cpu_has(Feature feature) noexcept {
  switch (feature) {
    case Feature::asimd:
      return true;  // every processor of Apple's has it
  }
  return false;
}

std::string read_model() {
  char model[128] = {};
  size_t bytes = sizeof model - 1;
  return sysctlbyname("machdep.cpu.brand_string", model, &bytes, nullptr, 0) == 0 ? model : "";
}

// Of the faster cores, which the first level of performance is.
void read_caches(Caches& found) {
  const int64_t l1d = number_named("hw.perflevel0.l1dcachesize"),
                l2 = number_named("hw.perflevel0.l2cachesize");
  if (l1d > 0) found.l1d = l1d;
  if (l2 > 0) found.l2 = l2;
}

#else

bool cpu_has(Feature feature) noexcept {
  constexpr unsigned long kAsimd = 1ul << 1;  // HWCAP_ASIMD
  switch (feature) {
    case Feature::asimd:
      return (getauxval(AT_HWCAP) & kAsimd) != 0;
  }
  return false;
}

// Most kernels have no name for it, but the numbers of its maker and of the part.
std::string read_model() {
  const std::string name = model_of_cpuinfo();
  if (!name.empty()) return name;
  std::string maker, part;
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const std::string value = line.substr(std::min(line.size(), line.find(':') + 2));
    if (line.rfind("CPU implementer", 0) == 0) maker = value;
    if (line.rfind("CPU part", 0) == 0) part = value;
  }
  return maker.empty() ? "" : message("Arm, implementer ", maker, ", part ", part);
}

void read_caches(Caches& found) { read_caches_of_sysfs(found); }

#endif

bool cpu_permits_tiles() noexcept { return false; }

}  // namespace fastconv
