// L1 simd: the vector vocabulary on AVX-512 (F, BW, DQ, VL), 16 lanes. vec_ref.h is the
// specification of the names. Under FASTCONV_EMULATE_AVX512 the intrinsics come from SIMDe, so that
// a CPU without AVX-512 can test this tier.
#pragma once
#ifdef FASTCONV_EMULATE_AVX512
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
// What SIMDe 0.7.4 (Debian 12) lacks, lane by lane; a masked lane's memory is not touched.
#define _mm512_maskz_loadu_ps fastconv_maskz_loadu_ps
#define _mm512_mask_storeu_ps fastconv_mask_storeu_ps
#undef _mm512_roundscale_ps
#undef _mm512_scalef_ps
#define _mm512_roundscale_ps fastconv_roundscale_ps
#define _mm512_scalef_ps fastconv_scalef_ps
#undef _mm512_shuffle_f32x4
#define _mm512_shuffle_f32x4 fastconv_shuffle_f32x4
static inline simde__m512 fastconv_maskz_loadu_ps(simde__mmask16 mask, const float* p) {
  float t[16] = {};
  for (int i = 0; i < 16; ++i)
    if (mask >> i & 1) t[i] = p[i];
  return simde_mm512_loadu_ps(t);
}
static inline void fastconv_mask_storeu_ps(float* p, simde__mmask16 mask, simde__m512 v) {
  float t[16];
  simde_mm512_storeu_ps(t, v);
  for (int i = 0; i < 16; ++i)
    if (mask >> i & 1) p[i] = t[i];
}
static inline simde__m512 fastconv_roundscale_ps(simde__m512 v, int) {
  float t[16];
  simde_mm512_storeu_ps(t, v);
  for (int i = 0; i < 16; ++i) t[i] = __builtin_rintf(t[i]);
  return simde_mm512_loadu_ps(t);
}
static inline simde__m512 fastconv_shuffle_f32x4(simde__m512 a, simde__m512 b, int lanes) {
  float x[16], y[16], t[16];
  simde_mm512_storeu_ps(x, a);
  simde_mm512_storeu_ps(y, b);
  for (int i = 0; i < 16; ++i) t[i] = (i < 8 ? x : y)[4 * (lanes >> i / 4 * 2 & 3) + i % 4];
  return simde_mm512_loadu_ps(t);
}
static inline simde__m512 fastconv_scalef_ps(simde__m512 v, simde__m512 n) {
  float t[16], power[16];
  simde_mm512_storeu_ps(t, v);
  simde_mm512_storeu_ps(power, n);
  for (int i = 0; i < 16; ++i) t[i] = __builtin_ldexpf(t[i], static_cast<int>(power[i]));
  return simde_mm512_loadu_ps(t);
}

#include "simd/simde_missing.h"
#else
#include <immintrin.h>
#endif

#include "core/types.h"

namespace fastconv {
namespace {

using vf = __m512;
using vi = __m512i;
constexpr int W = 16;

inline __mmask16 tail_mask(int n) { return static_cast<__mmask16>((1u << n) - 1u); }

inline vf vload(const float* p) { return _mm512_loadu_ps(p); }
inline void vstore(float* p, vf v) { _mm512_storeu_ps(p, v); }
inline vf vload_tail(const float* p, int n) { return _mm512_maskz_loadu_ps(tail_mask(n), p); }
inline void vstore_tail(float* p, vf v, int n) { _mm512_mask_storeu_ps(p, tail_mask(n), v); }
inline __m256i vto_bf16(vf v) {
  const __m512i bits = _mm512_castps_si512(v);
  const __m512i half = _mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff));
  const __mmask16 odd = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(0x10000)),
                  nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
  const __m512i nearest = _mm512_mask_add_epi32(half, odd, half, _mm512_set1_epi32(1));
  const __m512i y = _mm512_mask_or_epi32(nearest, nan, bits, _mm512_set1_epi32(0x400000));
  const __m512i uppers = _mm512_set_epi32(0, 0, 0, 0, 0, 0, 0, 0, 0x1f001d, 0x1b0019, 0x170015,
                                          0x130011, 0xf000d, 0xb0009, 0x70005, 0x30001);
  return _mm512_castsi512_si256(_mm512_permutexvar_epi16(uppers, y));
}
inline void vstore_bf16(uint16_t* p, vf v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), vto_bf16(v));
}
#ifdef FASTCONV_EMULATE_AVX512
inline void vstore_bf16_tail(uint16_t* p, vf v, int n) {
  uint16_t y[W];
  vstore_bf16(y, v);
  for (int i = 0; i < n; ++i) p[i] = y[i];
}
inline void vkeep(vf&) {}
#else
inline void vstore_bf16_tail(uint16_t* p, vf v, int n) {
  _mm256_mask_storeu_epi16(p, tail_mask(n), vto_bf16(v));
}
inline void vkeep(vf& a) { __asm__("" : "+v"(a)); }
#endif
inline vf vset(float x) { return _mm512_set1_ps(x); }
inline vf vzero() { return _mm512_setzero_ps(); }
inline vf vbroadcast(const float* p) { return _mm512_set1_ps(*p); }

inline vf vadd(vf a, vf b) { return _mm512_add_ps(a, b); }
inline vf vsub(vf a, vf b) { return _mm512_sub_ps(a, b); }
inline vf vmul(vf a, vf b) { return _mm512_mul_ps(a, b); }
inline vf vdiv(vf a, vf b) { return _mm512_div_ps(a, b); }
inline vf vfma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
inline vf vmax(vf a, vf b) { return _mm512_max_ps(a, b); }
inline vf vmin(vf a, vf b) { return _mm512_min_ps(a, b); }
inline vf vselect_lt(vf a, vf b, vf x, vf y) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
}
inline vf vselect_nan(vf a, vf x, vf y) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), y, x);
}
inline vf vneg(vf a) {
  return _mm512_castsi512_ps(
      _mm512_xor_si512(_mm512_castps_si512(a), _mm512_set1_epi32(INT32_MIN)));
}
inline vf vabs(vf a) {
  return _mm512_castsi512_ps(
      _mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32(0x7fffffff)));
}
inline vf vsqrt(vf a) { return _mm512_sqrt_ps(a); }
inline vf vround(vf a) {
  return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline vf vexp2i(vf n) { return _mm512_scalef_ps(_mm512_set1_ps(1.0f), n); }
struct Power {
  vf n;
};
inline Power vpower(vf n) { return {n}; }
inline vf vscale(vf a, Power p) { return _mm512_scalef_ps(a, p.n); }
inline vf vadd_exponent(vf a, vf n) {
  const __m512i exponent = _mm512_slli_epi32(_mm512_castps_si512(n), 23);
  return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), exponent));
}
constexpr int kPowers = 16;
// As bits, less what the shift of n adds below the exponent.
inline vf vpower_of_two(vf n) {
  alignas(64) static const uint32_t powers[kPowers] = {
      0x3f800000, 0x3f7daac3, 0x3f7b95c2, 0x3f79c3d3, 0x3f7837f0, 0x3f76f532,
      0x3f75fed7, 0x3f75583f, 0x3f7504f3, 0x3f7508a4, 0x3f75672a, 0x3f76248c,
      0x3f7744fd, 0x3f78ccdf, 0x3f7ac0c7, 0x3f7d257d};
  const __m512i index = _mm512_castps_si512(n);
  const __m512 power = _mm512_permutexvar_ps(index, _mm512_load_ps(powers));
  const __m512i exponent = _mm512_slli_epi32(index, 19);
  return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(power), exponent));
}
inline vf vpower_rest(vf n) {
  alignas(64) static const float rest[kPowers] = {
      0.0f,           4.6285471e-08f,  -1.1992157e-08f, 4.7297824e-08f,  3.1934181e-08f,
      3.6210573e-08f, -3.0990721e-08f, -7.4752132e-09f, 1.7114271e-08f,  -3.0476834e-08f,
      5.2333342e-09f, 6.1075916e-09f,  -1.4719605e-08f, -5.2587951e-09f, -6.1282598e-09f,
      5.1406092e-09f};
  return _mm512_permutexvar_ps(_mm512_castps_si512(n), _mm512_load_ps(rest));
}
inline vf vlogb(vf a) {
  const __m512i exponent = _mm512_srli_epi32(_mm512_castps_si512(a), 23);
  const __m512i biased = _mm512_or_si512(exponent, _mm512_set1_epi32(0x4b000000));
  return vsub(_mm512_castsi512_ps(biased), vset(8388608.0f + 127.0f));
}
inline bool vall_lt(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ) == 0xffff; }
inline vi vindex(const int32_t* idx) { return _mm512_loadu_si512(idx); }
inline vf vpermute(vf a, vi idx) { return _mm512_permutexvar_ps(idx, a); }
inline vf veven(vf a, vf b) {
  const __m512i lanes =
      _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  return _mm512_permutex2var_ps(a, lanes, b);
}
// In registers: through memory, as a loop over halves of an array, it waits for each store.
inline __m256 vhigh(vf a) {
  return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a), 1));
}
inline float vreduce_add(vf a) {
  const __m256 by8 = _mm256_add_ps(_mm512_castps512_ps256(a), vhigh(a));
  const __m128 by4 = _mm_add_ps(_mm256_castps256_ps128(by8), _mm256_extractf128_ps(by8, 1));
  const __m128 by2 = _mm_add_ps(by4, _mm_movehl_ps(by4, by4));
  return _mm_cvtss_f32(_mm_add_ss(by2, _mm_movehdup_ps(by2)));
}
inline float vreduce_max(vf a) {
  const __m256 by8 = _mm256_max_ps(_mm512_castps512_ps256(a), vhigh(a));
  const __m128 by4 = _mm_max_ps(_mm256_castps256_ps128(by8), _mm256_extractf128_ps(by8, 1));
  const __m128 by2 = _mm_max_ps(by4, _mm_movehl_ps(by4, by4));
  return _mm_cvtss_f32(_mm_max_ss(by2, _mm_movehdup_ps(by2)));
}
inline void vtranspose(vf* r) {
  // Pairs, then quadruples of rows interleaved within the 128-bit lanes: t[4 * i + j] then has
  // column 4 * l + j of rows 4 * i to 4 * i + 3 in lane l. The lanes are a 4 x 4 matrix for each j,
  // which two rounds of lane shuffles transpose. 64 shuffles for 256 elements.
  vf t[16];
  for (int i = 0; i < 16; i += 4) {
    const __m512d lo01 = _mm512_castps_pd(_mm512_unpacklo_ps(r[i], r[i + 1])),
                  hi01 = _mm512_castps_pd(_mm512_unpackhi_ps(r[i], r[i + 1])),
                  lo23 = _mm512_castps_pd(_mm512_unpacklo_ps(r[i + 2], r[i + 3])),
                  hi23 = _mm512_castps_pd(_mm512_unpackhi_ps(r[i + 2], r[i + 3]));
    t[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(lo01, lo23));
    t[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(lo01, lo23));
    t[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(hi01, hi23));
    t[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(hi01, hi23));
  }
  for (int j = 0; j < 4; ++j) {
    const vf even0 = _mm512_shuffle_f32x4(t[j], t[4 + j], 0x88),  // lanes 0 and 2 of both
        odd0 = _mm512_shuffle_f32x4(t[j], t[4 + j], 0xdd),
             even1 = _mm512_shuffle_f32x4(t[8 + j], t[12 + j], 0x88),
             odd1 = _mm512_shuffle_f32x4(t[8 + j], t[12 + j], 0xdd);
    r[j] = _mm512_shuffle_f32x4(even0, even1, 0x88);
    r[4 + j] = _mm512_shuffle_f32x4(odd0, odd1, 0x88);
    r[8 + j] = _mm512_shuffle_f32x4(even0, even1, 0xdd);
    r[12 + j] = _mm512_shuffle_f32x4(odd0, odd1, 0xdd);
  }
}

}  // namespace
}  // namespace fastconv
