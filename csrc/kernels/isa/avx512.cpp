// L2 kernels: the avx512 tier. A sealed unit with the flags of cmake/isa.cmake; it exports
// table_avx512() alone.
#include "simd/vec_avx512.h"
// The vocabulary first: the kernels below are written in it.
#include "kernels/isa/table.inl.h"
#include "kernels/peak_dot.inl.h"
#ifndef FASTCONV_EMULATE_AVX512  // emulated, it keeps the peak of the tier below
#include "simd/dot_avx512.h"
#endif

namespace fastconv {

void table_avx512(KernelTable& table) {
  fill_table<14, 14, 9>(table);
#ifndef FASTCONV_EMULATE_AVX512
  table.peak.int8 = {peak_dot<DotU8S8>, DotU8S8::kInstruction};
#endif
}

}  // namespace fastconv
