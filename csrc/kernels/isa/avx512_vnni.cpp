// L2 kernels: the extension avx512_vnni: what is better with AVX512_VNNI on the avx512 tier. A
// sealed unit with the flags of cmake/isa.cmake; it exports table_avx512_vnni() alone.
#include "simd/dot_avx512_vnni.h"
// A product is written in a Dot.
#include "kernels/depthwise_u8.inl.h"
#include "kernels/peak_dot.inl.h"
#include "kernels/product/tile_in_turns.inl.h"

namespace fastconv {

void table_avx512_vnni(KernelTable& table) {
  fill_bytes<DotU8S8, 14, 14, 9>(table.integer);
  fill_in_turns<DotU8S8, 6>(table.integer.in_turns);
  fill_pairs<DotS16, 14, 14, 9>(table.integer);
  fill_depthwise<DotU8S8, DotS16>(table);
#ifndef FASTCONV_EMULATE_AVX512  // emulated, it keeps the peak of its tier
  table.peak.int8 = {peak_dot<DotU8S8>, DotU8S8::kInstruction};
#endif
}

}  // namespace fastconv
