// L1 simd: the vector vocabulary on AVX2 + FMA, 8 lanes. vec_ref.h is the specification of the
// names.
#pragma once
#include <immintrin.h>

#include "core/types.h"

namespace fastconv {
namespace {

using vf = __m256;
using vi = __m256i;
constexpr int W = 8;

alignas(64) constexpr int32_t kTailMask[16] = {-1, -1, -1, -1, -1, -1, -1, -1,
                                               0,  0,  0,  0,  0,  0,  0,  0};
inline __m256i tail_mask(int n) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kTailMask + 8 - n));
}

inline vf vload(const float* p) { return _mm256_loadu_ps(p); }
inline void vstore(float* p, vf v) { _mm256_storeu_ps(p, v); }
inline vf vload_tail(const float* p, int n) { return _mm256_maskload_ps(p, tail_mask(n)); }
// By halves: a masked store takes 12 cycles on Zen 3, and n is the same for long, so that these
// branches are foreseen.
inline void vstore_tail(float* p, vf v, int n) {
  if (n >= 8) return _mm256_storeu_ps(p, v);
  __m128 x = _mm256_castps256_ps128(v);
  if (n & 4) {
    _mm_storeu_ps(p, x);
    p += 4;
    x = _mm256_extractf128_ps(v, 1);
  }
  if (n & 2) {
    _mm_storel_pi(reinterpret_cast<__m64*>(p), x);
    p += 2;
    x = _mm_movehl_ps(x, x);
  }
  if (n & 1) _mm_store_ss(p, x);
}
inline void vstore_bf16(uint16_t* p, vf v) {
  const __m256i bits = _mm256_castps_si256(v), upper = _mm256_srli_epi32(bits, 16);
  const __m256i odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
  const __m256i carried = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256 quiet = _mm256_castsi256_ps(_mm256_or_si256(upper, _mm256_set1_epi32(0x40)));
  const __m256 nearest = _mm256_castsi256_ps(_mm256_srli_epi32(carried, 16));
  const __m256i y =
      _mm256_castps_si256(_mm256_blendv_ps(nearest, quiet, _mm256_cmp_ps(v, v, _CMP_UNORD_Q)));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm_packus_epi32(_mm256_castsi256_si128(y), _mm256_extracti128_si256(y, 1)));
}
inline void vstore_bf16_tail(uint16_t* p, vf v, int n) {
  uint16_t y[W];
  vstore_bf16(y, v);
  for (int i = 0; i < n; ++i) p[i] = y[i];
}
inline void vkeep(vf& a) { __asm__("" : "+x"(a)); }
inline vf vset(float x) { return _mm256_set1_ps(x); }
inline vf vzero() { return _mm256_setzero_ps(); }
inline vf vbroadcast(const float* p) { return _mm256_broadcast_ss(p); }

inline vf vadd(vf a, vf b) { return _mm256_add_ps(a, b); }
inline vf vsub(vf a, vf b) { return _mm256_sub_ps(a, b); }
inline vf vmul(vf a, vf b) { return _mm256_mul_ps(a, b); }
inline vf vdiv(vf a, vf b) { return _mm256_div_ps(a, b); }
inline vf vfma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
inline vf vmax(vf a, vf b) { return _mm256_max_ps(a, b); }
inline vf vmin(vf a, vf b) { return _mm256_min_ps(a, b); }
inline vf vselect_lt(vf a, vf b, vf x, vf y) {
  return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}
inline vf vselect_nan(vf a, vf x, vf y) {
  return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, a, _CMP_UNORD_Q));
}
inline vf vneg(vf a) { return _mm256_xor_ps(_mm256_set1_ps(-0.0f), a); }
inline vf vabs(vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
inline vf vsqrt(vf a) { return _mm256_sqrt_ps(a); }
inline vf vround(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline vf vexp2i(vf n) {
  const __m256i e = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_castsi256_ps(_mm256_slli_epi32(e, 23));
}
struct Power {
  vf high, low;
};
inline Power vpower(vf n) {
  const vf half = vround(vmul(n, vset(0.5f)));
  return {vexp2i(half), vexp2i(vsub(n, half))};
}
inline vf vscale(vf a, Power p) { return vmul(vmul(a, p.high), p.low); }
inline vf vadd_exponent(vf a, vf n) {
  const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(n), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), exponent));
}
constexpr int kPowers = 1;
inline vf vpower_of_two(vf n) { return vadd_exponent(vset(1.0f), n); }
inline vf vpower_rest(vf) { return vzero(); }
inline vf vlogb(vf a) {
  const __m256i exponent = _mm256_srli_epi32(_mm256_castps_si256(a), 23);
  const __m256i biased = _mm256_or_si256(exponent, _mm256_set1_epi32(0x4b000000));
  return vsub(_mm256_castsi256_ps(biased), vset(8388608.0f + 127.0f));
}
inline bool vall_lt(vf a, vf b) {
  return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_LT_OQ)) == 0xff;
}
inline vi vindex(const int32_t* idx) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(idx));
}
inline vf vpermute(vf a, vi idx) { return _mm256_permutevar8x32_ps(a, idx); }
inline vf veven(vf a, vf b) {
  const __m256d pairs = _mm256_castps_pd(_mm256_shuffle_ps(a, b, 0x88));  // of a, b, a, b
  return _mm256_castpd_ps(_mm256_permute4x64_pd(pairs, 0xd8));
}
inline float vreduce_add(vf a) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
inline float vreduce_max(vf a) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
inline void vtranspose(vf* r) {
  __m256 t[8], u[8];
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    u[i + 0] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    u[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
    u[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    u[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x20);
    r[i + 4] = _mm256_permute2f128_ps(u[i], u[i + 4], 0x31);
  }
}

}  // namespace
}  // namespace fastconv
