// L1 simd: lanes of 32-bit integers in portable C++, as many as vec_ref.h has floats. The
// specification of the names, which int_avx2.h and int_avx512.h have too; sums and products are
// modulo 2^32. The names in vb are of the same registers as WB lanes of bytes.
#pragma once
#include "simd/vec_ref.h"

namespace fastconv {
namespace {

inline vi viload(const int32_t* p) {
  vi v;
  memcpy(&v, p, sizeof v);
  return v;
}
inline void vistore(int32_t* p, vi v) { memcpy(p, &v, sizeof v); }
// Two rows of 2 W bytes, `pitch` apart, side by side: p[2 i + k] = x[k * pitch + i]; and four rows.
// Then the first n, 1 <= n <= 2 W, of the rows whose bit is set: no others are read, and in their
// place is `fill` for i < n, anything beyond.
template <int K>
inline void vjoin_bytes(uint8_t* p, const uint8_t* x, dim_t pitch, int n, unsigned rows,
                        uint8_t fill) {
  for (int i = 0; i < n; ++i)
    for (int k = 0; k < K; ++k) p[K * i + k] = rows >> k & 1 ? x[k * pitch + i] : fill;
}
inline void vpair_bytes(uint8_t* p, const uint8_t* x, dim_t pitch) {
  vjoin_bytes<2>(p, x, pitch, 2 * W, 3, 0);
}
inline void vpair_bytes_some(uint8_t* p, const uint8_t* x, dim_t pitch, int n, unsigned rows,
                             uint8_t fill) {
  memset(p, 0, 4 * W);
  vjoin_bytes<2>(p, x, pitch, n, rows, fill);
}
inline void vquad_bytes(uint8_t* p, const uint8_t* x, dim_t pitch) {
  vjoin_bytes<4>(p, x, pitch, 2 * W, 15, 0);
}
inline void vquad_bytes_some(uint8_t* p, const uint8_t* x, dim_t pitch, int n, unsigned rows,
                             uint8_t fill) {
  memset(p, 0, 8 * W);
  vjoin_bytes<4>(p, x, pitch, n, rows, fill);
}
// W pairs of bytes as lanes of two numbers of 16 bits, the first one low.
inline vi vipairs(const uint8_t* p) {
  vi v;
  for (int i = 0; i < W; ++i) v[i] = p[2 * i] | p[2 * i + 1] << 16;
  return v;
}
inline vi viset(int32_t x) { return vi{x, x, x, x}; }
inline vi vizero() { return vi{}; }
inline vi viadd(vi a, vi b) { return (vi)((vu)a + (vu)b); }
inline vi visub(vi a, vi b) { return (vi)((vu)a - (vu)b); }
inline vi vimul(vi a, vi b) { return (vi)((vu)a * (vu)b); }
// To the left, and to the right with copies of the sign.
template <int N>
inline vi vishl(vi a) {
  return (vi)((vu)a << N);
}
template <int N>
inline vi vishr(vi a) {
  return a >> N;
}
// Of two numbers of bf16 in each lane the lower one, and the upper one, which f32 has too.
inline vf vlower_bf16(vi a) { return (vf)((vu)a << 16); }
inline vf vupper_bf16(vi a) { return (vf)((vu)a & 0xffff0000u); }
inline vf vtofloat(vi a) { return __builtin_convertvector(a, vf); }
// To nearest, ties to even; numbers of 2^22 to 2^30 stay as large, by and by.
inline vi vtoint(vf a) { return __builtin_convertvector(vround(a), vi); }
// W bytes as lanes, of numbers without a sign or with one.
inline vi viload_bytes(const uint8_t* p) { return vi{p[0], p[1], p[2], p[3]}; }
inline vi viload_bytes(const int8_t* p) { return vi{p[0], p[1], p[2], p[3]}; }

// Lanes as bytes, of u8 or s8: v + zero, no smaller than low, no larger than high, which are numbers
// of the type. |v| <= 2^30, |zero| <= 255. The more vectors together, the less each takes.
class SaturatedBytes {
 public:
  SaturatedBytes(int32_t zero, int32_t low, int32_t high) : zero_(zero), low_(low), high_(high) {}
  void store(uint8_t* p, vi v) const {
    for (int i = 0; i < W; ++i) {
      const int32_t sum = v[i] + zero_;
      p[i] = static_cast<uint8_t>(sum < low_ ? low_ : sum > high_ ? high_ : sum);
    }
  }
  // Two vectors, one after the other.
  void store(uint8_t* p, vi a, vi b) const {
    store(p, a);
    store(p + W, b);
  }
  // The first two of four at p, the others at q.
  void store(uint8_t* p, uint8_t* q, const vi (&v)[4]) const {
    store(p, v[0], v[1]);
    store(q, v[2], v[3]);
  }
  // Four, `step` bytes apart.
  void store(uint8_t* p, dim_t step, const vi (&v)[4]) const {
    for (int i = 0; i < 4; ++i) store(p + i * step, v[i]);
  }

 private:
  int32_t zero_, low_, high_;
};

constexpr int WB = 4 * W;

inline vi vbload(const void* p) {
  vi v;
  memcpy(&v, p, sizeof v);
  return v;
}
inline void vbstore(void* p, vi v) { memcpy(p, &v, sizeof v); }
// The larger of each two bytes, as numbers of the last argument's type.
inline vi vbmax(vi a, vi b, uint8_t) {
  typedef uint8_t bytes __attribute__((vector_size(WB)));
  return (vi)((bytes)a > (bytes)b ? (bytes)a : (bytes)b);
}
inline vi vbmax(vi a, vi b, int8_t) {
  typedef int8_t bytes __attribute__((vector_size(WB)));
  return (vi)((bytes)a > (bytes)b ? (bytes)a : (bytes)b);
}
constexpr int kBlockBytes = 64;
// An order of the bytes of a block: to[i] = block[order[i]], or 0 where there is no such byte.
class BlockOrder {
 public:
  explicit BlockOrder(const uint8_t* order) : order_(order) {}
  void apply(const uint8_t* block, uint8_t* to) const {
    for (int i = 0; i < kBlockBytes; ++i)
      to[i] = order_[i] < kBlockBytes ? block[order_[i]] : uint8_t{0};
  }

 private:
  const uint8_t* order_;
};

// A function of a byte as the 256 bytes that it gives; at() applies it to every lane.
class ByteTable {
 public:
  explicit ByteTable(const uint8_t* table) : table_(table) {}
  vi at(vi x) const {
    uint8_t lanes[WB];
    vbstore(lanes, x);
    for (int i = 0; i < WB; ++i) lanes[i] = table_[lanes[i]];
    return vbload(lanes);
  }

 private:
  const uint8_t* table_;
};

}  // namespace
}  // namespace fastconv
