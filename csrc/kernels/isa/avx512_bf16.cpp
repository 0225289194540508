// L2 kernels: the extension avx512_bf16: what is better with AVX512_BF16 on the avx512 tier. A
// sealed unit with the flags of cmake/isa.cmake; it exports table_avx512_bf16() alone.
#include "simd/dot_avx512_bf16.h"
// A product is written in a Dot.
#include "kernels/peak_dot.inl.h"
#include "kernels/product/finish_f32.inl.h"

namespace fastconv {

void table_avx512_bf16(KernelTable& table) {
  fill_bf16<DotBf16, 14, 14, 9>(table.bf16);
#ifndef FASTCONV_EMULATE_AVX512  // a peak is of real instructions
  table.bf16.peak = {peak_dot<DotBf16>, DotBf16::kInstruction};
#endif
}

}  // namespace fastconv
