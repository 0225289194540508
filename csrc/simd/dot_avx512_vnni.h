// L1 simd: sums of products of bytes on AVX512_VNNI; dot_avx2.h says what the names mean.
//   u8 x s8: sum[i] += a[4 i] b[4 i] + ... + a[4 i + 3] b[4 i + 3], 32-bit lanes, exact
#pragma once
#include <immintrin.h>

namespace fastconv {
namespace {

struct DotU8S8 {
  using Operand = __m512i;
  using Sum = __m512i;
  static constexpr int kProducts = 64;
  static constexpr const char* kInstruction = "vpdpbusd";
  static Operand a() noexcept { return _mm512_set1_epi8(1); }
  static Operand b() noexcept { return _mm512_set1_epi16(static_cast<short>(0xff01)); }
  static Sum dot(Sum sum, Operand a, Operand b) noexcept { return _mm512_dpbusd_epi32(sum, a, b); }
};

}  // namespace
}  // namespace fastconv
