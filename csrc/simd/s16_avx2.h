// L1 simd: lanes of 16-bit integers on AVX2; s16_ref.h is the specification of the names.
#pragma once
#include <string.h>

#include "simd/int_avx2.h"

namespace fastconv {
namespace {

using vs = __m256i;

inline vs vswiden(const uint8_t* p) {
  return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
// By two overlapping pieces: a call of memcpy for a few bytes takes longer than all the rest.
inline vs vswiden_tail(const uint8_t* p, int n) {
  uint64_t low = 0, high = 0;
  if (n >= 8) {
    memcpy(&low, p, 8);
    if (n > 8) {
      memcpy(&high, p + n - 8, 8);
      high >>= 8 * (16 - n);
    }
  } else if (n >= 4) {
    uint32_t first, last;
    memcpy(&first, p, 4);
    memcpy(&last, p + n - 4, 4);
    low = first | static_cast<uint64_t>(last) << 8 * (n - 4);
  } else {
    low = p[0] | p[n >> 1] << 8 * (n >> 1) | p[n - 1] << 8 * (n - 1);
  }
  return _mm256_cvtepu8_epi16(
      _mm_set_epi64x(static_cast<long long>(high), static_cast<long long>(low)));
}
inline void vsstore(int16_t* p, vs v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
inline vs vsset(int x) { return _mm256_set1_epi16(static_cast<short>(x)); }
inline vs vsadd(vs a, vs b) { return _mm256_add_epi16(a, b); }
inline vs vssub(vs a, vs b) { return _mm256_sub_epi16(a, b); }
template <int N>
inline vs vsshl(vs a) {
  return _mm256_slli_epi16(a, N);
}

}  // namespace
}  // namespace fastconv
