// L2 kernels: the avx512 tier. A sealed unit with the flags of cmake/isa.cmake; it exports
// table_avx512() alone.
#include "simd/int_avx512.h"
// The vocabulary first: the kernels below are written in it.
#include "kernels/depthwise_f32.inl.h"
#include "kernels/isa/table.inl.h"
#include "kernels/peak_dot.inl.h"
#include "simd/dot_avx512.h"
// A product is written in a Dot.
#include "kernels/depthwise_u8.inl.h"
#include "kernels/product/finish_integers.inl.h"
#include "kernels/round_bf16.inl.h"
#include "simd/bits_avx512.h"
#include "simd/dot_bf16.h"
// In the Bits above.
#include "kernels/binary.inl.h"
#include "kernels/peak_bits.inl.h"
#include "simd/codes_avx512.h"
// In the Lookup above.
#include "kernels/codebook.inl.h"
#include "simd/s16_avx512.h"
// Its last transform is written in a Finish, runs in lanes of 16 bits.
#include "kernels/product/runs.inl.h"
#include "kernels/winograd_s16.inl.h"

namespace fastconv {

void table_avx512(KernelTable& table) {
  fill_table<14, 14, 9>(table);
  fill_depthwise_f32(table.conv);
  fill_sparse<10, 10>(table.sparse);
  fill_bf16<DotBf16, 14, 12, 7>(table.bf16);
  table.bf16.round = round_bf16;
  fill_binary<4>(table.binary);
  fill_codebook<Lookup, 4, 4>(table.codebook, {16, 16});
  fill_bytes<DotU8S8, 14, 12, 8>(table.integer);
  fill_wide<DotS16, 14, 14, 9>(table.integer);
  fill_pairs<DotS16, 14, 14, 9>(table.integer);
  fill_runs(table.integer);
  fill_depthwise<DotU8S8, DotS16>(table);
  fill_integer_winograd(table.integer_winograd);
#ifndef FASTCONV_EMULATE_AVX512  // emulated, it keeps the peak of the tier below
  table.peak.int8 = {peak_dot<DotU8S8>, DotU8S8::kInstruction};
  table.peak.bit = {peak_bits<4>, "vpshufb"};
#endif
}

}  // namespace fastconv
