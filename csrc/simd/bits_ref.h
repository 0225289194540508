// L1 simd: bits counted in portable C++, the specification of every bits_<set>.h.
//
// Bits says how the bits of many vectors are counted, lane by lane:
//   Count      what is known of a lane's words so far; none() is that of no words
//   kWords     how many words count() takes at once: so many vectors, some of them zero
//   kTogether  how many times count() may be called before fold()
//   fold()     makes room in a Count for more
//   total()    bits of each lane, of a Count that was folded
#pragma once
#include "simd/int_ref.h"

namespace fastconv {
namespace {

// Lanes as bits, the lowest first: a < b, which is false for NaN; and whether a is NaN.
inline uint32_t vlanes_lt(vf a, vf b) {
  const vi less = a < b;
  uint32_t lanes = 0;
  for (int l = 0; l < W; ++l) lanes |= (static_cast<uint32_t>(less[l]) & 1) << l;
  return lanes;
}
inline uint32_t vlanes_nan(vf a) {
  uint32_t lanes = 0;
  for (int l = 0; l < W; ++l) lanes |= uint32_t{a[l] != a[l]} << l;
  return lanes;
}
inline vi vixor(vi a, vi b) { return a ^ b; }

struct Bits {
  using Count = vi;
  static constexpr int kWords = 1;
  static constexpr dim_t kTogether = dim_t{1} << 40;
  static Count none() noexcept { return vizero(); }
  static void count(Count& c, const vi (&x)[kWords]) noexcept {
    vu v = (vu)x[0];
    v -= v >> 1 & 0x55555555;
    v = (v & 0x33333333) + (v >> 2 & 0x33333333);
    v = (v + (v >> 4)) & 0x0f0f0f0f;
    c = viadd(c, (vi)(v * 0x01010101 >> 24));
  }
  static void fold(Count&) noexcept {}
  static vi total(const Count& c) noexcept { return c; }
};

}  // namespace
}  // namespace fastconv
