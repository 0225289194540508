// L2 kernels: the transpose of a strided matrix, of f32 or of bytes. Called by nn/layout.cpp for
// NCHW <-> NHWC and by what stages through it.
//   dst[j * ldd + i] = src[i * lds + j],  i < rows, j < cols
// Contract: LayoutKernels in kernel_table.h; src and dst do not overlap.
//
// W x W blocks are transposed in registers: 24 shuffles per 64 elements on AVX2, so memory is the
// bound. A last partial block is moved back to overlap its neighbour, which writes some elements
// twice, equal, and needs no mask, for a masked store is slow on AVX2. Masks are left for what has
// fewer rows or columns than a block (transpose_narrow). Columns go in tiles of a
// cache line, so that a line of src is used up in one visit even where row strides of 4 KiB leave
// it only a few ways of L1.
//
// Rows of dst that lie multiples of 2 KiB apart, as planes of 224 x 224 or 256 x 256 floats do, share one
// or two sets of L1. Stores to a tile's sixteen rows in turn would evict each other's lines before they
// are written, so such rows are made in L1 and copied, a long run of one after another.
//
// Up to four rows, or columns, that lie side by side in the other array are loops over a constant,
// which the compiler turns into permutations: images of 3 channels are such, and the channel
// shuffles of two to four groups.
#pragma once
#include <string.h>

#include "kernels/epilogue.inl.h"
#include "kernels/kernel_table.h"
#include "kernels/unroll.h"

namespace fastconv {
namespace {

inline void transpose_block(const float* src, dim_t lds, float* dst, dim_t ldd) {
  vf r[W];
  for (int i = 0; i < W; ++i) r[i] = vload(src + i * lds);
  vtranspose(r);
  for (int j = 0; j < W; ++j) vstore(dst + j * ldd, r[j]);
}

// 16 x 16 bytes. Each of four rounds interleaves rows i and i + 8: the eight bits of an element's
// row and column turn by one, so that four rounds exchange the two. The compiler's own vectors have
// the instruction for it on every tier.
typedef uint8_t sixteen_bytes __attribute__((vector_size(16)));
#if defined(__clang__)
#define FC_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define FC_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, sixteen_bytes{__VA_ARGS__})
#endif

inline void transpose_block(const uint8_t* src, dim_t lds, uint8_t* dst, dim_t ldd) {
  sixteen_bytes r[16], t[16];
  for (int i = 0; i < 16; ++i) memcpy(&r[i], src + i * lds, 16);
  for (int round = 0; round < 4; ++round) {
    for (int i = 0; i < 8; ++i) {
      t[2 * i] = FC_SHUFFLE(r[i], r[i + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      t[2 * i + 1] =
          FC_SHUFFLE(r[i], r[i + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    }
    for (int i = 0; i < 16; ++i) r[i] = t[i];
  }
  for (int j = 0; j < 16; ++j) memcpy(dst + j * ldd, &r[j], 16);
}
#undef FC_SHUFFLE

// R rows of any length become one, element by element, and back.
template <int R, class T>
inline void interleave(dim_t cols, const T* src, dim_t lds, T* dst) {
  for (dim_t j = 0; j < cols; ++j)
    for (int i = 0; i < R; ++i) dst[j * R + i] = src[i * lds + j];
}
template <int C, class T>
inline void deinterleave(dim_t rows, const T* src, T* dst, dim_t ldd) {
  for (dim_t i = 0; i < rows; ++i)
    for (int j = 0; j < C; ++j) dst[j * ldd + i] = src[i * C + j];
}
template <class T>
inline void interleave_rows(dim_t n, dim_t cols, const T* src, dim_t lds, T* dst) {
  if (n == 2) return interleave<2>(cols, src, lds, dst);
  if (n == 3) return interleave<3>(cols, src, lds, dst);
  if (n == 4) return interleave<4>(cols, src, lds, dst);
  interleave<1>(cols, src, lds, dst);
}
template <class T>
inline void deinterleave_columns(dim_t n, dim_t rows, const T* src, T* dst, dim_t ldd) {
  if (n == 2) return deinterleave<2>(rows, src, dst, ldd);
  if (n == 3) return deinterleave<3>(rows, src, dst, ldd);
  if (n == 4) return deinterleave<4>(rows, src, dst, ldd);
  deinterleave<1>(rows, src, dst, ldd);
}

// Fewer rows or columns than a block has.
void transpose_narrow(dim_t rows, dim_t cols, const float* src, dim_t lds, float* dst, dim_t ldd) {
  for (dim_t i = 0; i < rows; i += W)
    for (dim_t j = 0; j < cols; j += W) {
      const int height = static_cast<int>(rows - i < W ? rows - i : W);
      const int width = static_cast<int>(cols - j < W ? cols - j : W);
      vf r[W];
      FC_UNROLL for (int k = 0; k < W; ++k) {
        r[k] = k < height ? load(src + (i + k) * lds + j, width) : vzero();
      }
      vtranspose(r);
      FC_UNROLL for (int k = 0; k < W; ++k) {
        if (k < width) store(dst + (j + k) * ldd + i, r[k], height);
      }
    }
}
void transpose_narrow(dim_t rows, dim_t cols, const uint8_t* src, dim_t lds, uint8_t* dst,
                      dim_t ldd) {
  const bool by_rows = rows < cols;
  const dim_t outer = by_rows ? rows : cols, inner = by_rows ? cols : rows;
  for (dim_t a = 0; a < inner; ++a)
    for (dim_t b = 0; b < outer; ++b) {
      const dim_t i = by_rows ? b : a, j = by_rows ? a : b;
      dst[j * ldd + i] = src[i * lds + j];
    }
}

template <int N, class T>
inline void transpose_by(dim_t rows, dim_t cols, const T* src, dim_t lds, T* dst, dim_t ldd);

template <int N, class T>
void transpose_in_runs(dim_t rows, dim_t cols, const T* src, dim_t lds, T* dst, dim_t ldd) {
  constexpr dim_t kLine = 64 / sizeof(T), kRun = 256, kStep = kRun + kLine;
  alignas(64) T runs[kLine * kStep];
  for (dim_t tile = 0; tile < cols; tile += kLine) {
    const dim_t width = tile + kLine < cols ? kLine : cols - tile;
    for (dim_t i = 0; i < rows; i += kRun) {
      const dim_t n = i + kRun < rows ? kRun : rows - i;
      transpose_by<N>(n, width, src + i * lds + tile, lds, runs, kStep);
      for (dim_t j = 0; j < width; ++j)
        memcpy(dst + (tile + j) * ldd + i, runs + j * kStep, static_cast<size_t>(n) * sizeof(T));
    }
  }
}

// In blocks of N x N.
template <int N, class T>
inline void transpose_by(dim_t rows, dim_t cols, const T* src, dim_t lds, T* dst, dim_t ldd) {
  constexpr dim_t kLine = 64 / sizeof(T);  // elements of a cache line
  if (rows == ldd && rows <= 4) return interleave_rows(rows, cols, src, lds, dst);
  if (cols == lds && cols <= 4) return deinterleave_columns(cols, rows, src, dst, ldd);
  if (rows < N || cols < N) return transpose_narrow(rows, cols, src, lds, dst, ldd);
  if (ldd * dim_t{sizeof(T)} % 2048 == 0 && rows >= 64)
    return transpose_in_runs<N>(rows, cols, src, lds, dst, ldd);
  for (dim_t tile = 0; tile < cols; tile += kLine) {
    const dim_t tile_end = tile + kLine < cols ? tile + kLine : cols;
    for (dim_t i = 0; i < rows; i += N) {
      const dim_t i0 = i + N <= rows ? i : rows - N;
      for (dim_t j = tile; j < tile_end; j += N) {
        const dim_t j0 = j + N <= cols ? j : cols - N;
        transpose_block(src + i0 * lds + j0, lds, dst + j0 * ldd + i0, ldd);
      }
    }
  }
}

void transpose(dim_t rows, dim_t cols, const float* src, dim_t lds, float* dst, dim_t ldd) {
  transpose_by<W>(rows, cols, src, lds, dst, ldd);
}

void transpose_bytes(dim_t rows, dim_t cols, const uint8_t* src, dim_t lds, uint8_t* dst,
                     dim_t ldd) {
  transpose_by<16>(rows, cols, src, lds, dst, ldd);
}

}  // namespace
}  // namespace fastconv
