// L1 simd: sums of products of bytes on AVX2, for kernels/peak_dot.inl.h. The names of every
// dot_<set>.h: Operand and Sum, the vectors; kProducts, the multiply-adds of one dot(); a() and
// b(), whose products cancel out, so that no sum grows, saturates or becomes denormal.
//   u8 x s8: sum[i] += a[4 i] b[4 i] + ... + a[4 i + 3] b[4 i + 3], 32-bit lanes
// Three instructions, for want of one: pairs of products saturate at 16 bits (vpmaddubsw), pairs of
// these are added at 32 bits by a product with ones (vpmaddwd), then comes the sum.
#pragma once
#include <immintrin.h>

namespace fastconv {
namespace {

struct DotU8S8 {
  using Operand = __m256i;
  using Sum = __m256i;
  static constexpr int kProducts = 32;
  static constexpr const char* kInstruction = "vpmaddubsw";
  static Operand a() noexcept { return _mm256_set1_epi8(1); }
  static Operand b() noexcept { return _mm256_set1_epi16(static_cast<short>(0xff01)); }
  static Sum dot(Sum sum, Operand a, Operand b) noexcept {
    const __m256i pairs = _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), _mm256_set1_epi16(1));
    return _mm256_add_epi32(sum, pairs);
  }
};

}  // namespace
}  // namespace fastconv
