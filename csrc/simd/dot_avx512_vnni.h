// L1 simd: sums of products of bytes on AVX512_VNNI, one instruction and exact; dot_ref.h says what
// the names mean, dot_avx2.h those for the peak.
#pragma once
#include "simd/int_avx512.h"
// In the vocabulary above.
#include "simd/dot_vector.h"

namespace fastconv {
namespace {

struct DotU8S8 : VectorDot, BytePeak {
  static constexpr bool kSaturates = false;
  static constexpr const char* kInstruction = "vpdpbusd";
  static Sum dot(Sum sum, Word a, Row row) noexcept { return _mm512_dpbusd_epi32(sum, a, row); }
};

struct DotS16 : VectorDot {
  static constexpr bool kSaturates = false;
  static Sum dot(Sum sum, Word a, Row row) noexcept { return _mm512_dpwssd_epi32(sum, a, row); }
};

}  // namespace
}  // namespace fastconv
