// L1 simd: lanes of 32-bit integers on AVX2; int_ref.h is the specification of the names.
#pragma once
#include <string.h>

#include "simd/vec_avx2.h"

namespace fastconv {
namespace {

inline vi viload(const int32_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
inline void vistore(int32_t* p, vi v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
inline __m128i sixteen_at(const uint8_t* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
// By halves, as vstore_tail(): n is the same for long.
inline __m128i some_at(const uint8_t* p, int n) {
  uint64_t low = 0, last = 0;
  if (n & 8) {
    memcpy(&low, p, 8);
    p += 8;
  }
  int shift = 0;
  if (n & 4) {
    uint32_t four;
    memcpy(&four, p, 4);
    last = four;
    shift = 32;
    p += 4;
  }
  if (n & 2) {
    uint16_t two;
    memcpy(&two, p, 2);
    last |= uint64_t{two} << shift;
    shift += 16;
    p += 2;
  }
  if (n & 1) last |= uint64_t{*p} << shift;
  return n & 8 ? _mm_set_epi64x(static_cast<int64_t>(last), static_cast<int64_t>(low))
               : _mm_cvtsi64_si128(static_cast<int64_t>(last));
}
inline void vpair_bytes(uint8_t* p, __m128i a, __m128i b) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm256_set_m128i(_mm_unpackhi_epi8(a, b), _mm_unpacklo_epi8(a, b)));
}
// Row k of those that begin `pitch` apart, n bytes of it, if its bit is set.
inline __m128i row_at(const uint8_t* x, dim_t pitch, int k, int n, unsigned rows, uint8_t fill) {
  if (!(rows >> k & 1)) return _mm_set1_epi8(static_cast<char>(fill));
  return n == 16 ? sixteen_at(x + k * pitch) : some_at(x + k * pitch, n);
}
inline void vpair_bytes(uint8_t* p, const uint8_t* x, dim_t pitch) {
  vpair_bytes(p, sixteen_at(x), sixteen_at(x + pitch));
}
inline void vpair_bytes_some(uint8_t* p, const uint8_t* x, dim_t pitch, int n, unsigned rows,
                             uint8_t fill) {
  const auto row = [&](int k) { return row_at(x, pitch, k, n, rows, fill); };
  vpair_bytes(p, row(0), row(1));
}
inline void vquad_bytes(uint8_t* p, __m128i a, __m128i b, __m128i c, __m128i d) {
  const __m128i ab[2] = {_mm_unpacklo_epi8(a, b), _mm_unpackhi_epi8(a, b)};
  const __m128i cd[2] = {_mm_unpacklo_epi8(c, d), _mm_unpackhi_epi8(c, d)};
  for (int i = 0; i < 2; ++i)
    _mm256_storeu_si256(
        reinterpret_cast<__m256i*>(p) + i,
        _mm256_set_m128i(_mm_unpackhi_epi16(ab[i], cd[i]), _mm_unpacklo_epi16(ab[i], cd[i])));
}
inline void vquad_bytes(uint8_t* p, const uint8_t* x, dim_t pitch) {
  vquad_bytes(p, sixteen_at(x), sixteen_at(x + pitch), sixteen_at(x + 2 * pitch),
              sixteen_at(x + 3 * pitch));
}
inline void vquad_bytes_some(uint8_t* p, const uint8_t* x, dim_t pitch, int n, unsigned rows,
                             uint8_t fill) {
  const auto row = [&](int k) { return row_at(x, pitch, k, n, rows, fill); };
  vquad_bytes(p, row(0), row(1), row(2), row(3));
}
// Both halves of a register are given all sixteen bytes: vpmovzxbw takes two instructions' time.
inline vi vipairs(const uint8_t* p) {
  const __m256i order = _mm256_setr_epi8(0, -1, 1, -1, 2, -1, 3, -1, 4, -1, 5, -1, 6, -1, 7, -1, 8,
                                         -1, 9, -1, 10, -1, 11, -1, 12, -1, 13, -1, 14, -1, 15, -1);
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(sixteen_at(p)), order);
}
inline vi viset(int32_t x) { return _mm256_set1_epi32(x); }
inline vi vizero() { return _mm256_setzero_si256(); }
inline vi viadd(vi a, vi b) { return _mm256_add_epi32(a, b); }
inline vi visub(vi a, vi b) { return _mm256_sub_epi32(a, b); }
inline vi vimul(vi a, vi b) { return _mm256_mullo_epi32(a, b); }
template <int N>
inline vi vishl(vi a) {
  return _mm256_slli_epi32(a, N);
}
template <int N>
inline vi vishr(vi a) {
  return _mm256_srai_epi32(a, N);
}
inline vf vlower_bf16(vi a) { return _mm256_castsi256_ps(_mm256_slli_epi32(a, 16)); }
inline vf vupper_bf16(vi a) {
  return _mm256_castsi256_ps(_mm256_and_si256(a, _mm256_set1_epi32(-65536)));
}
inline vf vtofloat(vi a) { return _mm256_cvtepi32_ps(a); }
inline vi vtoint(vf a) { return _mm256_cvtps_epi32(a); }

inline vi viload_bytes(const uint8_t* p) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
inline vi viload_bytes(const int8_t* p) {
  return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}

// Packing saturates by itself: first to 16 bits, where zero is added, then to a byte without a sign.
// Numbers of s8 are 128 more until then.
class SaturatedBytes {
 public:
  SaturatedBytes(int32_t zero, int32_t low, int32_t high) {
    const int32_t more = low < 0 ? 128 : 0;
    zero_ = _mm256_set1_epi16(static_cast<int16_t>(zero + more));
    low_ = _mm256_set1_epi8(static_cast<char>(low + more));
    high_ = _mm256_set1_epi8(static_cast<char>(high + more));
    sign_ = _mm256_set1_epi8(static_cast<char>(more));
  }
  void store(uint8_t* p, vi v) const {
    const __m256i fours = bytes(v, v, v, v);
    _mm_storel_epi64(
        reinterpret_cast<__m128i*>(p),
        _mm_unpacklo_epi32(_mm256_castsi256_si128(fours), _mm256_extracti128_si256(fours, 1)));
  }
  void store(uint8_t* p, vi a, vi b) const {
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 0, 4, 1, 5);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                     _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(bytes(a, b, a, b), order)));
  }
  void store(uint8_t* p, uint8_t* q, const vi (&v)[4]) const {
    const __m256i all = in_order(v);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(all));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(q), _mm256_extracti128_si256(all, 1));
  }
  void store(uint8_t* p, dim_t step, const vi (&v)[4]) const {
    const __m256i all = in_order(v);
    const __m128i first = _mm256_castsi256_si128(all), last = _mm256_extracti128_si256(all, 1);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), first);
    _mm_storeh_pd(reinterpret_cast<double*>(p + step), _mm_castsi128_pd(first));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p + 2 * step), last);
    _mm_storeh_pd(reinterpret_cast<double*>(p + 3 * step), _mm_castsi128_pd(last));
  }

 private:
  // Packing keeps the halves apart: a 0-3, b 0-3, c 0-3, d 0-3 | a 4-7 and so on.
  __m256i bytes(vi a, vi b, vi c, vi d) const {
    const __m256i ab = _mm256_adds_epi16(_mm256_packs_epi32(a, b), zero_),
                  cd = _mm256_adds_epi16(_mm256_packs_epi32(c, d), zero_);
    const __m256i fours = _mm256_packus_epi16(ab, cd);
    return _mm256_xor_si256(_mm256_min_epu8(_mm256_max_epu8(fours, low_), high_), sign_);
  }
  __m256i in_order(const vi (&v)[4]) const {
    return _mm256_permutevar8x32_epi32(bytes(v[0], v[1], v[2], v[3]),
                                       _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  }

  __m256i zero_, low_, high_, sign_;
};

constexpr int WB = 4 * W;

inline vi vbload(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline void vbstore(void* p, vi v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
inline vi vbmax(vi a, vi b, uint8_t) { return _mm256_max_epu8(a, b); }
inline vi vbmax(vi a, vi b, int8_t) { return _mm256_max_epi8(a, b); }
constexpr int kBlockBytes = 64;
// A shuffle takes its bytes from a sixteenth of what there may be, and is given 0 for what is
// elsewhere: a number with its high bit set.
class BlockOrder {
 public:
  explicit BlockOrder(const uint8_t* order) {
    for (int half = 0; half < 2; ++half)
      for (int part = 0; part < 4; ++part) {
        const __m256i from_part = _mm256_xor_si256(vbload(order + 32 * half),
                                                   _mm256_set1_epi8(static_cast<char>(16 * part)));
        pick_[half][part] = _mm256_adds_epu8(from_part, _mm256_set1_epi8(0x70));
      }
  }
  void apply(const uint8_t* block, uint8_t* to) const {
    vi part[4];
    for (int i = 0; i < 4; ++i) part[i] = _mm256_broadcastsi128_si256(sixteen_at(block + 16 * i));
    for (int half = 0; half < 2; ++half) {
      vi picked[4];
      for (int i = 0; i < 4; ++i) picked[i] = _mm256_shuffle_epi8(part[i], pick_[half][i]);
      vbstore(to + 32 * half, _mm256_or_si256(_mm256_or_si256(picked[0], picked[1]),
                                              _mm256_or_si256(picked[2], picked[3])));
    }
  }

 private:
  vi pick_[2][4];
};

// Sixteen shuffles look the low four bits up in every sixteenth of the table; the high bits, one
// after the other, then halve what there is to choose from: 31 instructions for 32 bytes.
class ByteTable {
 public:
  explicit ByteTable(const uint8_t* table) {
    for (int i = 0; i < 16; ++i)
      part_[i] = _mm256_broadcastsi128_si256(
          _mm_loadu_si128(reinterpret_cast<const __m128i*>(table + 16 * i)));
  }
  vi at(vi x) const {
    const vi low = _mm256_and_si256(x, _mm256_set1_epi8(15));
    // A bit of each byte, moved to where a blend looks for it.
    const vi bit[4] = {_mm256_slli_epi16(x, 3), _mm256_slli_epi16(x, 2), _mm256_slli_epi16(x, 1),
                       x};
    vi y[8];
    for (int i = 0; i < 8; ++i)
      y[i] = _mm256_blendv_epi8(_mm256_shuffle_epi8(part_[2 * i], low),
                                _mm256_shuffle_epi8(part_[2 * i + 1], low), bit[0]);
    for (int i = 0; i < 4; ++i) y[i] = _mm256_blendv_epi8(y[2 * i], y[2 * i + 1], bit[1]);
    for (int i = 0; i < 2; ++i) y[i] = _mm256_blendv_epi8(y[2 * i], y[2 * i + 1], bit[2]);
    return _mm256_blendv_epi8(y[0], y[1], bit[3]);
  }

 private:
  vi part_[16];
};

}  // namespace
}  // namespace fastconv
