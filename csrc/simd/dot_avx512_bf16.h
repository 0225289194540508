// L1 simd: sums of products of bf16 on AVX512_BF16; dot_ref.h says what the names mean, dot_avx2.h
// those for the peak.
//   sum[l] += a[1] row[l][1], then a[0] row[l][0]
// Denormals, of what is multiplied and of the sums, count as zeros.
#pragma once
#include "simd/int_avx512.h"
// In the vocabulary above.
#include "simd/dot_vector.h"

namespace fastconv {
namespace {

struct DotBf16 : VectorDot {
  using Sum = vf;
  static constexpr bool kSaturates = false;
  static Sum zero() noexcept { return vzero(); }
  static Sum dot(Sum sum, vi a, vi b) noexcept {
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
  }

  using Operand = vi;
  static constexpr int kProducts = 2 * W;
  static constexpr const char* kInstruction = "vdpbf16ps";
  static Operand a() noexcept { return viset(0x3f803f80); }                        // 1, 1
  static Operand b() noexcept { return viset(static_cast<int32_t>(0xbf803f80)); }  // 1, -1
};

}  // namespace
}  // namespace fastconv
