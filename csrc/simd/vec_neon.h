// L1 simd: the vector vocabulary on 64-bit Arm's NEON, 4 lanes, with fused multiply-adds. vec_ref.h
// is the specification of the names.
#pragma once
#include <arm_neon.h>

#include "core/types.h"

namespace fastconv {
namespace {

using vf = float32x4_t;
using vi = int32x4_t;
constexpr int W = 4;

inline vf vload(const float* p) { return vld1q_f32(p); }
inline void vstore(float* p, vf v) { vst1q_f32(p, v); }
inline vf vset(float x) { return vdupq_n_f32(x); }
inline vf vzero() { return vdupq_n_f32(0.0f); }
inline vf vbroadcast(const float* p) { return vld1q_dup_f32(p); }
inline vf vload_tail(const float* p, int n) {
  if (n >= 4) return vld1q_f32(p);
  float32x2_t low = vdup_n_f32(0.0f), high = vdup_n_f32(0.0f);
  if (n & 2) {
    low = vld1_f32(p);
    if (n & 1) high = vld1_lane_f32(p + 2, high, 0);
  } else if (n & 1) {
    low = vld1_lane_f32(p, low, 0);
  }
  return vcombine_f32(low, high);
}
inline void vstore_tail(float* p, vf v, int n) {
  if (n >= 4) return vst1q_f32(p, v);
  float32x2_t x = vget_low_f32(v);
  if (n & 2) {
    vst1_f32(p, x);
    p += 2;
    x = vget_high_f32(v);
  }
  if (n & 1) vst1_lane_f32(p, x, 0);
}
inline uint16x4_t vto_bf16(vf v) {
  const uint32x4_t bits = vreinterpretq_u32_f32(v), upper = vshrq_n_u32(bits, 16);
  const uint32x4_t odd = vandq_u32(upper, vdupq_n_u32(1));
  const uint32x4_t carried = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
  const uint32x4_t quiet = vorrq_u32(upper, vdupq_n_u32(0x40));
  return vmovn_u32(vbslq_u32(vceqq_f32(v, v), vshrq_n_u32(carried, 16), quiet));
}
inline void vstore_bf16(uint16_t* p, vf v) { vst1_u16(p, vto_bf16(v)); }
inline void vstore_bf16_tail(uint16_t* p, vf v, int n) {
  uint16_t y[W];
  vst1_u16(y, vto_bf16(v));
  for (int i = 0; i < n; ++i) p[i] = y[i];
}
inline void vkeep(vf& a) { __asm__("" : "+w"(a)); }

inline vf vadd(vf a, vf b) { return vaddq_f32(a, b); }
inline vf vsub(vf a, vf b) { return vsubq_f32(a, b); }
inline vf vmul(vf a, vf b) { return vmulq_f32(a, b); }
inline vf vdiv(vf a, vf b) { return vdivq_f32(a, b); }
inline vf vfma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
// By comparisons: fmax and fmin give a NaN of either operand, and order zeros by their signs.
inline vf vmax(vf a, vf b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
inline vf vmin(vf a, vf b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
inline vf vselect_lt(vf a, vf b, vf x, vf y) { return vbslq_f32(vcltq_f32(a, b), x, y); }
inline vf vselect_nan(vf a, vf x, vf y) { return vbslq_f32(vceqq_f32(a, a), y, x); }
inline vf vneg(vf a) { return vnegq_f32(a); }
inline vf vabs(vf a) { return vabsq_f32(a); }
inline vf vsqrt(vf a) { return vsqrtq_f32(a); }
inline vf vround(vf a) { return vrndnq_f32(a); }
inline vf vexp2i(vf n) {
  const int32x4_t biased = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
  return vreinterpretq_f32_s32(vshlq_n_s32(biased, 23));
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
  const uint32x4_t exponent = vshlq_n_u32(vreinterpretq_u32_f32(n), 23);
  return vreinterpretq_f32_u32(vaddq_u32(vreinterpretq_u32_f32(a), exponent));
}
constexpr int kPowers = 1;
inline vf vpower_of_two(vf n) { return vadd_exponent(vset(1.0f), n); }
inline vf vpower_rest(vf) { return vzero(); }
inline vf vlogb(vf a) {
  const uint32x4_t exponent = vshrq_n_u32(vreinterpretq_u32_f32(a), 23);
  const uint32x4_t biased = vorrq_u32(exponent, vdupq_n_u32(0x4b000000));
  return vsub(vreinterpretq_f32_u32(biased), vset(8388608.0f + 127.0f));
}
inline bool vall_lt(vf a, vf b) { return vminvq_u32(vcltq_f32(a, b)) != 0; }
inline vi vindex(const int32_t* idx) { return vld1q_s32(idx); }
// Bytes 4 i to 4 i + 3 of lane i: a table of bytes is the only permutation by a variable.
inline vf vpermute(vf a, vi idx) {
  const uint32x4_t first = vmulq_n_u32(vreinterpretq_u32_s32(idx), 0x04040404);
  const uint8x16_t bytes = vreinterpretq_u8_u32(vaddq_u32(first, vdupq_n_u32(0x03020100)));
  return vreinterpretq_f32_u8(vqtbl1q_u8(vreinterpretq_u8_f32(a), bytes));
}
inline vf veven(vf a, vf b) { return vuzp1q_f32(a, b); }
inline float vreduce_add(vf a) { return vaddvq_f32(a); }
inline float vreduce_max(vf a) {
  float lane[W];
  vst1q_f32(lane, a);
  float m = lane[0];
  for (int i = 1; i < W; ++i) m = m > lane[i] ? m : lane[i];
  return m;
}
inline void vtranspose(vf* r) {
  const float32x4x2_t t = vtrnq_f32(r[0], r[1]), u = vtrnq_f32(r[2], r[3]);
  r[0] = vcombine_f32(vget_low_f32(t.val[0]), vget_low_f32(u.val[0]));
  r[1] = vcombine_f32(vget_low_f32(t.val[1]), vget_low_f32(u.val[1]));
  r[2] = vcombine_f32(vget_high_f32(t.val[0]), vget_high_f32(u.val[0]));
  r[3] = vcombine_f32(vget_high_f32(t.val[1]), vget_high_f32(u.val[1]));
}

}  // namespace
}  // namespace fastconv
