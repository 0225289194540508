// L1 simd: sums of products of bytes on AVX-512 BW without VNNI; dot_ref.h says what the names
// mean, and dot_avx2.h why bytes take three instructions.
#pragma once
#include "simd/int_avx512.h"
// In the vocabulary above.
#include "simd/dot_vector.h"

namespace fastconv {
namespace {

struct DotU8S8 : VectorDot, BytePeak {
  static constexpr bool kSaturates = true;
  static constexpr const char* kInstruction = "vpmaddubsw";
  static Sum dot(Sum sum, Word a, Row row) noexcept {
    const __m512i pairs = _mm512_madd_epi16(_mm512_maddubs_epi16(a, row), _mm512_set1_epi16(1));
    return _mm512_add_epi32(sum, pairs);
  }
};

struct DotS16 : VectorDot {
  static constexpr bool kSaturates = false;
  static Sum dot(Sum sum, Word a, Row row) noexcept {
    return _mm512_add_epi32(sum, _mm512_madd_epi16(a, row));
  }
};

}  // namespace
}  // namespace fastconv
