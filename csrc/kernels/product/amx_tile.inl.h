// L2 micro-kernel: the sums of tile.inl.h in the tile registers of AMX. Two registers of A, of up to
// 16 rows each, meet two of B, of 16 columns each: four of C. Called by the tiles of
// amx_integers.inl.h and amx_bf16.inl.h, which say what is multiplied and what becomes of the sums.
// Start at amx_panel.
//
// A panel is that of the other tiers, whose 16 words of 16 columns are what a register of B holds.
#pragma once
#include <string.h>

#include "kernels/kernel_table.h"

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

// A panel of B, of `taps` times `steps` registers of words.
struct AmxPanel {
  const char* b;
  dim_t b_step;  // bytes between rows of words
  dim_t taps, steps;
};

// The sums of one or two vectors of columns, `sums_step` numbers apart by rows. a.load<T>(half, tap,
// step) loads the rows of A's upper (0) or lower half.
template <class Numbers, bool two_rows, bool two_columns, class Rows>
inline void amx_sums(const Rows& a, const AmxPanel& panel, typename Numbers::Sum* sums,
                     dim_t sums_step, const char* next, dim_t next_per_word) {
  tile_zero<0>();
  if constexpr (two_columns) tile_zero<1>();
  if constexpr (two_rows) tile_zero<2>();
  if constexpr (two_rows && two_columns) tile_zero<3>();
  const char* b = panel.b;
  for (dim_t tap = 0; tap < panel.taps; ++tap)
    for (dim_t step = 0; step < panel.steps; ++step, b += kWordsOfATile * panel.b_step) {
      for (dim_t i = 0; i < kWordsOfATile; ++i, next += next_per_word)
        __builtin_prefetch(next, 0, 2);
      a.template load<4>(0, tap, step);
      tile_load<6>(b, panel.b_step);
      Numbers::template dot<0, 4, 6>();
      if constexpr (two_columns) {
        tile_load<7>(b + kTileBytes, panel.b_step);
        Numbers::template dot<1, 4, 7>();
      }
      if constexpr (two_rows) {
        a.template load<5>(1, tap, step);
        Numbers::template dot<2, 5, 6>();
        if constexpr (two_columns) Numbers::template dot<3, 5, 7>();
      }
    }
  const dim_t bytes = sums_step * dim_t{sizeof *sums};
  typename Numbers::Sum* const lower = sums + kTileRows * sums_step;
  tile_store<0>(sums, bytes);
  if constexpr (two_columns) tile_store<1>(sums + W, bytes);
  if constexpr (two_rows) tile_store<2>(lower, bytes);
  if constexpr (two_rows && two_columns) tile_store<3>(lower + W, bytes);
}

// The sums of `rows` rows and all columns of a panel.
template <class Numbers, int NRV, class Rows>
inline void amx_panel(const Rows& a, int rows, AmxPanel panel,
                      typename Numbers::Sum (&sums)[kAmxRows][NRV * W], const char* next,
                      dim_t next_per_word) {
  static_assert(W == kTileRows);
  const char* const b = panel.b;
  for (int v = 0; v < NRV; v += 2) {
    panel.b = b + v * kTileBytes;
    const auto run = [&](auto sums_of) {
      sums_of(a, panel, sums[0] + v * W, NRV * W, v ? b : next, v ? 0 : next_per_word);
    };
    const bool two_columns = v + 1 < NRV;
    if (rows > kTileRows)
      two_columns ? run(amx_sums<Numbers, true, true, Rows>)
                  : run(amx_sums<Numbers, true, false, Rows>);
    else
      two_columns ? run(amx_sums<Numbers, false, true, Rows>)
                  : run(amx_sums<Numbers, false, false, Rows>);
  }
}

// From registers only, as peak_dot.inl.h.
template <class Numbers>
double peak_tiles(dim_t steps, float*) noexcept {
  tiles_begin(amx_shapes(kTileRows, kTileRows));
  for (dim_t s = 0; s < steps; ++s) {
    Numbers::template dot<0, 4, 6>();
    Numbers::template dot<1, 4, 7>();
    Numbers::template dot<2, 5, 6>();
    Numbers::template dot<3, 5, 7>();
  }
  tiles_end();
  return 2.0 * 4 * kTileRows * W * kTileBytes / Numbers::kBytes * static_cast<double>(steps);
}

}  // namespace
}  // namespace fastconv
