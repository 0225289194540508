// L4 conv: every convolution with whole channels per group as a matrix product, A read in place
// (implicit) or from a materialised matrix of patches (im2col). A transposed convolution is
// stride^2 of them: output pixels of one phase (position modulo stride) see a fixed subset of the
// taps, as an ordinary convolution of stride 1 over the input; none of the zeros of the textbook
// upsampling is ever multiplied. Used by algo_implicit.cpp and algo_im2col.cpp.
#pragma once
#include "conv/algo.h"

namespace fastconv {

std::shared_ptr<const PackedConv> prepack_dense(const ConvSpec& spec, bool materialise);

}  // namespace fastconv
