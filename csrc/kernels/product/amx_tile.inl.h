// L2 micro-kernel: the products of tile.inl.h in the tile registers of AMX, in the form `tiles` of
// kernel_table.h, with the same Finish. Two registers of A, of up to 16 rows each, meet two of B, of
// 16 columns each: four of C. Called by gemm/integer.cpp. Start at amx_tile.
//
// A panel is that of the form `bytes`, whose 16 words of 16 columns are what a register of B holds.
#pragma once
#include <string.h>

#include "kernels/kernel_table.h"
#include "kernels/product/finish_integers.inl.h"

namespace fastconv {
namespace {

constexpr int kTileRows = 16;     // of a register
constexpr dim_t kTileBytes = 64;  // of a row of it
constexpr dim_t kWordsOfATile = 16;
constexpr int kAmxRows = 2 * kTileRows;

// Registers: 0 and 1 are the upper rows of C, 2 and 3 the lower ones, by columns; 4 and 5 those of A;
// 6 and 7 the columns of B.
inline TileShapes amx_shapes(int upper, int lower) {
  TileShapes s;
  const int rows[8] = {upper, upper, lower, lower, upper, lower, kTileRows, kTileRows};
  for (int t = 0; t < 8; ++t)
    if (rows[t] > 0) {
      s.rows[t] = static_cast<uint8_t>(rows[t]);
      s.row_bytes[t] = kTileBytes;
    }
  return s;
}

// The sums of one or two vectors of columns, `sums_step` numbers apart by rows.
template <bool two_rows, bool two_columns>
inline void amx_sums(const uint8_t* a, dim_t lda, const char* b, dim_t b_step, dim_t steps,
                     int32_t* sums, dim_t sums_step, const char* next, dim_t next_per_word) {
  tile_zero<0>();
  if constexpr (two_columns) tile_zero<1>();
  if constexpr (two_rows) tile_zero<2>();
  if constexpr (two_rows && two_columns) tile_zero<3>();
  for (dim_t k = 0; k < steps; ++k, a += kTileBytes, b += kWordsOfATile * b_step) {
    for (dim_t i = 0; i < kWordsOfATile; ++i, next += next_per_word) __builtin_prefetch(next, 0, 2);
    tile_load<4>(a, lda);
    tile_load<6>(b, b_step);
    tile_dot<0, 4, 6>();
    if constexpr (two_columns) {
      tile_load<7>(b + kTileBytes, b_step);
      tile_dot<1, 4, 7>();
    }
    if constexpr (two_rows) {
      tile_load<5>(a + kTileRows * lda, lda);
      tile_dot<2, 5, 6>();
      if constexpr (two_columns) tile_dot<3, 5, 7>();
    }
  }
  const dim_t bytes = sums_step * dim_t{sizeof(int32_t)};
  int32_t* const lower = sums + kTileRows * sums_step;
  tile_store<0>(sums, bytes);
  if constexpr (two_columns) tile_store<1>(sums + W, bytes);
  if constexpr (two_rows) tile_store<2>(lower, bytes);
  if constexpr (two_rows && two_columns) tile_store<3>(lower + W, bytes);
}

// Tiles of t.rows rows, one below the other, as in tile.inl.h; a's rows are lda apart.
template <int NRV>
void amx_tile(const IntegerTile& t) {
  static_assert(W == kTileRows);
  const int rows = static_cast<int>(t.rows), upper = rows < kTileRows ? rows : kTileRows;
  const dim_t steps = t.K / kTileBytes, words = steps * kWordsOfATile;
  const uint8_t* a = t.a;
  FinishIntegers::Rows at(t);
  tiles_begin(amx_shapes(upper, rows - upper));
  for (dim_t tile = 0; tile < t.row_tiles; ++tile) {
    alignas(64) int32_t sums[kAmxRows][NRV * W];
    const char* const b = static_cast<const char*>(t.b);
    const char* const next = tile < t.next_tiles ? t.next + tile * words * t.next_per_word : b;
    for (int v = 0; v < NRV; v += 2) {
      const auto run = [&](auto sums_of) {
        sums_of(a, t.lda, b + v * kTileBytes, NRV * kTileBytes, steps, sums[0] + v * W, NRV * W,
                v ? b : next, v ? 0 : t.next_per_word);
      };
      const bool two_columns = v + 1 < NRV;
      if (rows > kTileRows)
        two_columns ? run(amx_sums<true, true>) : run(amx_sums<true, false>);
      else
        two_columns ? run(amx_sums<false, true>) : run(amx_sums<false, false>);
    }
    FinishIntegers::run<NRV>(t, at, rows, sums);
    a += rows * t.lda;
    at.move_down(t, rows);
  }
  tiles_end();
}

// From registers only, as peak_dot.inl.h.
inline double peak_tiles(dim_t steps, float*) noexcept {
  tiles_begin(amx_shapes(kTileRows, kTileRows));
  for (dim_t s = 0; s < steps; ++s) {
    tile_dot<0, 4, 6>();
    tile_dot<1, 4, 7>();
    tile_dot<2, 5, 6>();
    tile_dot<3, 5, 7>();
  }
  tiles_end();
  return 2.0 * 4 * kTileRows * W * kTileBytes * static_cast<double>(steps);
}

inline void fill_tiles(IntegerKernels& k) {
  const IntegerPanel::Ukr of[3] = {amx_tile<1>, amx_tile<2>, amx_tile<3>};
  for (int i = 0; i < 3; ++i) {
    k.tiles[i].mr = kAmxRows;
    for (IntegerPanel::Ukr& ukr : k.tiles[i].ukr) ukr = of[i];
  }
  k.tiles_emulated = kTilesEmulated;
}

}  // namespace
}  // namespace fastconv
