// L3 gemm: the product for callers to whom speed matters more than the order of a sum.
#pragma once
#include "gemm/gemm.h"

namespace fastconv {

// As gemm(), but that one row by a B whose columns are contiguous is sums in interleaved parts: a
// third of the time. Those bits are not the row's among others, which a network promises (an image
// alone and in a batch).
void gemm_dots(const View& a, const View& b, const View* c, const View& out, float alpha,
               float beta, const float* bias, const Activation& activation);

}  // namespace fastconv
