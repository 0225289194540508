// L2 kernels: register tiles of f32, one below the other, whose B is not a panel of floats: weights
// without zeros, or looked up in a table. What tile.inl.h is for the panels of a Dot. The contract is
// ProductTile in kernel_table.h; called by sparse_f32.inl.h and codebook.inl.h.
#pragma once
#include "kernels/product/finish_f32.inl.h"
#include "kernels/unroll.h"

namespace fastconv {
namespace {

// add(acc, a) adds the products of a tile, whose rows of A begin at a[m], to its sums.
template <int MR, int NRV, class Tile, class Add>
inline void unpacked_tiles(const Tile& t, const float* first, Add add) {
  const dim_t* a_row = t.a_row;
  FinishTile<Tile, MR, NRV> finish(t);
  for (dim_t tile = 0; tile < t.row_tiles; ++tile) {
    vf acc[MR][NRV];
    FC_UNROLL for (int m = 0; m < MR; ++m) FC_UNROLL for (int v = 0; v < NRV; ++v) acc[m][v] =
        vzero();
    const float* a[MR];
    FC_UNROLL for (int m = 0; m < MR; ++m) a[m] = first + (a_row ? a_row[m] : m * t.lda);
    finish.begin();

    add(acc, a);
    // A copy: were acc itself given away, compilers would store it after every k, lest a load sees it.
    vf sums[MR][NRV];
    FC_UNROLL for (int m = 0; m < MR; ++m) FC_UNROLL for (int v = 0; v < NRV; ++v) sums[m][v] =
        acc[m][v];
    finish.end(sums, tile + 1 == t.row_tiles);

    if (a_row)
      a_row += MR;
    else
      first += MR * t.lda;
  }
}

}  // namespace
}  // namespace fastconv
