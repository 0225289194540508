// L1 simd: lanes of 32-bit integers on AVX-512; int_ref.h is the specification of the names.
#pragma once
#include "simd/vec_avx512.h"

namespace fastconv {
namespace {

inline vi viload(const int32_t* p) { return _mm512_loadu_si512(p); }
inline void vistore(int32_t* p, vi v) { _mm512_storeu_si512(p, v); }
inline __m256i row_at(const uint8_t* x) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x));
}
// Row k of those that begin `pitch` apart, n bytes of it, if its bit is set.
inline __m256i row_at(const uint8_t* x, dim_t pitch, int k, int n, unsigned rows, uint8_t fill) {
  if (!(rows >> k & 1)) return _mm256_set1_epi8(static_cast<char>(fill));
  return _mm256_maskz_loadu_epi8(0xffffffffu >> (32 - n), x + k * pitch);
}
inline void vpair_bytes(uint8_t* p, __m256i a, __m256i b) {
  const __m256i low = _mm256_unpacklo_epi8(a, b), high = _mm256_unpackhi_epi8(a, b);
  __m256i* const to = reinterpret_cast<__m256i*>(p);
  _mm256_storeu_si256(to, _mm256_permute2x128_si256(low, high, 0x20));
  _mm256_storeu_si256(to + 1, _mm256_permute2x128_si256(low, high, 0x31));
}
inline void vpair_bytes(uint8_t* p, const uint8_t* x, dim_t pitch) {
  vpair_bytes(p, row_at(x), row_at(x + pitch));
}
inline void vpair_bytes_some(uint8_t* p, const uint8_t* x, dim_t pitch, int n, unsigned rows,
                             uint8_t fill) {
  const auto row = [&](int k) { return row_at(x, pitch, k, n, rows, fill); };
  vpair_bytes(p, row(0), row(1));
}
// ac and bd have the 32 bytes of rows 0 and 2, of rows 1 and 3. Unpacked they are words of two rows,
// of which a permutation brings those of a channel together.
inline void vquad_bytes(uint8_t* p, __m512i ac, __m512i bd) {
  alignas(64) static constexpr uint16_t kFirst[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                      21, 6,  22, 7,  23, 32, 48, 33, 49, 34, 50,
                                                      35, 51, 36, 52, 37, 53, 38, 54, 39, 55};
  const __m512i first = _mm512_load_si512(kFirst),
                second = _mm512_add_epi16(first, _mm512_set1_epi16(8));
  const __m512i low = _mm512_unpacklo_epi8(ac, bd), high = _mm512_unpackhi_epi8(ac, bd);
  _mm512_storeu_si512(p, _mm512_permutex2var_epi16(low, first, high));
  _mm512_storeu_si512(p + 64, _mm512_permutex2var_epi16(low, second, high));
}
inline __m512i two_rows(__m256i a, __m256i b) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
}
inline void vquad_bytes(uint8_t* p, const uint8_t* x, dim_t pitch) {
  vquad_bytes(p, two_rows(row_at(x), row_at(x + 2 * pitch)),
              two_rows(row_at(x + pitch), row_at(x + 3 * pitch)));
}
inline void vquad_bytes_some(uint8_t* p, const uint8_t* x, dim_t pitch, int n, unsigned rows,
                             uint8_t fill) {
  const auto row = [&](int k) { return row_at(x, pitch, k, n, rows, fill); };
  vquad_bytes(p, two_rows(row(0), row(2)), two_rows(row(1), row(3)));
}
inline vi vipairs(const uint8_t* p) {
  return _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline vi viset(int32_t x) { return _mm512_set1_epi32(x); }
inline vi vizero() { return _mm512_setzero_si512(); }
inline vi viadd(vi a, vi b) { return _mm512_add_epi32(a, b); }
inline vi visub(vi a, vi b) { return _mm512_sub_epi32(a, b); }
inline vi vimul(vi a, vi b) { return _mm512_mullo_epi32(a, b); }
template <int N>
inline vi vishl(vi a) {
  return _mm512_slli_epi32(a, N);
}
template <int N>
inline vi vishr(vi a) {
  return _mm512_srai_epi32(a, N);
}
inline vf vlower_bf16(vi a) { return _mm512_castsi512_ps(_mm512_slli_epi32(a, 16)); }
inline vf vupper_bf16(vi a) {
  return _mm512_castsi512_ps(_mm512_and_si512(a, _mm512_set1_epi32(-65536)));
}
inline vf vtofloat(vi a) { return _mm512_cvtepi32_ps(a); }
inline vi vtoint(vf a) { return _mm512_cvtps_epi32(a); }
inline vi viload_bytes(const uint8_t* p) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline vi viload_bytes(const int8_t* p) {
  return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

// As in int_avx2.h.
class SaturatedBytes {
 public:
  SaturatedBytes(int32_t zero, int32_t low, int32_t high) {
    const int32_t more = low < 0 ? 128 : 0;
    zero_ = _mm512_set1_epi16(static_cast<int16_t>(zero + more));
    low_ = _mm512_set1_epi8(static_cast<char>(low + more));
    high_ = _mm512_set1_epi8(static_cast<char>(high + more));
    sign_ = _mm512_set1_epi8(static_cast<char>(more));
  }
  void store(uint8_t* p, vi v) const {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_castsi512_si128(in_order(v, v, v, v)));
  }
  void store(uint8_t* p, vi a, vi b) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_castsi512_si256(in_order(a, b, a, b)));
  }
  void store(uint8_t* p, uint8_t* q, const vi (&v)[4]) const {
    const __m512i all = in_order(v[0], v[1], v[2], v[3]);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_castsi512_si256(all));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(q), _mm512_extracti64x4_epi64(all, 1));
  }
  void store(uint8_t* p, dim_t step, const vi (&v)[4]) const {
    const __m512i all = in_order(v[0], v[1], v[2], v[3]);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_castsi512_si128(all));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + step), _mm512_extracti32x4_epi32(all, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 2 * step), _mm512_extracti32x4_epi32(all, 2));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 3 * step), _mm512_extracti32x4_epi32(all, 3));
  }

 private:
  // Packing keeps the quarters apart: four bytes of each vector, then the next four.
  __m512i in_order(vi a, vi b, vi c, vi d) const {
    const __m512i ab = _mm512_adds_epi16(_mm512_packs_epi32(a, b), zero_),
                  cd = _mm512_adds_epi16(_mm512_packs_epi32(c, d), zero_);
    const __m512i fours = _mm512_packus_epi16(ab, cd);
    const __m512i bytes =
        _mm512_xor_si512(_mm512_min_epu8(_mm512_max_epu8(fours, low_), high_), sign_);
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_permutexvar_epi32(order, bytes);
  }

  __m512i zero_, low_, high_, sign_;
};

constexpr int WB = 4 * W;

inline vi vbload(const void* p) { return _mm512_loadu_si512(p); }
inline void vbstore(void* p, vi v) { _mm512_storeu_si512(p, v); }
inline vi vbmax(vi a, vi b, uint8_t) { return _mm512_max_epu8(a, b); }
inline vi vbmax(vi a, vi b, int8_t) { return _mm512_max_epi8(a, b); }
// As in int_avx2.h: sixteen shuffles, and blends by the high bits.
constexpr int kBlockBytes = 64;
// As in int_avx2.h.
class BlockOrder {
 public:
  explicit BlockOrder(const uint8_t* order) {
    for (int part = 0; part < 4; ++part) {
      const __m512i from_part =
          _mm512_xor_si512(vbload(order), _mm512_set1_epi8(static_cast<char>(16 * part)));
      pick_[part] = _mm512_adds_epu8(from_part, _mm512_set1_epi8(0x70));
    }
  }
  void apply(const uint8_t* block, uint8_t* to) const {
    vi picked[4];
    for (int i = 0; i < 4; ++i) {
      const __m128i* const part = reinterpret_cast<const __m128i*>(block + 16 * i);
      picked[i] = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(part)), pick_[i]);
    }
    vbstore(to, _mm512_or_si512(_mm512_or_si512(picked[0], picked[1]),
                                _mm512_or_si512(picked[2], picked[3])));
  }

 private:
  vi pick_[4];
};

class ByteTable {
 public:
  explicit ByteTable(const uint8_t* table) {
    for (int i = 0; i < 16; ++i)
      part_[i] =
          _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table + 16 * i)));
  }
  vi at(vi x) const {
    const vi low = _mm512_and_si512(x, _mm512_set1_epi8(15));
    const __mmask64 bit[4] = {_mm512_movepi8_mask(_mm512_slli_epi16(x, 3)),
                              _mm512_movepi8_mask(_mm512_slli_epi16(x, 2)),
                              _mm512_movepi8_mask(_mm512_slli_epi16(x, 1)), _mm512_movepi8_mask(x)};
    vi y[8];
    for (int i = 0; i < 8; ++i)
      y[i] = _mm512_mask_blend_epi8(bit[0], _mm512_shuffle_epi8(part_[2 * i], low),
                                    _mm512_shuffle_epi8(part_[2 * i + 1], low));
    for (int i = 0; i < 4; ++i) y[i] = _mm512_mask_blend_epi8(bit[1], y[2 * i], y[2 * i + 1]);
    for (int i = 0; i < 2; ++i) y[i] = _mm512_mask_blend_epi8(bit[2], y[2 * i], y[2 * i + 1]);
    return _mm512_mask_blend_epi8(bit[3], y[0], y[1]);
  }

 private:
  vi part_[16];
};

}  // namespace
}  // namespace fastconv
