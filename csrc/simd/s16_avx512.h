// L1 simd: lanes of 16-bit integers on AVX-512 BW; s16_ref.h is the specification of the names.
#pragma once
#include "simd/int_avx512.h"

namespace fastconv {
namespace {

using vs = __m512i;

inline vs vswiden(const uint8_t* p) {
  return _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline vs vswiden_tail(const uint8_t* p, int n) {
  const auto mask = static_cast<__mmask32>(0xffffffffu >> (32 - n));
  return _mm512_cvtepu8_epi16(_mm256_maskz_loadu_epi8(mask, p));
}
inline void vsstore(int16_t* p, vs v) { _mm512_storeu_si512(p, v); }
inline vs vsset(int x) { return _mm512_set1_epi16(static_cast<short>(x)); }
inline vs vsadd(vs a, vs b) { return _mm512_add_epi16(a, b); }
inline vs vssub(vs a, vs b) { return _mm512_sub_epi16(a, b); }
template <int N>
inline vs vsshl(vs a) {
  return _mm512_slli_epi16(a, N);
}

}  // namespace
}  // namespace fastconv
