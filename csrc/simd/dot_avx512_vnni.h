// L1 simd: sums of products of bytes on AVX512_VNNI, one instruction and exact; dot_ref.h says what
// the names mean, dot_avx2.h those for the peak.
#pragma once
#include "simd/dot_word.h"
#include "simd/int_avx512.h"

namespace fastconv {
namespace {

struct DotU8S8 {
  using Sum = __m512i;
  using Word = __m512i;
  using Row = __m512i;
  static constexpr int kRowBytes = 64;
  static constexpr bool kSaturates = false;
  static Sum zero() noexcept { return _mm512_setzero_si512(); }
  static Word word(int32_t bytes) noexcept { return _mm512_set1_epi32(bytes); }
  static Row row(const void* b) noexcept { return _mm512_loadu_si512(b); }
  static Sum dot(Sum sum, Word a, Row row) noexcept { return _mm512_dpbusd_epi32(sum, a, row); }

  using Operand = __m512i;
  static constexpr int kProducts = 64;
  static constexpr const char* kInstruction = "vpdpbusd";
  static Operand a() noexcept { return _mm512_set1_epi8(1); }
  static Operand b() noexcept { return _mm512_set1_epi16(static_cast<short>(0xff01)); }
};

struct DotS16 {
  using Sum = __m512i;
  using Word = __m512i;
  using Row = __m512i;
  static constexpr int kRowBytes = 64;
  static constexpr bool kSaturates = false;
  static Sum zero() noexcept { return _mm512_setzero_si512(); }
  static Word word(int32_t pair) noexcept { return _mm512_set1_epi32(pair); }
  static Row row(const void* b) noexcept { return _mm512_loadu_si512(b); }
  static Sum dot(Sum sum, Word a, Row row) noexcept { return _mm512_dpwssd_epi32(sum, a, row); }
};

}  // namespace
}  // namespace fastconv
