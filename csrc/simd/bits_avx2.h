// L1 simd: bits counted on AVX2; bits_ref.h says what the names mean.
#pragma once
#include "simd/int_avx2.h"

namespace fastconv {
namespace {

inline uint32_t vlanes_lt(vf a, vf b) {
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_LT_OQ)));
}
inline uint32_t vlanes_nan(vf a) {
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a, a, _CMP_UNORD_Q)));
}
inline vi vixor(vi a, vi b) { return _mm256_xor_si256(a, b); }

inline vi vcarry_save(vi& a, vi b, vi c) {
  const vi differ = _mm256_xor_si256(b, c);
  const vi carry = _mm256_or_si256(_mm256_and_si256(b, c), _mm256_and_si256(a, differ));
  a = _mm256_xor_si256(a, differ);
  return carry;
}
inline vi vcount_bytes(vi x) {
  const vi counts = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1,
                                     2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
  const vi low = _mm256_set1_epi8(15);
  return _mm256_add_epi8(
      _mm256_shuffle_epi8(counts, _mm256_and_si256(x, low)),
      _mm256_shuffle_epi8(counts, _mm256_and_si256(_mm256_srli_epi16(x, 4), low)));
}
inline vi vadd_bytes(vi a, vi b) { return _mm256_add_epi8(a, b); }
inline vi vsum_bytes(vi x) {
  return _mm256_madd_epi16(_mm256_maddubs_epi16(x, _mm256_set1_epi8(1)), _mm256_set1_epi16(1));
}

}  // namespace
}  // namespace fastconv

// In the vocabulary above.
#include "simd/bits_carry_save.h"
