// L1 simd: bits counted on AVX512_VPOPCNTDQ, by one instruction; bits_ref.h says what the names mean.
#pragma once
#include "simd/bits_lanes_avx512.h"

namespace fastconv {
namespace {

struct Bits {
  using Count = vi;
  static constexpr int kWords = 1;
  static constexpr dim_t kTogether = dim_t{1} << 40;
  static Count none() noexcept { return vizero(); }
  static void count(Count& c, const vi (&x)[kWords]) noexcept {
    c = viadd(c, _mm512_popcnt_epi32(x[0]));
  }
  static void fold(Count&) noexcept {}
  static vi total(const Count& c) noexcept { return c; }
};

}  // namespace
}  // namespace fastconv
