// L1 simd: sums of products of bytes on AVX-VNNI, one instruction and exact; dot_ref.h says what
// the names mean, dot_avx2.h those for the peak.
#pragma once
#include "simd/dot_word.h"
#include "simd/int_avx2.h"
#ifdef FASTCONV_EMULATE_AVX512
#include <simde/x86/avx512/dpbusd.h>
#include <simde/x86/avx512/dpwssd.h>
#define _mm256_dpbusd_avx_epi32 simde_mm256_dpbusd_epi32
#define _mm256_dpwssd_avx_epi32 simde_mm256_dpwssd_epi32
#endif

namespace fastconv {
namespace {

struct DotU8S8 {
  using Sum = __m256i;
  using Word = __m256i;
  using Row = __m256i;
  static constexpr int kRowBytes = 32;
  static constexpr bool kSaturates = false;
  static Sum zero() noexcept { return _mm256_setzero_si256(); }
  static Word word(int32_t bytes) noexcept { return _mm256_set1_epi32(bytes); }
  static Row row(const void* b) noexcept {
    return _mm256_loadu_si256(static_cast<const __m256i*>(b));
  }
  static Sum dot(Sum sum, Word a, Row row) noexcept { return _mm256_dpbusd_avx_epi32(sum, a, row); }

  using Operand = __m256i;
  static constexpr int kProducts = 32;
  static constexpr const char* kInstruction = "vpdpbusd";
  static Operand a() noexcept { return _mm256_set1_epi8(1); }
  static Operand b() noexcept { return _mm256_set1_epi16(static_cast<short>(0xff01)); }
};

struct DotS16 {
  using Sum = __m256i;
  using Word = __m256i;
  using Row = __m256i;
  static constexpr int kRowBytes = 32;
  static constexpr bool kSaturates = false;
  static Sum zero() noexcept { return _mm256_setzero_si256(); }
  static Word word(int32_t pair) noexcept { return _mm256_set1_epi32(pair); }
  static Row row(const void* b) noexcept {
    return _mm256_loadu_si256(static_cast<const __m256i*>(b));
  }
  static Sum dot(Sum sum, Word a, Row row) noexcept { return _mm256_dpwssd_avx_epi32(sum, a, row); }
};

}  // namespace
}  // namespace fastconv
