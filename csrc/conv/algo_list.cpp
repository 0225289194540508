// L4 conv: the ordered list of algorithms, best first. "auto" takes the first that accepts.
#include "conv/algo.h"

namespace fastconv {

extern const Algo algo_depthwise, algo_direct, algo_sparse_planes, algo_sparse_panels,
    algo_codebook, algo_bf16, algo_winograd_f4, algo_winograd_f2, algo_planar_direct, algo_planar,
    algo_implicit, algo_im2col, algo_reference, algo_xnor;

const Algo* const* algo_list(int* count) {
  static const Algo* const list[] = {
      &algo_depthwise,      // one channel per group: vectors over channels
      &algo_direct,         // few channels per group: a vector spans several groups
      &algo_sparse_planes,  // 1x1 with single zeros, where that pays: planes times weights
      &algo_sparse_panels,  // blocks of zeros, where that pays: panels without them
      &algo_codebook,       // weights of few values from memory, where that pays: their indices
      &algo_bf16,           // rounded to bf16, where that is asked for and pays
      &algo_winograd_f4,    // 3x3, stride 1, where it pays: a quarter of the multiplications
      &algo_winograd_f2,    // 3x3 and 5x5, stride 1, where it pays
      &algo_planar_direct,  // few products or filters on NCHW: a weight times a row of pixels
      &algo_planar,         // 1x1 on NCHW: weights times planes, nothing reordered
      &algo_implicit,       // everything: GEMM that reads the image in place
      &algo_im2col,         // everything: GEMM on a matrix of patches, to measure against
      &algo_reference,      // everything: plain loops, the specification
  };
  *count = sizeof(list) / sizeof(list[0]);
  return list;
}

const Algo* const* sign_algo_list(int* count) {
  static const Algo* const list[] = {&algo_xnor};  // products of bits
  *count = sizeof(list) / sizeof(list[0]);
  return list;
}

}  // namespace fastconv
