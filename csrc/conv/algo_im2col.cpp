// L4 conv: im2col + GEMM (Chellapilla et al., 2006): every output pixel's patch is written out as a
// row of a matrix, which is then multiplied by the packed weights. taps times the input's memory;
// kept because measuring against it shows what the implicit form saves.
#include "conv/dense.h"

namespace fastconv {

extern const Algo algo_im2col;
const Algo algo_im2col = {
    "im2col",
    [](const ConvParams&, const KernelTable&) { return std::string(); },
    [](const ConvSpec& spec) { return prepack_dense(spec, true); },
};

}  // namespace fastconv
