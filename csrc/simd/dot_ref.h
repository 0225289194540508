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
  // A word of A for each lane (depthwise_u8.inl.h).
  static Sum dot(Sum sum, vi a, const Row& row) noexcept {
    vi b;
    memcpy(&b, row.of, sizeof b);
    for (int bits = 0; bits < 32; bits += 8)
      sum = viadd(sum, vimul((vi)((vu)a >> bits & 255), (vi)((vu)b << (24 - bits)) >> 24));
    return sum;
  }
  static Sum dot(Sum sum, Word a, const Row& row) noexcept {
    uint8_t byte[4];
    memcpy(byte, &a, sizeof byte);
    for (int l = 0; l < W; ++l) {
      int32_t products = 0;
      for (int i = 0; i < 4; ++i) products += byte[i] * row.of[l][i];
      sum[l] =
          static_cast<int32_t>(static_cast<uint32_t>(sum[l]) + static_cast<uint32_t>(products));
    }
    return sum;
  }
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
  static Sum dot(Sum sum, Word a, const Row& row) noexcept {
    int16_t pair[2];
    memcpy(pair, &a, sizeof pair);
    for (int l = 0; l < W; ++l) {
      // Each product fits, the sum of two of -32768 by itself does not.
      uint32_t total = static_cast<uint32_t>(sum[l]);
      for (int i = 0; i < 2; ++i) total += static_cast<uint32_t>(pair[i] * row.of[l][i]);
      sum[l] = static_cast<int32_t>(total);
    }
    return sum;
  }
};

}  // namespace
}  // namespace fastconv
