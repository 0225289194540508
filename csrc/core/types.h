// L0 core: the integer and enum types every layer shares. Plain data only: ISA translation units
// include this file.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace fastconv {

using dim_t = int64_t;  // sizes, strides and offsets, in elements unless a name says bytes

constexpr int kMaxRank = 6;     // logical rank of any tensor that a kernel sees
constexpr int kAlignment = 64;  // every buffer of ours starts on a cache line

}  // namespace fastconv
