// L1 simd: tables of few floats that every lane looks up, in portable C++, the specification of every
// codes_<set>.h.
//
// Lookup<Bits> says how:
//   kBits     of an index: the table has 1 << kBits floats
//   table(p)  the floats at p
//   at(t, x)  of each lane the float whose index the lowest kBits of it are; the others are ignored
#pragma once
#include "simd/int_ref.h"

namespace fastconv {
namespace {

template <int Bits>
struct Lookup {
  static constexpr int kBits = Bits;
  using Table = const float*;
  static Table table(const float* p) noexcept { return p; }
  static vf at(Table t, vi x) noexcept {
    vf found;
    for (int l = 0; l < W; ++l) found[l] = t[x[l] & ((1 << Bits) - 1)];
    return found;
  }
};

}  // namespace
}  // namespace fastconv
