// L1 simd: lanes of 16-bit integers on NEON; s16_ref.h is the specification of the names.
#pragma once
#include <string.h>

#include "simd/int_neon.h"

namespace fastconv {
namespace {

using vs = int16x8_t;

inline vs vswiden(const uint8_t* p) { return vreinterpretq_s16_u16(vmovl_u8(vld1_u8(p))); }
// By two overlapping pieces, as in s16_avx2.h.
inline vs vswiden_tail(const uint8_t* p, int n) {
  uint64_t all;
  if (n >= 8) {
    memcpy(&all, p, 8);
  } else if (n >= 4) {
    uint32_t first, last;
    memcpy(&first, p, 4);
    memcpy(&last, p + n - 4, 4);
    all = first | static_cast<uint64_t>(last) << 8 * (n - 4);
  } else {
    all = p[0] | p[n >> 1] << 8 * (n >> 1) | p[n - 1] << 8 * (n - 1);
  }
  return vreinterpretq_s16_u16(vmovl_u8(vcreate_u8(all)));
}
inline void vsstore(int16_t* p, vs v) { vst1q_s16(p, v); }
inline vs vsset(int x) { return vdupq_n_s16(static_cast<int16_t>(x)); }
inline vs vsadd(vs a, vs b) { return vaddq_s16(a, b); }
inline vs vssub(vs a, vs b) { return vsubq_s16(a, b); }
template <int N>
inline vs vsshl(vs a) {
  return vshlq_n_s16(a, N);
}

}  // namespace
}  // namespace fastconv
