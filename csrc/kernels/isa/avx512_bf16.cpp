// L2 kernels: the extension avx512_bf16: what is better with AVX512_BF16 on the avx512 tier. A
// sealed unit with the flags of cmake/isa.cmake; it exports table_avx512_bf16() alone.
#ifdef FASTCONV_EMULATE_AVX512
#include "kernels/kernel_table.h"
#else
#include "kernels/peak_dot.inl.h"
#include "simd/dot_avx512_bf16.h"
#endif

namespace fastconv {

void table_avx512_bf16([[maybe_unused]] KernelTable& table) {
#ifndef FASTCONV_EMULATE_AVX512  // it has a peak alone, and a peak is of real instructions
  table.peak.bf16 = {peak_dot<DotBf16>, DotBf16::kInstruction};
#endif
}

}  // namespace fastconv
