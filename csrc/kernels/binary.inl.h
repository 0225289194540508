// L2 micro-kernels: products of signs, by bits that differ (XNOR-Net: Rastegari et al. 2016,
// arXiv:1603.05279), in the Bits of simd/bits_<set>.h. Contract: BinaryTile in binary.h. Called by
// gemm/binary.cpp and conv/algo_xnor.cpp.
//
// A word of A, broadcast, meets the same word of W columns. To tell how they differ is one
// instruction, and to count is several: a tile has rows enough to hide latencies, and one vector of
// columns, for there is next to nothing to gain by loading less.
#pragma once
#include "kernels/binary.h"
#include "kernels/product/finish_f32.inl.h"
#include "kernels/unroll.h"

namespace fastconv {
namespace {

// kWords words of A from each row, or so many as there are, compared with those of B.
template <int MR>
inline void count_words(Bits::Count (&count)[MR], const uint32_t* const (&a)[MR],
                        const dim_t* offset, const uint32_t* b, dim_t words) {
  constexpr int kWords = Bits::kWords;
  FC_UNROLL for (int m = 0; m < MR; ++m) {
    vi differ[kWords];
    FC_UNROLL for (int i = 0; i < kWords; ++i) differ[i] =
        i < words ? vixor(viset(static_cast<int32_t>(a[m][offset[i]])),
                          viload(reinterpret_cast<const int32_t*>(b + i * W)))
                  : vizero();
    Bits::count(count[m], differ);
  }
}

// Adds what differs in one plane of A.
template <int MR>
inline void count_plane(Bits::Count (&count)[MR], const BinaryTile& t,
                        const uint32_t* const (&a)[MR]) {
  constexpr dim_t kWords = Bits::kWords;
  const dim_t whole = t.taps / kWords * kWords;
  for (dim_t k = 0; k < whole;) {
    const dim_t room = k + Bits::kTogether * kWords;
    for (const dim_t end = room < whole ? room : whole; k < end; k += kWords)
      count_words<MR>(count, a, t.tap_offset + k, t.b + k * W, kWords);
    FC_UNROLL for (int m = 0; m < MR; ++m) Bits::fold(count[m]);
  }
  if (whole < t.taps) {
    count_words<MR>(count, a, t.tap_offset + whole, t.b + whole * W, t.taps - whole);
    FC_UNROLL for (int m = 0; m < MR; ++m) Bits::fold(count[m]);
  }
}

template <int MR>
void binary_tile(const BinaryTile& t) {
  const uint32_t* first = t.a;
  const dim_t *a_row = t.a_row, *total_row = t.total_row;
  const vf scale = vload(t.scale);
  FinishTile<BinaryTile, MR, 1> finish(t);
  for (dim_t tile = 0; tile < t.row_tiles; ++tile) {
    const uint32_t* a[MR];
    FC_UNROLL for (int m = 0; m < MR; ++m) a[m] = first + (a_row ? a_row[m] : m * t.lda);
    Bits::Count count[MR];
    FC_UNROLL for (int m = 0; m < MR; ++m) count[m] = Bits::none();
    finish.begin();
    count_plane<MR>(count, t, a);
    if (t.plane) {
      FC_UNROLL for (int m = 0; m < MR; ++m) a[m] += t.plane;
      count_plane<MR>(count, t, a);
    }
    vf acc[MR][1];
    FC_UNROLL for (int m = 0; m < MR; ++m) {
      const vi differing = Bits::total(count[m]);
      const vi total = viload(t.total + (total_row ? total_row[m] : 0));
      const vi sum = visub(total, t.plane ? differing : vishl<1>(differing));
      acc[m][0] = vmul(vtofloat(sum), scale);
    }
    finish.end(acc, tile + 1 == t.row_tiles);

    if (a_row)
      a_row += MR;
    else
      first += MR * t.lda;
    if (total_row) total_row += MR;
  }
}

// f of the first n numbers at x, 32 at most, as bits; f gives those of a vector's lanes.
template <class F>
inline uint32_t bits_of(const float* x, dim_t n, F f) {
  uint32_t word = 0;
  if (n >= 32) {
    FC_UNROLL for (int l = 0; l < 32; l += W) word |= f(vload(x + l)) << l;
    return word;
  }
  for (dim_t l = 0; l < n; l += W)
    word |= f(vload_tail(x + l, n - l < W ? static_cast<int>(n - l) : W)) << l;
  return word & ((1u << n) - 1);
}

uint32_t sign_bits(const float* x, dim_t n, SignRule rule, uint32_t* bits) {
  const vf nothing = vzero();
  uint32_t seen = 0;
  for (; n > 0; n -= 32, x += 32) {
    uint32_t word = bits_of(x, n, [=](vf v) { return vlanes_lt(nothing, v); });
    const uint32_t below = bits_of(x, n, [=](vf v) { return vlanes_lt(v, nothing); });
    const uint32_t others = (n < 32 ? (1u << n) - 1 : ~0u) & ~(word | below);
    if (others) {
      const uint32_t nan = bits_of(x, n, [](vf v) { return vlanes_nan(v); }), zero = others & ~nan;
      word |= (rule.zero ? zero : 0) | (rule.nan ? nan : 0);
      seen |= (zero ? kZeroSeen : 0) | (nan ? kNanSeen : 0);
    }
    *bits++ = word;
  }
  return seen;
}

template <int MR>
void fill_binary_rows(PanelKernels<BinaryTile, kMaxBinaryMR>& panel) {
  panel.ukr[MR - 1] = binary_tile<MR>;
  if constexpr (MR > 1) fill_binary_rows<MR - 1>(panel);
}
// MR: rows of a tile.
template <int MR>
void fill_binary(BinaryKernels& b) {
  static_assert(MR <= kMaxBinaryMR);
  b.width = W;
  b.panel.mr = MR;
  fill_binary_rows<MR>(b.panel);
  b.sign_bits = sign_bits;
}

}  // namespace
}  // namespace fastconv
