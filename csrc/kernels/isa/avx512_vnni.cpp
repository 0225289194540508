// L2 kernels: the extension avx512_vnni: what is better with AVX512_VNNI on the avx512 tier. A
// sealed unit with the flags of cmake/isa.cmake; it exports table_avx512_vnni() alone.
#include "kernels/peak_dot.inl.h"
#include "simd/dot_avx512_vnni.h"

namespace fastconv {

void table_avx512_vnni(KernelTable& table) {
  table.peak.int8 = {peak_dot<DotU8S8>, DotU8S8::kInstruction};
}

}  // namespace fastconv
