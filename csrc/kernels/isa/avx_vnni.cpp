// L2 kernels: the extension avx_vnni: what is better with AVX-VNNI on the avx2 tier. A
// sealed unit with the flags of cmake/isa.cmake; it exports table_avx_vnni() alone.
#include "kernels/peak_dot.inl.h"
#include "simd/dot_avx_vnni.h"

namespace fastconv {

void table_avx_vnni(KernelTable& table) {
  table.peak.int8 = {peak_dot<DotU8S8>, DotU8S8::kInstruction};
}

}  // namespace fastconv
