// L0 core: which ISA tier runs, and the caches and limits of the machine.
#pragma once
#include <string>
#include <vector>

#include "core/types.h"

namespace fastconv {

// A total order of feature clusters; "which kernel ran" is then one word. cmake/isa.cmake has the
// same rows.
enum class Tier : int { ref = 0, avx2 = 1, avx512 = 2 };
constexpr int kTierCount = 3;

const char* tier_name(Tier tier) noexcept;
// The tier of a name; throws an ArgumentError that starts with `argument` and lists the names.
Tier tier_named(const char* argument, const std::string& name);
bool tier_built(Tier tier) noexcept;      // compiled into this binary
bool tier_supported(Tier tier) noexcept;  // this CPU and operating system can run it
// The highest tier that is built and supported, capped by FASTCONV_ISA; throws ArgumentError for an
// unknown name.
Tier tier_from_environment();

// Instruction sets beside the tiers, each of which extends one: cmake/isa.cmake has the same rows.
enum class Extension : int { avx_vnni = 0, avx512_vnni = 1, avx512_bf16 = 2 };
constexpr int kExtensionCount = 3;

const char* extension_name(Extension extension) noexcept;
// Compiled in, and this CPU and operating system can run it and its tier.
bool extension_supported(Extension extension) noexcept;

struct Caches {
  dim_t l1d = 32 * 1024, l2 = 512 * 1024,
        l3 = 8 * 1024 * 1024;  // bytes; the defaults serve when nothing is found
};
const Caches& caches() noexcept;
std::string cpu_model();

// Processors that the control groups of this process leave it, rounded down but at least 1; INT_MAX
// without a quota. Tests lay out /proc and /sys under another root.
int cgroup_threads(const std::string& root = "");

// min(affinity, cgroup quota, OMP_NUM_THREADS, FASTCONV_NUM_THREADS), at least 1.
int default_num_threads();

}  // namespace fastconv
