// L2 micro-kernels: products by weights that are indices into a table of few floats, which vectors
// look up in registers, in the Lookup of simd/codes_<set>.h. Contracts: codebook.h. Called by
// gemm/codebook.cpp.
//
// What counts is how few bytes of weights are read: 4 or 5 bits each, where rows are so few that the
// weights come from memory for each of them. A panel has four vectors of columns: with one row so many
// sums hide an FMA's latency. With more rows a tile may have fewer vectors, and goes through the panel
// as many times, which is then in L2.
#pragma once
#include "kernels/codebook.h"
#include "kernels/product/unpacked_f32.inl.h"
#include "kernels/unroll.h"

namespace fastconv {
namespace {

constexpr int kCodebookVectors = 4;  // of a panel
constexpr dim_t kCodesAhead = 4096;  // bytes of B that are asked for in advance

// The weights of n k, of which a word of each column has the indices.
template <class Lookup, int MR, int NRV>
inline void add_coded(vf (&acc)[MR][NRV], const typename Lookup::Table& table,
                      const float* const (&a)[MR], dim_t k, const uint32_t* b, dim_t n) {
  vi code[NRV];
  FC_UNROLL for (int v = 0; v < NRV; ++v) code[v] =
      viload(reinterpret_cast<const int32_t*>(b + v * W));
  FC_UNROLL for (dim_t j = 0; j < n; ++j) {
    vf row[NRV];
    FC_UNROLL for (int v = 0; v < NRV; ++v) {
      row[v] = Lookup::at(table, code[v]);
      code[v] = vishr<Lookup::kBits>(code[v]);
    }
    FC_UNROLL for (int m = 0; m < MR; ++m) {
      const vf word = vbroadcast(a[m] + k + j);
      FC_UNROLL for (int v = 0; v < NRV; ++v) acc[m][v] = vfma(word, row[v], acc[m][v]);
    }
  }
}

// NRV vectors of columns, from the first of t on.
template <class Lookup, int MR, int NRV>
inline void codebook_columns(const CodebookTile& t) {
  constexpr dim_t kCodes = codes_in_word(Lookup::kBits), kWidth = kCodebookVectors * W;
  const typename Lookup::Table table = Lookup::table(t.table);
  const dim_t whole = t.K / kCodes * kCodes;
  const float* const first = t.a + t.tap_offset[0];
  unpacked_tiles<MR, NRV>(t, first, [&](vf(&acc)[MR][NRV], const float* const(&a)[MR]) {
    const uint32_t* b = t.b;
    for (dim_t k = 0; k < whole; k += kCodes, b += kWidth) {
      FC_UNROLL for (int line = 0; line < NRV * W; line += 16)
          __builtin_prefetch(reinterpret_cast<const char*>(b + line) + kCodesAhead);
      add_coded<Lookup, MR, NRV>(acc, table, a, k, b, kCodes);
    }
    if (whole < t.K) add_coded<Lookup, MR, NRV>(acc, table, a, whole, b, t.K - whole);
  });
}

template <class Lookup, int MR, int NRV>
void codebook_tile(const CodebookTile& t) {
  CodebookTile part = t;
  for (int n = 0; n < t.n_cur; n += NRV * W) {
    part.n_cur = t.n_cur - n < NRV * W ? t.n_cur - n : NRV * W;
    codebook_columns<Lookup, MR, NRV>(part);
    part.b += NRV * W;
    part.c += NRV * W;
    if (part.epilogue.bias) part.epilogue.bias += NRV * W;
    if (part.epilogue.residual) part.epilogue.residual += NRV * W;
  }
}

template <class Lookup, int NRV, int MR>
void fill_codebook_rows(PanelKernels<CodebookTile, kMaxCodebookMR>& panel) {
  panel.ukr[MR - 1] = codebook_tile < Lookup, MR, MR == 1 ? kCodebookVectors : NRV > ;
  if constexpr (MR > 1) fill_codebook_rows<Lookup, NRV, MR - 1>(panel);
}
// MR: rows of a tile; NRV: its vectors, where it has more than one row. lookups: of CodebookTable.
template <template <int> class Lookup, int MR, int NRV, int I = 0>
void fill_codebook(CodebookKernels& kernels, const double (&lookups)[kCodebooks]) {
  static_assert(MR <= kMaxCodebookMR && kCodebookVectors % NRV == 0);
  kernels.width = kCodebookVectors * W;
  CodebookTable& table = kernels.table[I];
  table.lookups = lookups[I];
  table.panel = {};  // the tier below may have had more rows
  table.panel.mr = MR;
  fill_codebook_rows<Lookup<kCodebookBits[I]>, NRV, MR>(table.panel);
  if constexpr (I + 1 < kCodebooks) fill_codebook<Lookup, MR, NRV, I + 1>(kernels, lookups);
}

}  // namespace
}  // namespace fastconv
