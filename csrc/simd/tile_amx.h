// L1 simd: the tile registers of AMX, eight of 16 rows x 64 bytes; tile_emulated.h has the same
// names without them.
//
// Assembly, and not the compiler's intrinsics: these paste their argument into the instruction, so
// that a template's parameter is no register, and say nothing of the memory that they touch.
#pragma once
#include "core/tiles.h"
#include "core/types.h"

namespace fastconv {
namespace {

// How many rows a tile has, and how many bytes a row; of none there are no rows.
struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

// Whether this process may use them: it has to ask, once.
inline bool tiles_usable() { return cpu_permits_tiles(); }

// Zeroes all tiles.
inline void tiles_begin(const TileShapes& shapes) {
  __asm__ volatile("ldtilecfg %0" : : "m"(shapes) : "memory");
}
// After it a switch of contexts has nothing to save.
inline void tiles_end() { __asm__ volatile("tilerelease" : : : "memory"); }

template <int T>
inline void tile_zero() {
  __asm__ volatile("tilezero %%tmm%c0" : : "i"(T));
}
// Rows `step` bytes apart.
template <int T>
inline void tile_load(const void* p, dim_t step) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(p), "r"(step), "i"(T) : "memory");
}
template <int T>
inline void tile_store(void* p, dim_t step) {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(p), "r"(step), "i"(T) : "memory");
}
// c[m][n] += a[m][4 k + i] * b[k][4 n + i], a of u8, b of s8, sums of 32 bits, over all k and i < 4.
template <int C, int A, int B>
inline void tile_dot() {
  __asm__ volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
}

}  // namespace
}  // namespace fastconv
