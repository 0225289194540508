// L2 micro-kernel: products of bytes in the tile registers of AMX, in the form `tiles` of
// IntegerTile in kernel_table.h, with the Finish of the other tiers. Called by gemm/integer.cpp.
#pragma once
#include "kernels/product/amx_tile.inl.h"
#include "kernels/product/finish_integers.inl.h"

namespace fastconv {
namespace {

struct AmxBytes {
  using Sum = int32_t;
  static constexpr int kBytes = 1;
  template <int C, int A, int B>
  static void dot() {
    tile_dot_bytes<C, A, B>();
  }
};

// Rows that lie equally far apart.
struct ByteRows {
  const uint8_t* first;
  dim_t lda;

  template <int T>
  void load(int half, dim_t, dim_t step) const {
    tile_load<T>(first + half * kTileRows * lda + step * kTileBytes, lda);
  }
};

// Tiles of t.rows rows, one below the other, as in tile.inl.h.
template <int NRV>
void amx_integer_tile(const IntegerTile& t) {
  const int rows = static_cast<int>(t.rows), upper = rows < kTileRows ? rows : kTileRows;
  const dim_t steps = t.K / kTileBytes, words = steps * kWordsOfATile;
  const AmxPanel panel = {static_cast<const char*>(t.b), NRV * kTileBytes, 1, steps};
  ByteRows a = {t.a, t.lda};
  FinishIntegers::Rows at(t);
  tiles_begin(amx_shapes(upper, rows - upper));
  for (dim_t tile = 0; tile < t.row_tiles; ++tile, a.first += rows * t.lda) {
    alignas(64) int32_t sums[kAmxRows][NRV * W];
    const char* const next =
        tile < t.next_tiles ? t.next + tile * words * t.next_per_word : panel.b;
    amx_panel<AmxBytes, NRV>(a, rows, panel, sums, next, t.next_per_word);
    FinishIntegers::run<NRV>(t, at, rows, sums);
    at.move_down(t, rows);
  }
  tiles_end();
}

inline void fill_tiles(IntegerKernels& k) {
  const IntegerPanel::Ukr of[3] = {amx_integer_tile<1>, amx_integer_tile<2>, amx_integer_tile<3>};
  for (int i = 0; i < 3; ++i) {
    k.tiles[i].mr = kAmxRows;
    for (IntegerPanel::Ukr& ukr : k.tiles[i].ukr) ukr = of[i];
  }
  k.tiles_emulated = kTilesEmulated;
}

}  // namespace
}  // namespace fastconv
