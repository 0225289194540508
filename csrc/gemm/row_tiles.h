// L3 gemm: the rows of a panel as register tiles, of f32 and of integers alike. The tile's contract is
// ProductTile in kernels/kernel_table.h.
#pragma once
#include <algorithm>

#include "core/division.h"
#include "kernels/kernel_table.h"

namespace fastconv {

// To the rows below, in what a tile has besides A.
template <class A, class B>
inline void move_c_down(FloatTile<A, B>& t, dim_t rows) noexcept {
  if (t.c_row)
    t.c_row += rows;
  else if (t.c)
    t.c += rows * t.ldc;
  if (t.epilogue.residual && !t.c_row) t.epilogue.residual += rows * t.epilogue.ldr;
  if (t.epilogue.row_bias) t.epilogue.row_bias += rows;
}
inline void move_c_down(Bf16Tile& t, dim_t rows) noexcept {
  if (t.rounded && !t.c_row) t.rounded += rows * t.ldc;
  move_c_down<uint16_t, uint16_t>(t, rows);
}
inline void move_c_down(BinaryTile& t, dim_t rows) noexcept {
  move_c_down<uint32_t, uint32_t>(t, rows);
  if (t.total_row) t.total_row += rows;
}
inline void move_c_down(IntegerTile& t, dim_t rows) noexcept {
  if (t.c_row)
    t.c_row += rows;
  else
    t.c = static_cast<char*>(t.c) + rows * t.ldc * kStoreBytes[static_cast<int>(t.finish.type)];
  for (int i = 0; i < t.finish.terms; ++i) t.finish.term[i].row += rows;
}

// A panel of B as its tiles see it: `words` rows of words, of so many bytes. `following` is the
// panel that comes next, or null.
struct PanelShape {
  dim_t words, row_bytes;
  const void* following;
};

// `tiles` tiles of `rows` rows each; t then stands at the rows below.
template <class Panel, class Tile>
inline void run_tiles(const Panel& panel, Tile& t, dim_t tiles, dim_t rows, dim_t words) {
  if (tiles == 0) return;
  t.rows = rows;
  t.row_tiles = tiles;
  panel.ukr[rows - 1](t);
  const dim_t done = tiles * rows, brought = std::min(tiles, t.next_tiles);
  if (t.a_row)
    t.a_row += done;
  else
    t.a += done * t.lda;
  move_c_down(t, done);
  t.next += brought * words * t.next_per_word;
  t.next_tiles -= brought;
}
// `rows` rows of a panel in as many tiles as those of mr rows would be, but even ones: a last tile
// of one row would have too few sums under way to hide an FMA's latency, and take as long as four.
// t then stands below its rows: a copy of it would wait for the fields that the caller has just set.
//
// The first four tiles bring the panel that follows to L2, because weights in a network come from
// beyond L3. docs/kernels.md has what either is worth.
template <class Panel, class Tile>
inline void run_rows(const Panel& panel, Tile& t, dim_t rows, const PanelShape& b) {
  const dim_t tiles = ceil_div(rows, panel.mr);
  if (tiles == 0) return;
  t.next = static_cast<const char*>(b.following);
  t.next_tiles = b.following ? std::min<dim_t>(tiles, 4) : 0;
  t.next_per_word = t.next_tiles ? ceil_div(b.row_bytes, t.next_tiles) : 0;
  const dim_t least = rows / tiles, longer = rows % tiles;
  run_tiles(panel, t, longer, least + 1, b.words);
  run_tiles(panel, t, tiles - longer, least, b.words);
}

}  // namespace fastconv
