// L2 micro-kernel: C[MR, NRV * W] = finish(A[MR, taps * K] * B), one template for every Dot, the
// way in which numbers are multiplied (simd/dot_<set>.h), and every Finish, what becomes of the sums
// (finish_f32.inl.h, finish_integers.inl.h). The contract is ProductTile in kernel_table.h; called by
// gemm/row_tiles.h. Start at product_tile's loop over words; docs/kernels.md has the tiles' sizes and
// why.
//
// The register tile holds the sums, NRV vectors of B and one word of A, broadcast to every lane: one
// number of f32, or several narrower ones. K is not split, and the sums live over all of it: a step
// of K streams NRV vectors of B, which L2 sustains. Rows beyond mr are not computed: every MR of
// 1..full has its own instance.
#pragma once
#include "kernels/kernel_table.h"
#include "kernels/unroll.h"
#include "simd/dot_word.h"

namespace fastconv {
namespace {

constexpr dim_t kWordBytes = 4;

// One word of A for each row, given by word_of(m), times a row of the panel.
template <class Dot, int MR, int NRV, class WordOf>
inline void add_products(typename Dot::Sum (&acc)[MR][NRV], const char* b, WordOf word_of) {
  typename Dot::Row row[NRV];
  FC_UNROLL for (int v = 0; v < NRV; ++v) row[v] = Dot::row(b + v * Dot::kRowBytes);
  FC_UNROLL for (int m = 0; m < MR; ++m) {
    const typename Dot::Word word = Dot::word(word_of(m));
    FC_UNROLL for (int v = 0; v < NRV; ++v) acc[m][v] = Dot::dot(acc[m][v], word, row[v]);
  }
}

// The products of a list, added to the sums of its vector. a is what rows count from.
template <class Dot, int MR, int NRV>
inline void add_listed(typename Dot::Sum (&acc)[MR][NRV], int v, const IntegerTile& t,
                       const uint8_t* a, const dim_t (&row)[MR], const ExcessList& list) {
  for (dim_t i = 0; i < list.count; ++i) {
    const ExcessWord& word = list.words[i];
    const uint8_t* const base = a + t.tap_offset[word.tap] + word.k;
    const typename Dot::Row b = Dot::row(list.b + i * Dot::kRowBytes);
    if (t.K >= 4) {
      FC_UNROLL for (int m = 0; m < MR; ++m) acc[m][v] =
          Dot::dot(acc[m][v], Dot::word(word_at(base + row[m])), b);
    } else {
      const int n = static_cast<int>(t.K);
      FC_UNROLL for (int m = 0; m < MR; ++m) acc[m][v] =
          Dot::dot(acc[m][v], Dot::word(word_at(base + row[m], n)), b);
    }
  }
}

// Tiles one below the other in one call: what is the same for all of them stays in registers, and
// the processor starts the next tile's sums while the last one's are stored.
//
// A Finish says what sums begin with. It is told when a tile begins, so that it can ask for what it
// wants of C: after the whole of K nothing would be left to hide those misses behind.
template <class Dot, template <int, int> class Finish, int MR, int NRV>
void product_tile(const typename Finish<MR, NRV>::Tile& t) {
  using A = decltype(t.a);
  constexpr dim_t kNumbers = kWordBytes / sizeof(*t.a);
  const dim_t whole = t.K / kNumbers * kNumbers, rest = t.K - whole;
  const dim_t words = t.taps * ((t.K + kNumbers - 1) / kNumbers);
  const dim_t step = Finish<MR, NRV>::template row_bytes<Dot>(t);
  A first = t.a;
  const dim_t* a_row = t.a_row;
  Finish<MR, NRV> finish(t);
  for (dim_t tile = 0; tile < t.row_tiles; ++tile) {
    typename Dot::Sum acc[MR][NRV];
    FC_UNROLL for (int m = 0; m < MR; ++m) FC_UNROLL for (int v = 0; v < NRV; ++v) acc[m][v] =
        finish.template first_sum<Dot>(v);

    dim_t row[MR];
    if (a_row) {
      FC_UNROLL for (int m = 0; m < MR; ++m) row[m] = a_row[m];
    } else {
      FC_UNROLL for (int m = 0; m < MR; ++m) row[m] = m * t.lda;
    }
    finish.begin();

    const char* b = reinterpret_cast<const char*>(t.b);
    // Where there is nothing to bring, b: it is in cache, or on its way.
    const char* next = tile < t.next_tiles ? t.next + tile * words * t.next_per_word : b;
    for (dim_t tap = 0; tap < t.taps; ++tap) {
      A a[MR], base = first + t.tap_offset[tap];
      FC_UNROLL for (int m = 0; m < MR; ++m) a[m] = base + row[m];
      FC_UNROLL_BY(4) for (dim_t k = 0; k < whole; k += kNumbers) {
        __builtin_prefetch(next, 0, 2);
        next += t.next_per_word;
        add_products<Dot, MR, NRV>(acc, b, [&](int m) { return word_at(a[m] + k); });
        b += step;
      }
      if constexpr (kNumbers == 4)
        if (rest) {
          if (whole)
            add_products<Dot, MR, NRV>(acc, b,
                                       [&](int m) { return word_at(a[m] + t.K - kNumbers); });
          else
            add_products<Dot, MR, NRV>(
                acc, b, [&](int m) { return word_at(a[m], static_cast<int>(rest)); });
          b += step;
        }
    }
    if constexpr (Dot::kSaturates)
      if (t.excess) {
        FC_UNROLL for (int v = 0; v < NRV; ++v)
            add_listed<Dot, MR, NRV>(acc, v, t, first, row, t.excess[v]);
      }
    finish.end(acc, tile + 1 == t.row_tiles);

    if (a_row)
      a_row += MR;
    else
      first += MR * t.lda;
  }
}

template <class Dot, template <int, int> class Finish, int NRV, int MR, class Panel>
void fill_rows(Panel& p) {
  static_assert(MR <= sizeof(p.ukr) / sizeof(p.ukr[0]));
  if (p.mr < MR) p.mr = MR;
  p.ukr[MR - 1] = product_tile<Dot, Finish, MR, NRV>;
  if constexpr (MR > 1) fill_rows<Dot, Finish, NRV, MR - 1>(p);
}
// Rows of the register tiles of one, two and three vectors.
template <class Dot, template <int, int> class Finish, int MR1, int MR2, int MR3, class Panel>
void fill_panels(Panel (&panels)[3]) {
  for (Panel& p : panels) p.mr = 0;  // the tier below may have had more
  fill_rows<Dot, Finish, 1, MR1>(panels[0]);
  fill_rows<Dot, Finish, 2, MR2>(panels[1]);
  fill_rows<Dot, Finish, 3, MR3>(panels[2]);
}

}  // namespace
}  // namespace fastconv
