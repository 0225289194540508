// L1 simd: sums of products of bfloat16 on AVX512_BF16; dot_avx2.h says what the names mean.
//   sum[i] += a[2 i] b[2 i] + a[2 i + 1] b[2 i + 1], lanes of float
#pragma once
#include <immintrin.h>

namespace fastconv {
namespace {

struct DotBf16 {
  using Operand = __m512i;
  using Sum = __m512;
  static constexpr int kProducts = 32;
  static constexpr const char* kInstruction = "vdpbf16ps";
  static Operand a() noexcept { return _mm512_set1_epi32(0x3f803f80); }                    // 1, 1
  static Operand b() noexcept { return _mm512_set1_epi32(static_cast<int>(0xbf803f80)); }  // 1, -1
  static Sum dot(Sum sum, Operand a, Operand b) noexcept {
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
  }
};

}  // namespace
}  // namespace fastconv
