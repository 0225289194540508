// L2 kernels: builds the tables, lowest tier first, each a copy of the one below that the tier then
// overwrites, and after it the tier's extensions.
#include "kernels/dispatch.h"

#include <atomic>

#include "core/check.h"

namespace fastconv {

void table_ref(KernelTable& table);
#if FASTCONV_HAVE_AVX2
void table_avx2(KernelTable& table);
#endif
#if FASTCONV_HAVE_AVX512
void table_avx512(KernelTable& table);
#endif
#if FASTCONV_HAVE_AVX_VNNI
void table_avx_vnni(KernelTable& table);
#endif
#if FASTCONV_HAVE_AVX512_VNNI
void table_avx512_vnni(KernelTable& table);
#endif
#if FASTCONV_HAVE_AVX512_BF16
void table_avx512_bf16(KernelTable& table);
#endif

namespace {

// The tiers' tables, with their extensions or without.
struct Tables {
  KernelTable of[kTierCount];
  explicit Tables([[maybe_unused]] bool extended) {
    table_ref(of[0]);
    of[1] = of[0];
#if FASTCONV_HAVE_AVX2
    if (tier_supported(Tier::avx2)) table_avx2(of[1]);
#endif
#if FASTCONV_HAVE_AVX_VNNI
    if (extended && extension_supported(Extension::avx_vnni)) table_avx_vnni(of[1]);
#endif
    of[2] = of[1];
#if FASTCONV_HAVE_AVX512
    if (tier_supported(Tier::avx512)) table_avx512(of[2]);
#endif
#if FASTCONV_HAVE_AVX512_VNNI
    if (extended && extension_supported(Extension::avx512_vnni)) table_avx512_vnni(of[2]);
#endif
#if FASTCONV_HAVE_AVX512_BF16
    if (extended && extension_supported(Extension::avx512_bf16)) table_avx512_bf16(of[2]);
#endif
  }
};

std::atomic<bool> extensions_active{true};

const Tables& tables() {
  static const Tables extended(true), plain(false);
  return extensions_active.load(std::memory_order_relaxed) ? extended : plain;
}

std::atomic<int>& active() {
  static std::atomic<int> tier{static_cast<int>(tier_from_environment())};
  return tier;
}

}  // namespace

const KernelTable& kernels(Tier tier) {
  FC_CHECK(tier_built(tier) && tier_supported(tier), ArgumentError,
           "tier: expected one that this build and CPU can run, got ", tier_name(tier));
  return tables().of[static_cast<int>(tier)];
}

Tier active_tier() { return static_cast<Tier>(active().load(std::memory_order_relaxed)); }

const KernelTable& kernels() { return tables().of[static_cast<int>(active_tier())]; }

void set_active_tier(Tier tier) {
  kernels(tier);  // throws where it cannot run
  active().store(static_cast<int>(tier), std::memory_order_relaxed);
}

void set_extensions_active(bool used) { extensions_active.store(used, std::memory_order_relaxed); }

}  // namespace fastconv
