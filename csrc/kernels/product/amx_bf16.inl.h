// L2 micro-kernel: products of bf16 in the tile registers of AMX, by the contract of Bf16Tile in
// kernel_table.h, with the Finish of f32. Called by gemm/multiply.cpp.
//
// A register is loaded from rows that lie equally far apart. Those of an image do, but where a run of
// them goes on in the next row of the image: such rows are copied, a register at a time.
#pragma once
#include "kernels/product/amx_tile.inl.h"
#include "kernels/product/finish_f32.inl.h"

namespace fastconv {
namespace {

struct AmxBf16 {
  using Sum = float;
  static constexpr int kBytes = 2;
  template <int C, int A, int B>
  static void dot() {
    tile_dot_bf16<C, A, B>();
  }
};
constexpr dim_t kTileNumbers = kTileBytes / AmxBf16::kBytes;

// The rows of a tile; `row` is null where all of A's are `lda` numbers apart.
class Bf16Rows {
 public:
  Bf16Rows(const Bf16Tile& t, const uint16_t* first, const dim_t* row, int rows)
      : tap_offset_(t.tap_offset) {
    for (int half = 0; half < 2; ++half) {
      const int begin = half * kTileRows, left = rows - begin;
      Half& h = half_[half];
      h.rows = left < 0 ? 0 : left < kTileRows ? left : kTileRows;
      h.first = first + (row ? 0 : begin * t.lda);
      h.row = row ? row + begin : nullptr;
      h.step = t.lda;
      h.even = true;
      if (row && h.rows > 0) {
        h.first = first + h.row[0];
        h.step = h.rows > 1 ? h.row[1] - h.row[0] : 0;
        for (int m = 2; m < h.rows; ++m) h.even &= h.row[m] - h.row[m - 1] == h.step;
      }
    }
  }

  template <int T>
  void load(int half, dim_t tap, dim_t step) const {
    const Half& h = half_[half];
    const uint16_t* const from = h.first + tap_offset_[tap] + step * kTileNumbers;
    if (h.even) return tile_load<T>(from, h.step * AmxBf16::kBytes);
    alignas(64) uint16_t copy[kTileRows][kTileNumbers];
    for (int m = 0; m < h.rows; ++m) memcpy(copy[m], from + (h.row[m] - h.row[0]), kTileBytes);
    tile_load<T>(copy, kTileBytes);
  }

 private:
  struct Half {
    const uint16_t* first;  // number of the first row
    const dim_t* row;
    dim_t step;  // numbers between rows, where all of them are even
    int rows;
    bool even;
  };
  const dim_t* tap_offset_;
  Half half_[2];
};

// Tiles of t.rows rows, one below the other, as in tile.inl.h.
template <int NRV>
void amx_bf16_tile(const Bf16Tile& t) {
  const int rows = static_cast<int>(t.rows), upper = rows < kTileRows ? rows : kTileRows;
  const dim_t steps = t.K / kTileNumbers, words = t.taps * steps * kWordsOfATile;
  const AmxPanel panel = {reinterpret_cast<const char*>(t.b), t.ldb * kWordBytes, t.taps, steps};
  const uint16_t* first = t.a;
  const dim_t* row = t.a_row;
  FinishBf16<1, NRV> finish(t);
  tiles_begin(amx_shapes(upper, rows - upper));
  for (dim_t tile = 0; tile < t.row_tiles; ++tile) {
    alignas(64) float sums[kAmxRows][NRV * W];
    const char* const next =
        tile < t.next_tiles ? t.next + tile * words * t.next_per_word : panel.b;
    amx_panel<AmxBf16, NRV>(Bf16Rows(t, first, row, rows), rows, panel, sums, next,
                            t.next_per_word);
    for (int m = 0; m < rows; ++m) {
      vf acc[1][NRV];
      for (int v = 0; v < NRV; ++v) acc[0][v] = vload(sums[m] + v * W);
      finish.begin();
      finish.end(acc, tile + 1 == t.row_tiles && m + 1 == rows);
    }
    if (row)
      row += rows;
    else
      first += rows * t.lda;
  }
  tiles_end();
}

// `other`: the kernels of bf16 of the same processor, without tile registers.
inline void fill_bf16_tiles(Bf16Kernels& k, const Bf16Kernels& other) {
  const Bf16Panel::Ukr of[3] = {amx_bf16_tile<1>, amx_bf16_tile<2>, amx_bf16_tile<3>};
  k.mr = kAmxRows;
  k.nr = 2 * W;
  k.depth = static_cast<int>(kTileNumbers);
  k.round = other.round;
  for (int i = 0; i < 3; ++i) {
    k.panels[i].mr = kAmxRows;
    for (Bf16Panel::Ukr& ukr : k.panels[i].ukr) ukr = of[i];
  }
  k.emulated = kTilesEmulated;
}

}  // namespace
}  // namespace fastconv
