// L0 core: the integer and enum types every layer shares. Plain data only: ISA translation units
// include this file.
#pragma once
#include <stddef.h>
#include <stdint.h>

// For functions of headers that ISA translation units include. One that was compiled and not inlined
// would have a tier's instructions and could be the copy that the whole library calls.
#define FC_INLINE [[gnu::always_inline]] inline

namespace fastconv {

using dim_t = int64_t;  // sizes, strides and offsets, in elements unless a name says bytes

constexpr int kMaxRank = 6;     // logical rank of any tensor that a kernel sees
constexpr int kAlignment = 64;  // every buffer of ours starts on a cache line

}  // namespace fastconv
