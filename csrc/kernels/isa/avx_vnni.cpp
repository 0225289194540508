// L2 kernels: the extension avx_vnni: what is better with AVX-VNNI on the avx2 tier. A
// sealed unit with the flags of cmake/isa.cmake; it exports table_avx_vnni() alone.
#include "simd/dot_avx_vnni.h"
// A product is written in a Dot.
#include "kernels/depthwise_u8.inl.h"
#include "kernels/peak_dot.inl.h"
#include "kernels/product/finish_integers.inl.h"

namespace fastconv {

void table_avx_vnni(KernelTable& table) {
  fill_bytes<DotU8S8, 8, 6, 4>(table.integer);
  fill_pairs<DotS16, 8, 6, 4>(table.integer);
  fill_depthwise<DotU8S8, DotS16>(table);
#ifndef FASTCONV_EMULATE_AVX512  // emulated, it keeps the peak of its tier
  table.peak.int8 = {peak_dot<DotU8S8>, DotU8S8::kInstruction};
#endif
}

}  // namespace fastconv
