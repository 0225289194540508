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
inline vf vlower_bf16(vi a) { return vreinterpretq_f32_s32(vshlq_n_s32(a, 16)); }
inline vf vupper_bf16(vi a) { return vreinterpretq_f32_s32(vandq_s32(a, vdupq_n_s32(-65536))); }
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
// As in int_avx2.h; narrowing keeps the low halves.
class SaturatedBytes {
 public:
  SaturatedBytes(int32_t zero, int32_t low, int32_t high) {
    const int32_t more = low < 0 ? 128 : 0;
    zero_ = vdupq_n_s16(static_cast<int16_t>(zero + more));
    low_ = vdupq_n_u8(static_cast<uint8_t>(low + more));
    high_ = vdupq_n_u8(static_cast<uint8_t>(high + more));
    sign_ = vdupq_n_u8(static_cast<uint8_t>(more));
  }
  void store(uint8_t* p, vi v) const {
    vst1q_lane_u32(reinterpret_cast<uint32_t*>(p), vreinterpretq_u32_u8(bytes(v, v, v, v)), 0);
  }
  void store(uint8_t* p, vi a, vi b) const { vst1_u8(p, vget_low_u8(bytes(a, b, a, b))); }
  void store(uint8_t* p, uint8_t* q, const vi (&v)[4]) const {
    const uint8x16_t all = bytes(v[0], v[1], v[2], v[3]);
    vst1_u8(p, vget_low_u8(all));
    vst1_u8(q, vget_high_u8(all));
  }
  void store(uint8_t* p, dim_t step, const vi (&v)[4]) const {
    const uint32x4_t all = vreinterpretq_u32_u8(bytes(v[0], v[1], v[2], v[3]));
    vst1q_lane_u32(reinterpret_cast<uint32_t*>(p), all, 0);
    vst1q_lane_u32(reinterpret_cast<uint32_t*>(p + step), all, 1);
    vst1q_lane_u32(reinterpret_cast<uint32_t*>(p + 2 * step), all, 2);
    vst1q_lane_u32(reinterpret_cast<uint32_t*>(p + 3 * step), all, 3);
  }

 private:
  uint8x16_t bytes(vi a, vi b, vi c, vi d) const {
    const int16x8_t ab = vqaddq_s16(vcombine_s16(vqmovn_s32(a), vqmovn_s32(b)), zero_),
                    cd = vqaddq_s16(vcombine_s16(vqmovn_s32(c), vqmovn_s32(d)), zero_);
    const uint8x16_t all = vcombine_u8(vqmovun_s16(ab), vqmovun_s16(cd));
    return veorq_u8(vminq_u8(vmaxq_u8(all, low_), high_), sign_);
  }

  int16x8_t zero_;
  uint8x16_t low_, high_, sign_;
};

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
constexpr int kBlockBytes = 64;
class BlockOrder {
 public:
  explicit BlockOrder(const uint8_t* order) : order_(vld1q_u8_x4(order)) {}
  void apply(const uint8_t* block, uint8_t* to) const {
    const uint8x16x4_t old = vld1q_u8_x4(block);
    for (int i = 0; i < 4; ++i) vst1q_u8(to + 16 * i, vqtbl4q_u8(old, order_.val[i]));
  }

 private:
  uint8x16x4_t order_;
};

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
