// L1 simd: the tile registers of AMX, eight of 16 rows x 64 bytes, of a process that has asked for
// them (core/tiles.h); tile_emulated.h has the same names without them.
//
// Assembly, and not the compiler's intrinsics: these paste their argument into the instruction, so
// that a template's parameter is no register, and say nothing of the memory that they touch.
#pragma once
#include "core/types.h"
#include "simd/tile_shapes.h"

namespace fastconv {
namespace {

constexpr bool kTilesEmulated = false;

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
inline void tile_dot_bytes() {
  __asm__ volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
}
// c[m][n] += sum over k of a[m][2 k] * b[k][2 n] + sum over k of a[m][2 k + 1] * b[k][2 n + 1], of
// bf16 and sums of f32. Denormals, of what is multiplied and of the sums, count as zeros.
template <int C, int A, int B>
inline void tile_dot_bf16() {
  __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
}

}  // namespace
}  // namespace fastconv
