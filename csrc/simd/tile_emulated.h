// L1 simd: the tile registers of AMX in plain C++, for tests on processors without them: the names of
// tile_amx.h. What the hardware refuses traps here too: a tile without a shape, shapes that do not
// fit each other, and any instruction before tiles_begin().
#pragma once
#include <string.h>

#include "core/types.h"
#include "simd/tile_shapes.h"

namespace fastconv {
namespace {

constexpr bool kTilesEmulated = true;

struct TileRegisters {
  bool begun = false;
  TileShapes shapes;
  uint8_t tile[8][16][64];
};
inline TileRegisters& tile_registers() {
  static thread_local TileRegisters registers;
  return registers;
}
// What is there of a tile that has a shape.
inline TileRegisters& tiles_with(int t) {
  TileRegisters& r = tile_registers();
  if (!r.begun || r.shapes.rows[t] == 0 || r.shapes.rows[t] > 16 || r.shapes.row_bytes[t] == 0 ||
      r.shapes.row_bytes[t] > 64)
    __builtin_trap();
  return r;
}

inline void tiles_begin(const TileShapes& shapes) {
  TileRegisters& r = tile_registers();
  r.begun = true;
  r.shapes = shapes;
  memset(r.tile, 0, sizeof r.tile);
}
inline void tiles_end() { tile_registers().begun = false; }

template <int T>
inline void tile_zero() {
  TileRegisters& r = tiles_with(T);
  memset(r.tile[T], 0, sizeof r.tile[T]);
}
template <int T>
inline void tile_load(const void* p, dim_t step) {
  TileRegisters& r = tiles_with(T);
  memset(r.tile[T], 0, sizeof r.tile[T]);
  for (dim_t m = 0; m < r.shapes.rows[T]; ++m)
    memcpy(r.tile[T][m], static_cast<const char*>(p) + m * step, r.shapes.row_bytes[T]);
}
template <int T>
inline void tile_store(void* p, dim_t step) {
  const TileRegisters& r = tiles_with(T);
  for (dim_t m = 0; m < r.shapes.rows[T]; ++m)
    memcpy(static_cast<char*>(p) + m * step, r.tile[T][m], r.shapes.row_bytes[T]);
}
template <int C, int A, int B>
inline void tile_dot() {
  tiles_with(A);
  tiles_with(B);
  TileRegisters& r = tiles_with(C);
  const TileShapes& s = r.shapes;
  if (s.rows[C] != s.rows[A] || s.row_bytes[C] != s.row_bytes[B] || s.row_bytes[A] != 4 * s.rows[B])
    __builtin_trap();
  for (int m = 0; m < s.rows[C]; ++m)
    for (int n = 0; n < s.row_bytes[C] / 4; ++n) {
      uint32_t sum;
      memcpy(&sum, r.tile[C][m] + 4 * n, sizeof sum);
      for (int k = 0; k < s.rows[B]; ++k)
        for (int i = 0; i < 4; ++i)
          sum += static_cast<uint32_t>(r.tile[A][m][4 * k + i] *
                                       static_cast<int8_t>(r.tile[B][k][4 * n + i]));
      memcpy(r.tile[C][m] + 4 * n, &sum, sizeof sum);
    }
}

}  // namespace
}  // namespace fastconv
