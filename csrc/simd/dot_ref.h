// L1 simd: sums of products of bytes in portable C++, the specification of every dot_<set>.h.
//
// A Dot says how narrow numbers are multiplied and summed, W sums at a time, for the tiles of
// kernels/product/ and for kernels/peak_dot.inl.h:
//   sum[l] += a[0] row[l][0] + ... + a[3] row[l][3]
// for lanes l < W, with a of u8, row of s8, and sums of 32 bits, modulo 2^32. DotS16 has two numbers
// of s16 in a word of A, and two in each of a row's.
//
// Its names:
//   Sum         W sums
//   Word        four numbers of A, the same for all lanes; word() makes it of their bytes
//   Row         W words of B; row() loads it, and the next is kRowBytes further on
//   kSaturates  whether two products of one sign may be too large (dot_avx2.h)
//   dot()       the sums, with the products added
#pragma once
#include "simd/dot_word.h"
#include "simd/int_ref.h"

namespace fastconv {
namespace {

struct DotU8S8 {
  using Sum = vi;
  using Word = int32_t;
  struct Row {
    int8_t of[W][4];
  };
  static constexpr int kRowBytes = sizeof(Row);
  static constexpr bool kSaturates = false;
  static Sum zero() noexcept { return vizero(); }
  static Word word(int32_t bytes) noexcept { return bytes; }
  static Row row(const void* b) noexcept {
    Row row;
    memcpy(&row, b, sizeof row);
    return row;
  }
  // A word of A for each lane (depthwise_u8.inl.h). A product of two bytes fits 16 bits.
  static Sum dot(Sum sum, vi a, const Row& row) noexcept {
    typedef int16_t Pairs __attribute__((vector_size(sizeof(vi))));
    Pairs b;
    memcpy(&b, row.of, sizeof b);
    const vi even = (vi)((Pairs)(a & 0xff00ff) * ((b << 8) >> 8));
    const vi odd = (vi)((Pairs)((vi)((vu)a >> 8) & 0xff00ff) * (b >> 8));
    const auto both = [](vi v) { return viadd((vi)((vu)v << 16) >> 16, v >> 16); };
    return viadd(sum, viadd(both(even), both(odd)));
  }
  static Sum dot(Sum sum, Word a, const Row& row) noexcept { return dot(sum, viset(a), row); }
};

struct DotS16 {
  using Sum = vi;
  using Word = int32_t;
  struct Row {
    int16_t of[W][2];
  };
  static constexpr int kRowBytes = sizeof(Row);
  static constexpr bool kSaturates = false;
  static Sum zero() noexcept { return vizero(); }
  static Word word(int32_t pair) noexcept { return pair; }
  static Row row(const void* b) noexcept {
    Row row;
    memcpy(&row, b, sizeof row);
    return row;
  }
  static Sum dot(Sum sum, vi a, const Row& row) noexcept {
    vi b;
    memcpy(&b, row.of, sizeof b);
    const auto low = [](vi v) { return (vi)((vu)v << 16) >> 16; };
    return viadd(sum, viadd(vimul(low(a), low(b)), vimul(a >> 16, b >> 16)));
  }
  static Sum dot(Sum sum, Word a, const Row& row) noexcept { return dot(sum, viset(a), row); }
};

}  // namespace
}  // namespace fastconv
