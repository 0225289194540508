// L1 simd: sums of products of bytes on NEON, in what every 64-bit Arm has; dot_ref.h says what the
// names of a Dot mean.
//
// It has no product of a byte without a sign and one with, and no sum of four neighbours: both are
// spread to 16 bits, whose products are 32 bits wide (smull), and neighbours are added (addp).
#pragma once
#include "simd/dot_word.h"
#include "simd/int_neon.h"

namespace fastconv {
namespace {

struct DotU8S8 {
  using Sum = vi;
  using Word = int16x4_t;  // a[0] to a[3]
  struct Row {
    int16x8_t low, high;  // four weights of lanes 0 and 1, and of lanes 2 and 3
  };
  static constexpr int kRowBytes = 16;
  static constexpr bool kSaturates = false;
  static Sum zero() noexcept { return vizero(); }
  static Word word(int32_t bytes) noexcept {
    const uint8x8_t all = vreinterpret_u8_s32(vdup_n_s32(bytes));
    return vreinterpret_s16_u16(vget_low_u16(vmovl_u8(all)));
  }
  static Row row(const void* b) noexcept {
    const int8x16_t all = vld1q_s8(static_cast<const int8_t*>(b));
    return {vmovl_s8(vget_low_s8(all)), vmovl_high_s8(all)};
  }
  static Sum dot(Sum sum, Word a, const Row& row) noexcept {
    const int32x4_t p0 = vmull_s16(a, vget_low_s16(row.low)),
                    p1 = vmull_s16(a, vget_high_s16(row.low)),
                    p2 = vmull_s16(a, vget_low_s16(row.high)),
                    p3 = vmull_s16(a, vget_high_s16(row.high));
    return vaddq_s32(sum, vpaddq_s32(vpaddq_s32(p0, p1), vpaddq_s32(p2, p3)));
  }
};

struct DotS16 {
  using Sum = vi;
  using Word = int16x8_t;  // the pair, four times
  using Row = int16x8_t;
  static constexpr int kRowBytes = 16;
  static constexpr bool kSaturates = false;
  static Sum zero() noexcept { return vizero(); }
  static Word word(int32_t pair) noexcept { return vreinterpretq_s16_s32(vdupq_n_s32(pair)); }
  static Row row(const void* b) noexcept { return vld1q_s16(static_cast<const int16_t*>(b)); }
  static Sum dot(Sum sum, Word a, Row row) noexcept {
    const int32x4_t low = vmull_s16(vget_low_s16(a), vget_low_s16(row));
    return vaddq_s32(sum, vpaddq_s32(low, vmull_high_s16(a, row)));
  }
};

}  // namespace
}  // namespace fastconv
