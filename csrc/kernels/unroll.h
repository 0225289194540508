// L2 kernels: unrolls the loop that follows, whole where its count is a constant of at most 16, so
// that arrays of vectors indexed in it become registers.
#pragma once
#define FC_UNROLL _Pragma("GCC unroll 16")
