// L2 kernels: the contracts of products of signs, a part of kernel_table.h. The kernels are in
// binary.inl.h.
#pragma once
#include "core/types.h"
#include "kernels/product_tile.h"

namespace fastconv {

// Register tiles of products of numbers that are 1, a bit that is set, or -1. A word has 32 of them,
// and what is beyond the last number is no bit in both A and B:
//   differing(m, n) = bits that differ between A and B, over all words
//   C[m, n] = act(scale[n] * (total[total_row[m] + n] - 2 * differing(m, n)) + bias[n] + ...)
// Each tap is one word of A; B is [taps][W]. K and alpha are not read, and accumulate is false.
//
// Numbers of A may be 0 besides: then A is two planes, `plane` words apart. The first has the bits
// of what is 1, the second of what is not -1, and each counts half: the sum is total - differing in
// the first - differing in the second.
struct BinaryTile : FloatTile<uint32_t, uint32_t> {
  const float* scale;      // [W]
  const int32_t* total;    // [W] from each row on
  const dim_t* total_row;  // [m], or null: 0 for all
  dim_t plane = 0;         // 0: there is one
};
constexpr int kMaxBinaryMR = 12;

// What signs of f32 are as bits. A number above 0 is a bit, and these decide of others:
struct SignRule {
  bool zero, nan;  // whether they are
};
constexpr uint32_t kZeroSeen = 1, kNanSeen = 2;

struct BinaryKernels {
  int width = 0;  // of a panel: W
  PanelKernels<BinaryTile, kMaxBinaryMR> panel;
  // The n numbers at x as bits, in ceil(n / 32) words, the lowest bit first; no others are set. Tells
  // which of kZeroSeen and kNanSeen there were.
  uint32_t (*sign_bits)(const float* x, dim_t n, SignRule rule, uint32_t* bits) = nullptr;
};

}  // namespace fastconv
