// L1 simd: sums of products of bytes on AVX-VNNI, one instruction and exact; dot_ref.h says what
// the names mean, dot_avx2.h those for the peak.
#pragma once
#include "simd/int_avx2.h"
#ifdef FASTCONV_EMULATE_AVX512
#include <simde/x86/avx512/dpbusd.h>
#include <simde/x86/avx512/dpwssd.h>
#define _mm256_dpbusd_avx_epi32 simde_mm256_dpbusd_epi32
#define _mm256_dpwssd_avx_epi32 simde_mm256_dpwssd_epi32
#endif
// In the vocabulary above.
#include "simd/dot_vector.h"

namespace fastconv {
namespace {

struct DotU8S8 : VectorDot, BytePeak {
  static constexpr bool kSaturates = false;
  static constexpr const char* kInstruction = "vpdpbusd";
  static Sum dot(Sum sum, Word a, Row row) noexcept { return _mm256_dpbusd_avx_epi32(sum, a, row); }
};

struct DotS16 : VectorDot {
  static constexpr bool kSaturates = false;
  static Sum dot(Sum sum, Word a, Row row) noexcept { return _mm256_dpwssd_avx_epi32(sum, a, row); }
};

}  // namespace
}  // namespace fastconv
