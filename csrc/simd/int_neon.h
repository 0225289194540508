// L1 simd: lanes of 32-bit integers, and of bytes, on NEON; int_ref.h is the specification of the
// names.
#pragma once
#include "simd/vec_neon.h"

namespace fastconv {
namespace {

inline vi viload(const int32_t* p) { return vld1q_s32(p); }
inline void vistore(int32_t* p, vi v) { vst1q_s32(p, v); }
inline vi viset(int32_t x) { return vdupq_n_s32(x); }
inline vi vizero() { return vdupq_n_s32(0); }
inline vi viadd(vi a, vi b) { return vaddq_s32(a, b); }
inline vi visub(vi a, vi b) { return vsubq_s32(a, b); }
inline vi vimul(vi a, vi b) { return vmulq_s32(a, b); }
template <int N>
inline vi vishl(vi a) {
  return vshlq_n_s32(a, N);
}
template <int N>
inline vi vishr(vi a) {
  return vshrq_n_s32(a, N);
}
inline vf vtofloat(vi a) { return vcvtq_f32_s32(a); }
inline vi vtoint(vf a) { return vcvtnq_s32_f32(a); }
inline vi viload_bytes(const uint8_t* p) {
  const uint32_t* const four = reinterpret_cast<const uint32_t*>(p);
  const uint8x8_t bytes = vreinterpret_u8_u32(vld1_lane_u32(four, vdup_n_u32(0), 0));
  return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(bytes))));
}
inline vi viload_bytes(const int8_t* p) {
  const int32_t* const four = reinterpret_cast<const int32_t*>(p);
  const int8x8_t bytes = vreinterpret_s8_s32(vld1_lane_s32(four, vdup_n_s32(0), 0));
  return vmovl_s16(vget_low_s16(vmovl_s8(bytes)));
}
// Narrowing keeps the low halves.
inline void vistore_bytes(uint8_t* p, vi v) {
  const int16x4_t words = vmovn_s32(v);
  const int8x8_t bytes = vmovn_s16(vcombine_s16(words, words));
  vst1_lane_s32(reinterpret_cast<int32_t*>(p), vreinterpret_s32_s8(bytes), 0);
}
inline void vistore_bytes(uint8_t* p, vi a, vi b) {
  const int16x8_t words = vcombine_s16(vmovn_s32(a), vmovn_s32(b));
  vst1_s8(reinterpret_cast<int8_t*>(p), vmovn_s16(words));
}
inline void vistore_bytes(uint8_t* p, dim_t step, const vi (&v)[4]) {
  for (int i = 0; i < 4; ++i) vistore_bytes(p + i * step, v[i]);
}

constexpr int WB = 4 * W;

inline vi vbload(const void* p) {
  return vreinterpretq_s32_u8(vld1q_u8(static_cast<const uint8_t*>(p)));
}
inline void vbstore(void* p, vi v) { vst1q_u8(static_cast<uint8_t*>(p), vreinterpretq_u8_s32(v)); }
inline vi vbmax(vi a, vi b, uint8_t) {
  return vreinterpretq_s32_u8(vmaxq_u8(vreinterpretq_u8_s32(a), vreinterpretq_u8_s32(b)));
}
inline vi vbmax(vi a, vi b, int8_t) {
  return vreinterpretq_s32_s8(vmaxq_s8(vreinterpretq_s8_s32(a), vreinterpretq_s8_s32(b)));
}
// A quarter of the table at a time: a number beyond its end gives 0.
class ByteTable {
 public:
  explicit ByteTable(const uint8_t* table) {
    for (int i = 0; i < 4; ++i) part_[i] = vld1q_u8_x4(table + 64 * i);
  }
  vi at(vi x) const {
    const uint8x16_t bytes = vreinterpretq_u8_s32(x);
    uint8x16_t y = vqtbl4q_u8(part_[0], bytes);
    for (uint8_t i = 1; i < 4; ++i)
      y = vorrq_u8(y, vqtbl4q_u8(part_[i], vsubq_u8(bytes, vdupq_n_u8(64 * i))));
    return vreinterpretq_s32_u8(y);
  }

 private:
  uint8x16x4_t part_[4];
};

}  // namespace
}  // namespace fastconv
