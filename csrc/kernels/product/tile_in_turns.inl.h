// L2 micro-kernel: register tiles of bytes, so low that the sums of two fit into the registers. What
// becomes of one tile's sums is put between the products of the next. The contract is
// IntegerKernels::in_turns in kernel_table.h.
//
// A processor's schedulers hold fewer instructions than a tile's sums take to become bytes. Behind
// them the next tile's products have to wait, and the units that multiply have little to do.
#pragma once
#include "kernels/product/finish_integers.inl.h"

namespace fastconv {
namespace {

// A tile's sums from its last product on. There are three parts of work for every two rows: one row,
// the other, and what is done to both together.
template <FinishIntegers::Stored stored, int MR>
class SummedTile {
 public:
  static constexpr int kParts = (MR + 1) / 2 * 3;
  static_assert(kParts <= kWordsOfTurn);

  SummedTile(const IntegerTile& t, const FinishIntegers::Prepared<2>& prepared)
      : t_(t), prepared_(prepared) {}
  void take(const vi (&sums)[MR][2], const FinishIntegers::Rows& rows) {
    FC_UNROLL for (int m = 0; m < MR; ++m) {
      c_[m] = rows.row(t_, m, kBytes);
      FC_UNROLL for (int v = 0; v < 2; ++v) sums_[m][v] = sums[m][v];
    }
  }
  template <int part>
  void run() {
    constexpr int m = part / 3 * 2, row = m + part % 3;
    if constexpr (part % 3 == 2)
      store_bytes<m>();
    else if constexpr (row < MR)
      FC_UNROLL for (int v = 0; v < 2; ++v) finish(row, v);
  }

 private:
  static constexpr bool kAsBytes = stored == FinishIntegers::Stored::bytes;
  static constexpr dim_t kBytes = kAsBytes ? 1 : sizeof(int32_t);

  void finish(int m, int v) {
    if constexpr (kAsBytes)
      sums_[m][v] = FinishIntegers::as_whole<FinishIntegers::Scaling::plain>(sums_[m][v], t_.finish,
                                                                             prepared_.column[v]);
    else
      vistore(reinterpret_cast<int32_t*>(c_[m]) + v * W, sums_[m][v]);
  }
  template <int m>
  void store_bytes() const {
    const auto place = [&](int i) { return reinterpret_cast<uint8_t*>(c_[i]); };
    if constexpr (kAsBytes && m + 1 < MR) {
      const vi four[4] = {sums_[m][0], sums_[m][1], sums_[m + 1][0], sums_[m + 1][1]};
      prepared_.bytes.store(place(m), place(m + 1), four);
    } else if constexpr (kAsBytes) {
      prepared_.bytes.store(place(m), sums_[m][0], sums_[m][1]);
    }
  }

  const IntegerTile& t_;
  const FinishIntegers::Prepared<2>& prepared_;
  char* c_[MR];
  vi sums_[MR][2];
};

template <class Dot, FinishIntegers::Stored stored, int MR>
void multiply_in_turns(const IntegerTile& t) {
  using Summed = SummedTile<stored, MR>;
  constexpr dim_t kRowBytes = 2 * Dot::kRowBytes;
  const FinishIntegers::Prepared<2> prepared(t);
  FinishIntegers::Rows rows(t);
  const uint8_t* first = t.a + t.tap_offset[0];
  const dim_t* a_row = t.a_row;
  vi acc[MR][2];
  const auto start_sums = [&] {
    FC_UNROLL for (int m = 0; m < MR; ++m) FC_UNROLL for (int v = 0; v < 2; ++v) acc[m][v] =
        prepared.column[v].bias;
  };

  // No tile comes before the first: what is stored then lies where its own results are going to.
  Summed before(t, prepared);
  start_sums();
  before.take(acc, rows);
  for (dim_t tile = 0; tile < t.row_tiles; ++tile) {
    const uint8_t* a[MR];
    if (a_row) {
      FC_UNROLL for (int m = 0; m < MR; ++m) a[m] = first + a_row[m];
      a_row += MR;
    } else {
      FC_UNROLL for (int m = 0; m < MR; ++m) a[m] = first + m * t.lda;
      first += MR * t.lda;
    }
    const char* b = reinterpret_cast<const char*>(t.b);
    const char* next =
        tile < t.next_tiles ? t.next + tile * (t.K / kWordBytes) * t.next_per_word : b;
    const auto add_word = [&](dim_t k) {
      __builtin_prefetch(next, 0, 2);
      next += t.next_per_word;
      add_products<Dot, MR, 2>(acc, b, [&](int m) { return word_at(a[m] + k); });
      b += kRowBytes;
    };
    start_sums();
    for_each_constant<Summed::kParts>([&](auto part) {
      add_word(part * kWordBytes);
      before.template run<part>();
    });
    FC_UNROLL_BY(4)
    for (dim_t k = Summed::kParts * kWordBytes; k < t.K; k += kWordBytes) add_word(k);
    before.take(acc, rows);
    rows.move_down(t, MR);
  }
  for_each_constant<Summed::kParts>([&](auto part) { before.template run<part>(); });
}

template <class Dot, int MR>
void product_tile_in_turns(const IntegerTile& t) {
  if (t.finish.type == StoreAs::s32)
    multiply_in_turns<Dot, FinishIntegers::Stored::sums, MR>(t);
  else
    multiply_in_turns<Dot, FinishIntegers::Stored::bytes, MR>(t);
}

template <class Dot, int MR>
void fill_in_turns(IntegerPanel& p) {
  if (p.mr < MR) p.mr = MR;
  p.ukr[MR - 1] = product_tile_in_turns<Dot, MR>;
  if constexpr (MR > 1) fill_in_turns<Dot, MR - 1>(p);
}

}  // namespace
}  // namespace fastconv
