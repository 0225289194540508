// L1 simd: bits counted on AVX-512 BW, where a carry-save adder is two instructions; bits_ref.h says
// what the names mean.
#pragma once
#include "simd/bits_lanes_avx512.h"

namespace fastconv {
namespace {

inline vi vcarry_save(vi& a, vi b, vi c) {
  const vi carry = _mm512_ternarylogic_epi32(a, b, c, 0xe8);  // two of three, or all
  a = _mm512_ternarylogic_epi32(a, b, c, 0x96);               // one of three, or all
  return carry;
}
inline vi vcount_bytes(vi x) {
  const vi counts = _mm512_set4_epi32(0x04030302, 0x03020201, 0x03020201, 0x02010100);
  const vi low = _mm512_set1_epi8(15);
  return _mm512_add_epi8(
      _mm512_shuffle_epi8(counts, _mm512_and_si512(x, low)),
      _mm512_shuffle_epi8(counts, _mm512_and_si512(_mm512_srli_epi16(x, 4), low)));
}
inline vi vadd_bytes(vi a, vi b) { return _mm512_add_epi8(a, b); }
inline vi vsum_bytes(vi x) {
  return _mm512_madd_epi16(_mm512_maddubs_epi16(x, _mm512_set1_epi8(1)), _mm512_set1_epi16(1));
}

}  // namespace
}  // namespace fastconv

// In the vocabulary above.
#include "simd/bits_carry_save.h"
