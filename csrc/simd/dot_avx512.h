// L1 simd: sums of products of bytes on AVX-512 BW without VNNI; dot_avx2.h says what the names
// mean, and why it takes three instructions.
#pragma once
#include <immintrin.h>

namespace fastconv {
namespace {

struct DotU8S8 {
  using Operand = __m512i;
  using Sum = __m512i;
  static constexpr int kProducts = 64;
  static constexpr const char* kInstruction = "vpmaddubsw";
  static Operand a() noexcept { return _mm512_set1_epi8(1); }
  static Operand b() noexcept { return _mm512_set1_epi16(static_cast<short>(0xff01)); }
  static Sum dot(Sum sum, Operand a, Operand b) noexcept {
    const __m512i pairs = _mm512_madd_epi16(_mm512_maddubs_epi16(a, b), _mm512_set1_epi16(1));
    return _mm512_add_epi32(sum, pairs);
  }
};

}  // namespace
}  // namespace fastconv
