// L2 micro-kernel: C[MR, NRV * W] = finish(A[MR, taps * K] * B), one template for every Dot, the
// way in which narrow numbers are multiplied (simd/dot_<set>.h), and Finish, what becomes of the
// sums (product/finish.inl.h). The contract is IntegerTile in kernel_table.h; called by
// gemm/integer.cpp. Start at product_tile's loop over words.
//
// It is gemm_f32.inl.h's tile: one word of A, several numbers where that has one, is broadcast to
// every lane and meets NRV vectors of B. docs/kernels.md has the tiles' sizes and why.
#pragma once
#include "kernels/kernel_table.h"
#include "kernels/unroll.h"

namespace fastconv {
namespace {

// One word of A for each row, given by broadcast(m), times a row of the panel.
template <class Dot, int MR, int NRV, class Broadcast>
inline void add_products(typename Dot::Sum (&acc)[MR][NRV], const char* b, Broadcast broadcast) {
  typename Dot::Row row[NRV];
  FC_UNROLL for (int v = 0; v < NRV; ++v) row[v] = Dot::row(b + v * Dot::kRowBytes);
  FC_UNROLL for (int m = 0; m < MR; ++m) {
    const typename Dot::Word word = Dot::word(broadcast(m));
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

// Tiles one below the other in one call, as in gemm_f32.inl.h.
template <class Dot, class Finish, int MR, int NRV>
void product_tile(const IntegerTile& t) {
  constexpr dim_t kStep = NRV * Dot::kRowBytes;
  const dim_t whole = t.K / 4, words = t.taps * ((t.K + 3) / 4);
  const int rest = static_cast<int>(t.K % 4);
  const dim_t size = kStoreBytes[static_cast<int>(t.finish.type)];
  const uint8_t* first = t.a;
  const dim_t* a_row = t.a_row;
  typename Finish::Rows at{static_cast<char*>(t.c), t.c_row, 0};
  const typename Finish::template Prepared<NRV> prepared(t);
  for (dim_t tile = 0; tile < t.row_tiles; ++tile) {
    typename Dot::Sum acc[MR][NRV];
    FC_UNROLL for (int m = 0; m < MR; ++m) FC_UNROLL for (int v = 0; v < NRV; ++v) acc[m][v] =
        Dot::zero();

    dim_t row[MR];
    if (a_row) {
      FC_UNROLL for (int m = 0; m < MR; ++m) row[m] = a_row[m];
    } else {
      FC_UNROLL for (int m = 0; m < MR; ++m) row[m] = m * t.lda;
    }

    // C is wanted only after the whole of K: ask for it now, as gemm_f32.inl.h does.
    FC_UNROLL for (int m = 0; m < MR; ++m) {
      const char* const c = at.c + (at.c_row ? at.c_row[m] : m * t.ldc) * size;
      __builtin_prefetch(c, 1);
      __builtin_prefetch(c + t.n_cur * size - 1, 1);
    }

    const char* b = static_cast<const char*>(t.b);
    const char* next = tile < t.next_tiles ? t.next + tile * words * t.next_per_word : b;
    for (dim_t tap = 0; tap < t.taps; ++tap) {
      const uint8_t* a[MR];
      const uint8_t* base = first + t.tap_offset[tap];
      FC_UNROLL for (int m = 0; m < MR; ++m) a[m] = base + row[m];
      FC_UNROLL_BY(2) for (dim_t k = 0; k < 4 * whole; k += 4) {
        __builtin_prefetch(next, 0, 2);
        next += t.next_per_word;
        add_products<Dot, MR, NRV>(acc, b, [&](int m) { return word_at(a[m] + k); });
        b += kStep;
      }
      if (rest) {
        if (t.K > 4)
          add_products<Dot, MR, NRV>(acc, b, [&](int m) { return word_at(a[m] + t.K - 4); });
        else
          add_products<Dot, MR, NRV>(acc, b, [&](int m) { return word_at(a[m], rest); });
        b += kStep;
      }
    }
    if constexpr (Finish::kKeepsSums) {
      Finish::store(t, at, acc);
    } else {
      if constexpr (Dot::kSaturates)
        if (t.excess) {
          FC_UNROLL for (int v = 0; v < NRV; ++v)
              add_listed<Dot, MR, NRV>(acc, v, t, first, row, t.excess[v]);
        }
      alignas(64) int32_t sums[MR][NRV * W];
      FC_UNROLL for (int m = 0; m < MR; ++m) FC_UNROLL for (int v = 0; v < NRV; ++v)
          vistore(sums[m] + v * W, acc[m][v]);
      Finish::template finish<NRV>(t, prepared, at, MR, sums);
    }

    if (a_row)
      a_row += MR;
    else
      first += MR * t.lda;
    if (at.c_row)
      at.c_row += MR;
    else
      at.c += MR * t.ldc * size;
    at.first += MR;
  }
}

template <class Dot, class Finish, int NRV, int MR>
void fill_rows(IntegerPanelKernels& p) {
  static_assert(MR <= kMaxIntegerMR);
  if (p.mr < MR) p.mr = MR;
  p.ukr[MR - 1] = product_tile<Dot, Finish, MR, NRV>;
  if constexpr (MR > 1) fill_rows<Dot, Finish, NRV, MR - 1>(p);
}
// Rows of the register tiles of one, two and three vectors.
template <class Dot, int MR1, int MR2, int MR3, class Finish = FinishIntegers>
void fill_panels(IntegerPanelKernels (&panels)[3]) {
  for (IntegerPanelKernels& p : panels) p.mr = 0;  // the tier below may have had more
  fill_rows<Dot, Finish, 1, MR1>(panels[0]);
  fill_rows<Dot, Finish, 2, MR2>(panels[1]);
  fill_rows<Dot, Finish, 3, MR3>(panels[2]);
}
template <class Dot, int MR1, int MR2, int MR3>
void fill_bytes(IntegerKernels& k) {
  fill_panels<Dot, MR1, MR2, MR3>(k.bytes);
  k.mr = MR2;
  k.nr = 2 * W;
  k.saturates = Dot::kSaturates;
}
template <class Dot, int MR1, int MR2, int MR3>
void fill_wide(IntegerKernels& k) {
  fill_panels<Dot, MR1, MR2, MR3>(k.wide);
}
template <class Dot, int MR1, int MR2, int MR3>
void fill_pairs(IntegerKernels& k) {
  fill_panels<Dot, MR1, MR2, MR3, StoreSums>(k.pairs);
}

}  // namespace
}  // namespace fastconv
