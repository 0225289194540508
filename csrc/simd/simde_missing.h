// L1 simd: the intrinsics of vec_avx512.h that SIMDe 0.7 (Debian 12's) has no version of, lane by
// lane. Only for the emulated tier, which tests logic and not speed; included by vec_avx512.h
// alone.
#pragma once
#include <simde/x86/avx2.h>
#include <simde/x86/avx512.h>

namespace fastconv {
namespace {

inline __m512 emulated_maskz_loadu_ps(__mmask16 mask, const void* p) {
  float lanes[16] = {};
  for (int i = 0; i < 16; ++i)
    if (mask >> i & 1) lanes[i] = static_cast<const float*>(p)[i];
  return _mm512_loadu_ps(lanes);
}

inline void emulated_mask_storeu_ps(void* p, __mmask16 mask, __m512 v) {
  float lanes[16];
  _mm512_storeu_ps(lanes, v);
  for (int i = 0; i < 16; ++i)
    if (mask >> i & 1) static_cast<float*>(p)[i] = lanes[i];
}

inline __m512i emulated_cvtps_epi32(__m512 v) {
  float lanes[16];
  int32_t rounded[16];
  _mm512_storeu_ps(lanes, v);
  for (int half = 0; half < 16; half += 8)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(rounded + half),
                        _mm256_cvtps_epi32(_mm256_loadu_ps(lanes + half)));
  return _mm512_loadu_si512(rounded);
}

inline __m512 emulated_cvtepi32_ps(__m512i v) {
  int32_t whole[16];
  float lanes[16];
  _mm512_storeu_si512(whole, v);
  for (int i = 0; i < 16; ++i) lanes[i] = static_cast<float>(whole[i]);
  return _mm512_loadu_ps(lanes);
}

inline __m128i emulated_cvtepi32_epi8(__m512i v) {
  int32_t whole[16];
  int8_t low[16];
  _mm512_storeu_si512(whole, v);
  for (int i = 0; i < 16; ++i) low[i] = static_cast<int8_t>(whole[i]);
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(low));
}

inline __m512i emulated_cvtepu8_epi16(__m256i v) {
  uint8_t bytes[32];
  int16_t wide[32];
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(bytes), v);
  for (int i = 0; i < 32; ++i) wide[i] = bytes[i];
  return _mm512_loadu_si512(wide);
}

inline __m256i emulated_256_maskz_loadu_epi8(__mmask32 mask, const void* p) {
  uint8_t bytes[32] = {};
  for (int i = 0; i < 32; ++i)
    if (mask >> i & 1) bytes[i] = static_cast<const uint8_t*>(p)[i];
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
}

inline __m512i emulated_srai_epi32(__m512i v, int n) {
  int32_t whole[16];
  _mm512_storeu_si512(whole, v);
  for (int i = 0; i < 16; ++i) whole[i] >>= n;
  return _mm512_loadu_si512(whole);
}

inline __m512i emulated_cvtepu8_epi32(__m128i v) {
  uint8_t low[16];
  int32_t whole[16];
  _mm_storeu_si128(reinterpret_cast<__m128i*>(low), v);
  for (int i = 0; i < 16; ++i) whole[i] = low[i];
  return _mm512_loadu_si512(whole);
}

inline __m512i emulated_cvtepi8_epi32(__m128i v) {
  int8_t low[16];
  int32_t whole[16];
  _mm_storeu_si128(reinterpret_cast<__m128i*>(low), v);
  for (int i = 0; i < 16; ++i) whole[i] = low[i];
  return _mm512_loadu_si512(whole);
}

}  // namespace
}  // namespace fastconv

#undef _mm512_maskz_loadu_ps
#define _mm512_maskz_loadu_ps emulated_maskz_loadu_ps
#undef _mm512_mask_storeu_ps
#define _mm512_mask_storeu_ps emulated_mask_storeu_ps
#undef _mm512_cvtps_epi32
#define _mm512_cvtps_epi32 emulated_cvtps_epi32
#undef _mm512_cvtepi32_ps
#define _mm512_cvtepi32_ps emulated_cvtepi32_ps
#undef _mm512_cvtepi32_epi8
#define _mm512_cvtepi32_epi8 emulated_cvtepi32_epi8
#undef _mm512_cvtepu8_epi16
#define _mm512_cvtepu8_epi16 emulated_cvtepu8_epi16
#undef _mm256_maskz_loadu_epi8
#define _mm256_maskz_loadu_epi8 emulated_256_maskz_loadu_epi8
#undef _mm512_srai_epi32
#define _mm512_srai_epi32 emulated_srai_epi32
#undef _mm512_cvtepu8_epi32
#define _mm512_cvtepu8_epi32 emulated_cvtepu8_epi32
#undef _mm512_cvtepi8_epi32
#define _mm512_cvtepi8_epi32 emulated_cvtepi8_epi32
// SIMDe's own name is that of its masked form.
#undef _mm512_madd_epi16
#define _mm512_madd_epi16 simde_mm512_madd_epi16
