// L1 simd: bits counted by carry-save adders, for sets of instructions that count those of no vector
// at once; bits_ref.h says what the names mean. After Mula, Kurz and Lemire, "Faster population
// counts using AVX2 instructions" (2018).
//
// Three vectors are added to two, sum and carry, bit by bit: four vectors more leave one carry of
// fours, and only its bits are counted, by a table of the sixteen counts of four bits. The includer has
//   vcarry_save(a, b, c)  makes a the sum of a, b and c, and returns the carry
//   vcount_bytes(x)       bits of each byte
//   vadd_bytes(a, b)      sums of bytes
//   vsum_bytes(x)         the sum of each lane's four bytes
#pragma once

namespace fastconv {
namespace {

struct Bits {
  struct Count {
    vi ones, twos, fours;  // sums not carried yet; bytes
    vi sum;                // bits of what was folded
  };
  static constexpr int kWords = 4;
  static constexpr dim_t kTogether = 31;  // 8 more each time, of 255
  static Count none() noexcept { return {vizero(), vizero(), vizero(), vizero()}; }
  static void count(Count& c, const vi (&x)[kWords]) noexcept {
    const vi two = vcarry_save(c.ones, x[0], x[1]), more = vcarry_save(c.ones, x[2], x[3]);
    c.fours = vadd_bytes(c.fours, vcount_bytes(vcarry_save(c.twos, two, more)));
  }
  static void fold(Count& c) noexcept {
    c.sum = viadd(c.sum, vishl<2>(vsum_bytes(c.fours)));
    c.fours = vizero();
  }
  static vi total(const Count& c) noexcept {
    const vi ones = vsum_bytes(vcount_bytes(c.ones)), twos = vsum_bytes(vcount_bytes(c.twos));
    return viadd(c.sum, viadd(ones, vishl<1>(twos)));
  }
};

}  // namespace
}  // namespace fastconv
