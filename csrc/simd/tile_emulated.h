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
// Three that fit each other.
template <int C, int A, int B>
inline TileRegisters& tiles_of_product() {
  tiles_with(A);
  tiles_with(B);
  TileRegisters& r = tiles_with(C);
  const TileShapes& s = r.shapes;
  if (s.rows[C] != s.rows[A] || s.row_bytes[C] != s.row_bytes[B] || s.row_bytes[A] != 4 * s.rows[B])
    __builtin_trap();
  return r;
}
template <int C, int A, int B>
inline void tile_dot_bytes() {
  TileRegisters& r = tiles_of_product<C, A, B>();
  const TileShapes& s = r.shapes;
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

inline float denormal_as_zero(float x) {
  return __builtin_fabsf(x) < __FLT_MIN__ ? __builtin_copysignf(0.0f, x) : x;
}
inline float bf16_at(const uint8_t* p) {
  uint16_t number;
  memcpy(&number, p, sizeof number);
  const uint32_t bits = uint32_t{number} << 16;
  float x;
  memcpy(&x, &bits, sizeof x);
  return denormal_as_zero(x);
}
template <int C, int A, int B>
inline void tile_dot_bf16() {
  TileRegisters& r = tiles_of_product<C, A, B>();
  const TileShapes& s = r.shapes;
  for (int m = 0; m < s.rows[C]; ++m)
    for (int n = 0; n < s.row_bytes[C] / 4; ++n) {
      float of_pair[2] = {};
      for (int k = 0; k < s.rows[B]; ++k)
        for (int i = 0; i < 2; ++i) {
          const float a = bf16_at(r.tile[A][m] + 4 * k + 2 * i),
                      b = bf16_at(r.tile[B][k] + 4 * n + 2 * i);
          of_pair[i] = denormal_as_zero(__builtin_fmaf(a, b, of_pair[i]));
        }
      float sum;
      memcpy(&sum, r.tile[C][m] + 4 * n, sizeof sum);
      const float products = denormal_as_zero(of_pair[0] + of_pair[1]);
      sum = denormal_as_zero(denormal_as_zero(sum) + products);
      memcpy(r.tile[C][m] + 4 * n, &sum, sizeof sum);
    }
}

}  // namespace
}  // namespace fastconv
