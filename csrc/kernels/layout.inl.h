// L2 kernels: the transpose of a strided f32 matrix. Called by nn/layout.cpp for NCHW <-> NHWC and
// by what stages through it.
//   dst[j * ldd + i] = src[i * lds + j],  i < rows, j < cols
// Contract: LayoutKernels in kernel_table.h; src and dst do not overlap.
//
// W x W blocks are transposed in registers: 24 shuffles per 64 elements on AVX2, so memory is the
// bound. A last partial block is moved back to overlap its neighbour, which writes some elements
// twice, equal, and needs no mask (masked stores take 12 cycles on Zen 3). Columns go in tiles of
// kLine floats, so that a cache line of src is used up in one visit even where row strides of 4 KiB
// leave it only a few ways of L1. Up to four rows or columns that lie side by side on the other
// side, images of 3 channels and the channel shuffles of two to four groups, are loops over a
// constant that the compiler turns into permutations (2 x 58 channels at 28 px: 113 to 17 us).
#pragma once
#include "kernels/kernel_table.h"

namespace fastconv {
namespace {

constexpr dim_t kLine = 16;  // floats of a cache line

inline void transpose_block(const float* src, dim_t lds, float* dst, dim_t ldd) {
  vf r[W];
  for (int i = 0; i < W; ++i) r[i] = vload(src + i * lds);
  vtranspose(r);
  for (int j = 0; j < W; ++j) vstore(dst + j * ldd, r[j]);
}

// R rows of any length become one, element by element, and back.
template <int R>
inline void interleave(dim_t cols, const float* src, dim_t lds, float* dst) {
  for (dim_t j = 0; j < cols; ++j)
    for (int i = 0; i < R; ++i) dst[j * R + i] = src[i * lds + j];
}
template <int C>
inline void deinterleave(dim_t rows, const float* src, float* dst, dim_t ldd) {
  for (dim_t i = 0; i < rows; ++i)
    for (int j = 0; j < C; ++j) dst[j * ldd + i] = src[i * C + j];
}
inline void interleave_rows(dim_t n, dim_t cols, const float* src, dim_t lds, float* dst) {
  if (n == 2) return interleave<2>(cols, src, lds, dst);
  if (n == 3) return interleave<3>(cols, src, lds, dst);
  if (n == 4) return interleave<4>(cols, src, lds, dst);
  interleave<1>(cols, src, lds, dst);
}
inline void deinterleave_columns(dim_t n, dim_t rows, const float* src, float* dst, dim_t ldd) {
  if (n == 2) return deinterleave<2>(rows, src, dst, ldd);
  if (n == 3) return deinterleave<3>(rows, src, dst, ldd);
  if (n == 4) return deinterleave<4>(rows, src, dst, ldd);
  deinterleave<1>(rows, src, dst, ldd);
}

void transpose(dim_t rows, dim_t cols, const float* src, dim_t lds, float* dst, dim_t ldd) {
  if (rows == ldd && rows <= 4) return interleave_rows(rows, cols, src, lds, dst);
  if (cols == lds && cols <= 4) return deinterleave_columns(cols, rows, src, dst, ldd);
  if (rows < W || cols < W) {
    const bool by_rows = rows < cols;
    const dim_t outer = by_rows ? rows : cols, inner = by_rows ? cols : rows;
    for (dim_t a = 0; a < inner; ++a)
      for (dim_t b = 0; b < outer; ++b) {
        const dim_t i = by_rows ? b : a, j = by_rows ? a : b;
        dst[j * ldd + i] = src[i * lds + j];
      }
    return;
  }
  for (dim_t tile = 0; tile < cols; tile += kLine) {
    const dim_t tile_end = tile + kLine < cols ? tile + kLine : cols;
    for (dim_t i = 0; i < rows; i += W) {
      const dim_t i0 = i + W <= rows ? i : rows - W;
      for (dim_t j = tile; j < tile_end; j += W) {
        const dim_t j0 = j + W <= cols ? j : cols - W;
        transpose_block(src + i0 * lds + j0, lds, dst + j0 * ldd + i0, ldd);
      }
    }
  }
}

}  // namespace
}  // namespace fastconv
