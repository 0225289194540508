// L1 simd: sums of products of bytes on AVX2; dot_ref.h says what the names of a Dot mean. For the
// peak (kernels/peak_dot.inl.h) DotU8S8 has besides: Operand, what a() and b() are, whose products
// cancel out, so that no sum grows or saturates; kProducts, the multiply-adds of one dot().
//
// Bytes take three instructions, for want of one: pairs of products are added at 16 bits
// (vpmaddubsw), pairs of these at 32 by a product with ones (vpmaddwd), then comes the sum. The
// first saturates where two weights of one sign are together larger than 128: 255 * 129 is no
// number of 16 bits. Whoever packs B sees to it that none are (gemm/words.cpp). Numbers of 16 bits
// have no such bound, and take four instructions for the three.
#pragma once
#include "simd/int_avx2.h"
// In the vocabulary above.
#include "simd/dot_vector.h"

namespace fastconv {
namespace {

struct DotU8S8 : VectorDot, BytePeak {
  static constexpr bool kSaturates = true;
  static constexpr const char* kInstruction = "vpmaddubsw";
  static Sum dot(Sum sum, Word a, Row row) noexcept {
    const __m256i pairs = _mm256_madd_epi16(_mm256_maddubs_epi16(a, row), _mm256_set1_epi16(1));
    return _mm256_add_epi32(sum, pairs);
  }
};

struct DotS16 : VectorDot {
  static constexpr bool kSaturates = false;
  static Sum dot(Sum sum, Word a, Row row) noexcept {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(a, row));
  }
};

}  // namespace
}  // namespace fastconv
