// L1 simd: lanes of 32-bit integers on AVX-512; int_ref.h is the specification of the names.
#pragma once
#include "simd/vec_avx512.h"

namespace fastconv {
namespace {

inline vi viload(const int32_t* p) { return _mm512_loadu_si512(p); }
inline void vistore(int32_t* p, vi v) { _mm512_storeu_si512(p, v); }
inline void vpair_bytes(uint8_t* p, __m256i a, __m256i b) {
  const __m256i low = _mm256_unpacklo_epi8(a, b), high = _mm256_unpackhi_epi8(a, b);
  __m256i* const to = reinterpret_cast<__m256i*>(p);
  _mm256_storeu_si256(to, _mm256_permute2x128_si256(low, high, 0x20));
  _mm256_storeu_si256(to + 1, _mm256_permute2x128_si256(low, high, 0x31));
}
inline void vpair_bytes(uint8_t* p, const uint8_t* a, const uint8_t* b) {
  vpair_bytes(p, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a)),
              _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b)));
}
inline void vpair_bytes_tail(uint8_t* p, const uint8_t* a, const uint8_t* b, int n) {
  const __mmask32 mask = (1u << n) - 1;
  vpair_bytes(p, _mm256_maskz_loadu_epi8(mask, a), _mm256_maskz_loadu_epi8(mask, b));
}
inline vi vipairs(const uint8_t* p) {
  return _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
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

inline vi viload_bytes(const uint8_t* p) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline vi viload_bytes(const int8_t* p) {
  return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

inline void vistore_bytes(uint8_t* p, vi a, vi b) {
  vistore_bytes(p, a);
  vistore_bytes(p + W, b);
}

inline void vistore_bytes(uint8_t* p, dim_t step, const vi (&v)[4]) {
  for (int i = 0; i < 4; ++i) vistore_bytes(p + i * step, v[i]);
}

constexpr int WB = 4 * W;

inline vi vbload(const void* p) { return _mm512_loadu_si512(p); }
inline void vbstore(void* p, vi v) { _mm512_storeu_si512(p, v); }
inline vi vbmax(vi a, vi b, uint8_t) { return _mm512_max_epu8(a, b); }
inline vi vbmax(vi a, vi b, int8_t) { return _mm512_max_epi8(a, b); }
// As in int_avx2.h: sixteen shuffles, and blends by the high bits.
class ByteTable {
 public:
  explicit ByteTable(const uint8_t* table) {
    for (int i = 0; i < 16; ++i)
      part_[i] =
          _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table + 16 * i)));
  }
  vi at(vi x) const {
    const vi low = _mm512_and_si512(x, _mm512_set1_epi8(15));
    const __mmask64 bit[4] = {_mm512_movepi8_mask(_mm512_slli_epi16(x, 3)),
                              _mm512_movepi8_mask(_mm512_slli_epi16(x, 2)),
                              _mm512_movepi8_mask(_mm512_slli_epi16(x, 1)), _mm512_movepi8_mask(x)};
    vi y[8];
    for (int i = 0; i < 8; ++i)
      y[i] = _mm512_mask_blend_epi8(bit[0], _mm512_shuffle_epi8(part_[2 * i], low),
                                    _mm512_shuffle_epi8(part_[2 * i + 1], low));
    for (int i = 0; i < 4; ++i) y[i] = _mm512_mask_blend_epi8(bit[1], y[2 * i], y[2 * i + 1]);
    for (int i = 0; i < 2; ++i) y[i] = _mm512_mask_blend_epi8(bit[2], y[2 * i], y[2 * i + 1]);
    return _mm512_mask_blend_epi8(bit[3], y[0], y[1]);
  }

 private:
  vi part_[16];
};

}  // namespace
}  // namespace fastconv
