// L4 coding: arrays of few distinct values, as a compiled model's file may hold them. Each value is
// an index into a codebook, written in canonical Huffman codes; docs/format.md specifies the bytes.
// What is decoded may come from anyone: no length in it is believed, and no byte outside it is read.
#pragma once
#include <span>

#include "core/types.h"

namespace fastconv {

inline constexpr int kCodeBits = 12;             // of the longest code
inline constexpr dim_t kStreamValues = 1 << 14;  // of an array in one stream of bits
inline constexpr int kMaxSymbols = 256;          // of a codebook, and of the gaps

struct CodedArray {
  std::span<const uint8_t> bytes;  // codebook, lengths of codes, sizes of streams, streams
  int entries;                     // of the codebook
  int gaps;                        // symbols of the gaps between values that are not 0; 0: none
};

// Writes the `count` values of an array to `out`; they have `size` bytes each, 1, 2 or 4. Streams are
// decoded side by side on the threads of the call. ArgumentError where the bytes are not exactly those
// of such an array.
void decode(const CodedArray& coded, void* out, dim_t count, int size);

}  // namespace fastconv
