// L1 simd: what Dots have in common whose word and row are one vector each, in the vocabulary of
// vec_<set>.h and int_<set>.h; dot_ref.h says what the names mean, dot_avx2.h those for the peak.
#pragma once
#include "simd/dot_word.h"

namespace fastconv {
namespace {

// A word of A in all lanes, by rows of B as they lie.
struct VectorDot {
  using Sum = vi;
  using Word = vi;
  using Row = vi;
  static constexpr int kRowBytes = 4 * W;
  static Sum zero() noexcept { return vizero(); }
  static Word word(int32_t bytes) noexcept { return viset(bytes); }
  static Row row(const void* b) noexcept { return viload(static_cast<const int32_t*>(b)); }
};

// For the peak of bytes by bytes: ones by weights of 1 and -1 in turns.
struct BytePeak {
  using Operand = vi;
  static constexpr int kProducts = 4 * W;
  static Operand a() noexcept { return viset(0x01010101); }
  static Operand b() noexcept { return viset(static_cast<int32_t>(0xff01ff01)); }
};

}  // namespace
}  // namespace fastconv
