// L2 kernels: the contract of register tiles of products, a part of kernel_table.h. The kernel is in
// product/tile.inl.h; those of sparse and binary products have the same contract.
#pragma once
#include "core/epilogue.h"
#include "core/types.h"

namespace fastconv {

// Register tiles of `rows` rows, one below the other, of products of any numbers:
//   C[m, n] = finish(sum over taps t, k < K of A_t[m, k] * B[t * K + k, n])
//   A_t[m, k] = a[row(m) + tap_offset[t] + k]
//   row(m)    = a_row[m], or m * lda where a_row is null
// C[m, n] is c[crow(m) + n], with crow(m) = c_row[m], or m * ldc where c_row is null. Only n_cur
// columns of it are touched.
//
// A is read in place: implicit im2col is a choice of row and tap offsets, and nothing is
// materialised. B is one panel of words, each as many neighbouring k of a column as a Dot
// (simd/dot_ref.h) multiplies at once.
template <class AElement, class BElement, class CElement>
struct ProductTile {
  const AElement* a;
  const dim_t* a_row;
  dim_t lda;
  const dim_t* tap_offset;
  dim_t taps;
  dim_t K;
  const BElement* b;
  CElement* c;
  const dim_t* c_row;
  dim_t ldc;
  int n_cur;
  dim_t rows, row_tiles = 1;
  // What the caller reads soon: each of the first next_tiles brings to L2, for each row of words,
  // the cache line that is next_per_word bytes further on, from `next` on.
  const char* next;
  dim_t next_per_word = 0, next_tiles = 0;
};
// For panels of one width: register tiles of 1 to mr rows.
template <class Tile, int kMaxRows>
struct PanelKernels {
  using Ukr = void (*)(const Tile&);
  int mr = 0;
  Ukr ukr[kMaxRows] = {};  // [rows - 1]
};

// Those whose C is f32, finished by
//   C[m, n] = act(alpha * sum + bias[n] + row_bias[m] + residual_scale * residual[m, n])
// With accumulate, the tile adds to what C holds.
template <class AElement, class BElement>
struct FloatTile : ProductTile<AElement, BElement, float> {
  float alpha = 1.0f;
  bool accumulate = false;
  Epilogue epilogue;  // bias, row_bias and residual point at this tile's first row and column
};

}  // namespace fastconv
