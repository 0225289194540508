// L2 kernels: the extension avx512_bf16: what is better with AVX512_BF16 on the avx512 tier. A
// sealed unit with the flags of cmake/isa.cmake; it exports table_avx512_bf16() alone.
#include "kernels/peak_dot.inl.h"
#include "simd/dot_avx512_bf16.h"

namespace fastconv {

void table_avx512_bf16(KernelTable& table) {
  table.peak.bf16 = {peak_dot<DotBf16>, DotBf16::kInstruction};
}

}  // namespace fastconv
