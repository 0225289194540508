// L1 simd: tables looked up on AVX2, eight floats in a register; codes_ref.h says what the names mean.
#pragma once
#include "simd/int_avx2.h"

namespace fastconv {
namespace {

template <int Bits>
struct Lookup {
  static constexpr int kBits = Bits, kEighths = 1 << (Bits - 3);
  struct Table {
    vf eight[kEighths];
  };
  static Table table(const float* p) noexcept {
    Table t;
    for (int i = 0; i < kEighths; ++i) t.eight[i] = vload(p + 8 * i);
    return t;
  }
  static vf at(const Table& t, vi x) noexcept {
    // The highest bit of a lane chooses: that of the index which stands there after a shift.
    const vf bit3 = _mm256_castsi256_ps(_mm256_slli_epi32(x, 28));
    const vf low = either(t, 0, x, bit3);
    if constexpr (kEighths == 2) return low;
    return _mm256_blendv_ps(low, either(t, kEighths - 2, x, bit3),
                            _mm256_castsi256_ps(_mm256_slli_epi32(x, 27)));
  }

 private:
  static vf either(const Table& t, int i, vi x, vf bit3) noexcept {
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(t.eight[i], x),
                            _mm256_permutevar8x32_ps(t.eight[i + 1], x), bit3);
  }
};

}  // namespace
}  // namespace fastconv
