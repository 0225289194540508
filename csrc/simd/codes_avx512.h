// L1 simd: tables looked up on AVX-512, of 16 floats in one register or of 32 in two, by one
// instruction; codes_ref.h says what the names mean.
#pragma once
#include "simd/int_avx512.h"

namespace fastconv {
namespace {

template <int Bits>
struct Lookup {
  static_assert(Bits == 4 || Bits == 5);
  static constexpr int kBits = Bits;
  struct Table {
    vf low, high;
  };
  static Table table(const float* p) noexcept { return {vload(p), vload(p + (1 << Bits) - 16)}; }
  static vf at(const Table& t, vi x) noexcept {
    if constexpr (Bits == 4) return _mm512_permutexvar_ps(x, t.low);
    return _mm512_permutex2var_ps(t.low, x, t.high);
  }
};

}  // namespace
}  // namespace fastconv
