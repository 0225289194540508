// L2 kernels: rows of A that are put together of runs of bytes, for the tiles of product/; the
// contract is that of IntegerKernels in kernel_table.h. Runs are short, and most of their ends are no
// whole piece: the last piece overlaps the one before. And the order of their bytes.
#pragma once
#include <string.h>

#include "kernels/kernel_table.h"

namespace fastconv {
namespace {

// N bytes as numbers of Number. In the compiler's vectors, which the unit's flags make instructions
// of.
template <class Number, int N>
inline void copy_piece(const uint8_t* from, Number* to) {
  typedef uint8_t Bytes __attribute__((vector_size(N)));
  typedef Number Numbers __attribute__((vector_size(N * sizeof(Number))));
  Bytes bytes;
  memcpy(&bytes, from, sizeof bytes);
  const Numbers numbers = __builtin_convertvector(bytes, Numbers);
  memcpy(to, &numbers, sizeof numbers);
}
template <class Number, int N>
inline void copy_pieces(const uint8_t* from, dim_t n, Number* to) {
  for (dim_t k = 0; k < n - N; k += N) copy_piece<Number, N>(from + k, to + k);
  copy_piece<Number, N>(from + n - N, to + n - N);
}

template <class Number>
void copy_runs(const uint8_t* row, const dim_t* run, dim_t runs, dim_t n, void* destination) {
  Number* to = static_cast<Number*>(destination);
  for (dim_t i = 0; i < runs; ++i, to += n) {
    const uint8_t* const from = row + run[i];
    if (n >= 32)
      copy_pieces<Number, 32>(from, n, to);
    else if (n >= 16)
      copy_pieces<Number, 16>(from, n, to);
    else if (n >= 8)
      copy_pieces<Number, 8>(from, n, to);
    else if (n >= 4)
      copy_pieces<Number, 4>(from, n, to);
    else
      for (dim_t k = 0; k < n; ++k) to[k] = from[k];
  }
}

static_assert(kOrderBlock == kBlockBytes);
void permute_rows(const uint8_t* rows, dim_t step, dim_t count, dim_t n, const uint8_t* order,
                  uint8_t* to, dim_t to_step) {
  for (dim_t begin = 0; begin < n; begin += kBlockBytes) {
    const BlockOrder block_order(order + begin);
    const uint8_t* const from = rows + start_of_block(begin, n);
    for (dim_t i = 0; i < count; ++i) block_order.apply(from + i * step, to + i * to_step + begin);
  }
}

inline void fill_runs(IntegerKernels& k) {
  k.copy_runs = copy_runs<uint8_t>;
  k.widen_runs = copy_runs<int16_t>;
  k.permute_rows = permute_rows;
}

}  // namespace
}  // namespace fastconv
