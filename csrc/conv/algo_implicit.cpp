// L4 conv: implicit GEMM. Output pixels are rows, output channels columns; the kernel reads each
// row's input pixels where they lie (a row offset and a list of tap offsets), so no patch matrix
// exists. The workhorse: it accepts everything.
#include "conv/dense.h"

namespace fastconv {

extern const Algo algo_implicit;
const Algo algo_implicit = {
    "implicit",
    [](const ConvParams&, const KernelTable&) { return std::string(); },
    [](const ConvSpec& spec) { return prepack_dense(spec, false); },
};

}  // namespace fastconv
