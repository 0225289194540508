// L1 simd: bits counted on NEON, which counts those of each byte; bits_ref.h says what the names mean.
#pragma once
#include "simd/int_neon.h"

namespace fastconv {
namespace {

inline uint32_t lanes_as_bits(uint32x4_t lanes) {
  const uint32x4_t bit = {1, 2, 4, 8};
  return vaddvq_u32(vandq_u32(lanes, bit));
}
inline uint32_t vlanes_lt(vf a, vf b) { return lanes_as_bits(vcltq_f32(a, b)); }
inline uint32_t vlanes_nan(vf a) { return lanes_as_bits(vmvnq_u32(vceqq_f32(a, a))); }
inline vi vixor(vi a, vi b) { return veorq_s32(a, b); }

struct Bits {
  struct Count {
    uint8x16_t bytes;
    vi sum;  // bits of what was folded
  };
  static constexpr int kWords = 1;
  static constexpr dim_t kTogether = 31;  // 8 more each time, of 255
  static Count none() noexcept { return {vdupq_n_u8(0), vizero()}; }
  static void count(Count& c, const vi (&x)[kWords]) noexcept {
    c.bytes = vaddq_u8(c.bytes, vcntq_u8(vreinterpretq_u8_s32(x[0])));
  }
  static void fold(Count& c) noexcept {
    c.sum = viadd(c.sum, vreinterpretq_s32_u32(vpaddlq_u16(vpaddlq_u8(c.bytes))));
    c.bytes = vdupq_n_u8(0);
  }
  static vi total(const Count& c) noexcept { return c.sum; }
};

}  // namespace
}  // namespace fastconv
