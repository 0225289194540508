// L2 kernels: the contracts of products by weights that are indices into a table, a codebook, which
// are a part of kernel_table.h. The kernels are in codebook.inl.h.
#pragma once
#include "core/types.h"
#include "kernels/product_tile.h"

namespace fastconv {

// An index has so many bits. A word has those of as many neighbouring k of a column as fit, the first
// one lowest.
constexpr int kCodebooks = 2, kCodebookBits[kCodebooks] = {4, 5};
constexpr dim_t codes_in_word(int bits) { return 32 / bits; }

// Register tiles of
//   C[m, n] = act(sum over k < K of A[m, k] * table[code(k, n)] + bias[n] + ...)
// B is [words][width], for all of K. Each sum is over ascending k from 0 by FMAs, as that of a
// GemmTile: the bits are those of the product by the weights themselves. There is one tap, and
// neither alpha nor accumulate is read.
struct CodebookTile : FloatTile<float, uint32_t> {
  const float* table;  // [1 << bits]
};
constexpr int kMaxCodebookMR = 4;

struct CodebookTable {
  // Weights that a cycle looks up, or 0 where this is slower than to read the floats.
  double lookups = 0;
  PanelKernels<CodebookTile, kMaxCodebookMR> panel;
};
struct CodebookKernels {
  int width = 0;  // of a panel
  CodebookTable table[kCodebooks];
};

}  // namespace fastconv
