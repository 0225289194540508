// L0 core: what this machine is: which tiers run, caches, and how many threads it is polite to
// start. What is a processor family's own is in cpu_x86.cpp, cpu_arm.cpp or cpu_other.cpp.
// kernels/dispatch.cpp asks for the tier, gemm/ for the caches, bindings/bind_core.cpp for the
// number of threads.
#include "core/cpu.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <optional>

#include "core/check.h"
#include "core/platform.h"

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

int default_num_threads() {
  return std::min({usable_processors(), cgroup_threads(), omp_limit(), own_limit()});
}

}  // namespace fastconv
