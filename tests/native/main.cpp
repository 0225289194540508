// Native tests: runs them on every tier that this processor has, with one thread and with two, and
// says what failed. Exit status 0 where nothing did.
#include <cmath>
#include <cstdio>

#include "check.h"
#include "core/cpu.h"
#include "core/parallel.h"
#include "kernels/dispatch.h"

namespace native {
namespace {

long compared = 0, failed = 0;
constexpr long kShown = 20;

}  // namespace

std::vector<float> Random::numbers(dim_t n) {
  std::vector<float> v(static_cast<size_t>(n));
  for (float& x : v) x = number();
  return v;
}
std::vector<float> Random::whole_numbers(dim_t n, int low, int high) {
  return integers<float>(n, low, high);
}

void check(const std::string& what, dim_t at, double got, const Expected& expected) {
  ++compared;
  // The last comparison is false where got is a NaN.
  const bool right = std::isnan(expected.value) ? std::isnan(got)
                     : std::isinf(expected.value)
                         ? got == expected.value
                         : std::abs(got - expected.value) <= expected.bound;
  if (right) return;
  if (++failed <= kShown)
    std::printf("FAILED %s: at %lld expected %.9g within %.3g, got %.9g\n", what.c_str(),
                static_cast<long long>(at), expected.value, expected.bound, got);
}

void check_true(const std::string& what, bool condition) {
  ++compared;
  if (condition) return;
  if (++failed <= kShown) std::printf("FAILED %s\n", what.c_str());
}

}  // namespace native

int main() {
  using namespace fastconv;
  std::printf("processor: %s\nin use: %s\n", cpu_model().c_str(), tier_name(active_tier()));
  for (int i = 0; i < kTierCount; ++i) {
    const Tier tier = static_cast<Tier>(i);
    if (is_extension(tier) || !tier_supported(tier)) continue;
    set_active_tier(tier);
    for (const int threads : {1, 2}) {
      set_num_threads(threads);
      const long before = native::compared;
      native::test_products();
      native::test_integer_products();
      native::test_convolutions();
      native::test_integers();
      native::test_images();
      native::test_functions();
      native::test_weights();
      std::printf("%s, %d threads: %ld results\n", tier_name(tier), threads,
                  native::compared - before);
      std::fflush(stdout);
    }
  }
  std::printf("%ld of %ld results failed\n", native::failed, native::compared);
  return native::failed == 0 ? 0 : 1;
}
