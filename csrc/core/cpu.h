// L0 core: which ISA tier runs, and the caches and limits of the machine.
#pragma once
#include <string>
#include <vector>

#include "core/types.h"

namespace fastconv {

// The rows of cmake/isa.cmake that this processor family has, parents first: tiers, clusters of
// instruction sets with a table of kernels each, and extensions, which add to their parent's table.
// "Which kernel ran" is then one word.
enum class Tier : int {
#define FC_TIER(name, ...) name,
#include "core/tiers.def"
#undef FC_TIER
};
constexpr int kTierCount = 0
#define FC_TIER(...) +1
#include "core/tiers.def"
#undef FC_TIER
    ;
// What rows need of the processor.
enum class Feature : int {
#define FC_FEATURE(name) name,
#include "core/tiers.def"
#undef FC_FEATURE
};

const char* tier_name(Tier tier) noexcept;
Tier tier_parent(Tier tier) noexcept;  // of ref itself
bool is_extension(Tier tier) noexcept;
bool is_emulated(Tier tier) noexcept;  // built from portable intrinsics, for tests
// The tier, no extension, of a name; throws an ArgumentError that starts with `argument` and lists
// the names.
Tier tier_named(const char* argument, const std::string& name);
bool tier_supported(Tier tier) noexcept;  // this CPU and operating system can run it
// The last tier of the table that is supported and not emulated; where FASTCONV_ISA names one, that
// or its first parent that is supported. Throws ArgumentError for an unknown name.
Tier tier_from_environment();

// Bytes; the defaults serve where nothing is found.
struct Caches {
  dim_t l1d = 32 * 1024, l2 = 512 * 1024, l3 = 8 * 1024 * 1024;
};
const Caches& caches() noexcept;
std::string cpu_model();

// What a processor family's own file says, cpu_<family>.cpp: whether there is a feature that the
// operating system saves the registers of; the model, or nothing; the data caches that it finds.
bool cpu_has(Feature feature) noexcept;
std::string read_model();
void read_caches(Caches& found);

// min(affinity, cgroup quota, OMP_NUM_THREADS, FASTCONV_NUM_THREADS), at least 1.
int default_num_threads();

}  // namespace fastconv
