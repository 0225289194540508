// L2 kernels: runs of bytes copied for the tiles of product/tile.inl.h; the contract is that of
// IntegerKernels in kernel_table.h. Runs are short, and most of their ends are no whole vector: the
// last piece overlaps the one before.
#pragma once
#include <string.h>

#include "kernels/kernel_table.h"

namespace fastconv {
namespace {

template <class Piece>
inline void copy_ends(const uint8_t* from, dim_t n, uint8_t* to) {
  Piece first, last;
  memcpy(&first, from, sizeof first);
  memcpy(&last, from + n - sizeof last, sizeof last);
  memcpy(to, &first, sizeof first);
  memcpy(to + n - sizeof last, &last, sizeof last);
}

inline void copy_run(const uint8_t* from, dim_t n, void* destination) {
  uint8_t* const to = static_cast<uint8_t*>(destination);
  if (n > 32)
    memcpy(to, from, static_cast<size_t>(n));
  else if (n >= 16)
    copy_ends<unsigned __int128>(from, n, to);
  else if (n >= 8)
    copy_ends<uint64_t>(from, n, to);
  else if (n >= 4)
    copy_ends<uint32_t>(from, n, to);
  else
    for (dim_t k = 0; k < n; ++k) to[k] = from[k];
}

inline void widen_run(const uint8_t* from, dim_t n, void* destination) {
  constexpr dim_t kPiece = 2 * W;
  int16_t* const to = static_cast<int16_t*>(destination);
  if (n >= kPiece) {
    for (dim_t k = 0; k < n - kPiece; k += kPiece) vsstore(to + k, vswiden(from + k));
    vsstore(to + n - kPiece, vswiden(from + n - kPiece));
  } else {
    for (dim_t k = 0; k < n; ++k) to[k] = from[k];
  }
}

inline void fill_runs(IntegerKernels& k) {
  k.copy_run = copy_run;
  k.widen_run = widen_run;
}

}  // namespace
}  // namespace fastconv
