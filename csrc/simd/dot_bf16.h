// L1 simd: sums of products of bf16 for every tier, in the vocabulary of its int_<set>.h: both
// numbers are widened to f32, which is exact, and so is their product. dot_ref.h says what the names
// of a Dot mean.
//   sum[l] += a[0] row[l][0], then a[1] row[l][1]
#pragma once
#include "simd/dot_word.h"

namespace fastconv {
namespace {

struct DotBf16 {
  struct Pairs {
    vf first, second;
  };
  using Sum = vf;
  using Word = Pairs;
  using Row = Pairs;
  static constexpr int kRowBytes = 4 * W;
  static constexpr bool kSaturates = false;
  static Sum zero() noexcept { return vzero(); }
  static Pairs widened(vi pairs) noexcept { return {vlower_bf16(pairs), vupper_bf16(pairs)}; }
  static Word word(int32_t pair) noexcept { return widened(viset(pair)); }
  static Row row(const void* b) noexcept { return widened(viload(static_cast<const int32_t*>(b))); }
  static Sum dot(Sum sum, const Word& a, const Row& row) noexcept {
    return vfma(a.second, row.second, vfma(a.first, row.first, sum));
  }
};

}  // namespace
}  // namespace fastconv
