// L1 simd: lanes of 32-bit integers on AVX-512; int_ref.h is the specification of the names.
#pragma once
#include "simd/vec_avx512.h"

namespace fastconv {
namespace {

inline vi viload(const int32_t* p) { return _mm512_loadu_si512(p); }
inline void vistore(int32_t* p, vi v) { _mm512_storeu_si512(p, v); }
inline vi viset(int32_t x) { return _mm512_set1_epi32(x); }
inline vi vizero() { return _mm512_setzero_si512(); }
inline vi viadd(vi a, vi b) { return _mm512_add_epi32(a, b); }
inline vi visub(vi a, vi b) { return _mm512_sub_epi32(a, b); }
inline vi vimul(vi a, vi b) { return _mm512_mullo_epi32(a, b); }
template <int N>
inline vi vishl(vi a) {
  return _mm512_slli_epi32(a, N);
}
template <int N>
inline vi vishr(vi a) {
  return _mm512_srai_epi32(a, N);
}
inline vf vtofloat(vi a) { return _mm512_cvtepi32_ps(a); }
inline vi vtoint(vf a) { return _mm512_cvtps_epi32(a); }
inline void vistore_bytes(uint8_t* p, vi v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v));
}

inline void vistore_bytes(uint8_t* p, vi a, vi b) {
  vistore_bytes(p, a);
  vistore_bytes(p + W, b);
}

inline void vistore_bytes(uint8_t* p, dim_t step, const vi (&v)[4]) {
  for (int i = 0; i < 4; ++i) vistore_bytes(p + i * step, v[i]);
}

}  // namespace
}  // namespace fastconv
