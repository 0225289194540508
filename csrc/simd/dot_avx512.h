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

struct DotU8S16 {
  using Sum = __m512i;
  struct Word {
    __m512i even, odd;
  };
  struct Row {
    __m512i even, odd;
  };
  static constexpr int kRowBytes = 128;
  static constexpr bool kSaturates = false;
  static Sum zero() noexcept { return _mm512_setzero_si512(); }
  static Word word(int32_t bytes) noexcept {
    const __m512i all = _mm512_set1_epi32(bytes);
    return {_mm512_and_si512(all, _mm512_set1_epi16(0xff)), _mm512_srli_epi16(all, 8)};
  }
  static Row row(const void* b) noexcept {
    const char* const at = static_cast<const char*>(b);
    return {_mm512_loadu_si512(at), _mm512_loadu_si512(at + 64)};
  }
  static Sum dot(Sum sum, const Word& a, const Row& row) noexcept {
    sum = _mm512_add_epi32(sum, _mm512_madd_epi16(a.even, row.even));
    return _mm512_add_epi32(sum, _mm512_madd_epi16(a.odd, row.odd));
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
