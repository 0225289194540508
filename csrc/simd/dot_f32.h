// L1 simd: sums of products of f32, for every tier in the vocabulary of its vec_<set>.h; dot_ref.h
// says what the names of a Dot mean. A word of A is one number.
#pragma once
#include "simd/dot_word.h"

namespace fastconv {
namespace {

struct DotF32 {
  using Sum = vf;
  using Word = vf;
  using Row = vf;
  static constexpr int kRowBytes = W * sizeof(float);
  static constexpr bool kSaturates = false;
  static Sum zero() noexcept { return vzero(); }
  static Word word(float number) noexcept { return vset(number); }
  static Row row(const void* b) noexcept { return vload(static_cast<const float*>(b)); }
  static Sum dot(Sum sum, Word a, Row row) noexcept { return vfma(a, row, sum); }
};

}  // namespace
}  // namespace fastconv
