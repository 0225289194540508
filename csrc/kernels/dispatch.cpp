// L2 kernels: builds the tables in the order of cmake/isa.cmake, each a copy of its parent's that the
// tier then overwrites, and after it the tier's extensions.
#include "kernels/dispatch.h"

#include <atomic>
#include <memory>
#include <vector>

#include "core/check.h"

namespace fastconv {

#define FC_TIER(name, ...) void table_##name(KernelTable& table);
#include "core/tiers.def"
#undef FC_TIER

namespace {

using Fill = void (*)(KernelTable& table);
constexpr Fill kFill[kTierCount] = {
#define FC_TIER(name, ...) table_##name,
#include "core/tiers.def"
#undef FC_TIER
};

// The tiers' tables with the first `extensions` rows that are extensions; these have no table of
// their own.
struct Tables {
  KernelTable of[kTierCount];
  explicit Tables(int extensions) {
    for (int i = 0; i < kTierCount; ++i) {
      const Tier tier = static_cast<Tier>(i);
      KernelTable& parent = of[static_cast<int>(tier_parent(tier))];
      if (is_extension(tier)) {
        if (extensions-- > 0 && tier_supported(tier)) kFill[i](parent);
      } else {
        of[i] = parent;
        if (tier_supported(tier)) kFill[i](of[i]);
      }
    }
  }
};

std::atomic<int> extensions_active{kTierCount};

const Tables& tables() {
  static const Tables all(kTierCount);
  const int extensions = extensions_active.load(std::memory_order_relaxed);
  if (extensions >= kTierCount) return all;
  static const std::vector<std::unique_ptr<const Tables>> some = [] {
    std::vector<std::unique_ptr<const Tables>> made;
    for (int i = 0; i < kTierCount; ++i) made.push_back(std::make_unique<const Tables>(i));
    return made;
  }();
  return *some[static_cast<size_t>(extensions)];
}

std::atomic<int>& active() {
  static std::atomic<int> tier{static_cast<int>(tier_from_environment())};
  return tier;
}

}  // namespace

const KernelTable& kernels(Tier tier) {
  FC_CHECK(!is_extension(tier) && tier_supported(tier), ArgumentError,
           "tier: expected one that this build and CPU can run, got ", tier_name(tier));
  return tables().of[static_cast<int>(tier)];
}

Tier active_tier() { return static_cast<Tier>(active().load(std::memory_order_relaxed)); }

const KernelTable& kernels() { return tables().of[static_cast<int>(active_tier())]; }

void set_active_tier(Tier tier) {
  kernels(tier);  // throws where it cannot run
  active().store(static_cast<int>(tier), std::memory_order_relaxed);
}

void set_extensions_active(const std::string& last) {
  int found = last.empty() ? 0 : last == "all" ? kTierCount : -1;
  for (int i = 0, count = 0; i < kTierCount && found < 0; ++i) {
    const Tier tier = static_cast<Tier>(i);
    if (is_extension(tier) && ++count && last == tier_name(tier)) found = count;
  }
  FC_CHECK(found >= 0, ArgumentError, "last: expected an extension, all or nothing, got ", last);
  extensions_active.store(found, std::memory_order_relaxed);
}

}  // namespace fastconv
