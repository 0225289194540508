// L2 kernels: the avx2 tier. A sealed unit with the flags of cmake/isa.cmake; it exports
// table_avx2() alone.
#include "simd/int_avx2.h"
// The vocabulary first: the kernels below are written in it.
#include "kernels/depthwise_f32.inl.h"
#include "kernels/isa/table.inl.h"
#include "kernels/peak_dot.inl.h"
#include "simd/dot_avx2.h"
// A product is written in a Dot.
#include "kernels/depthwise_u8.inl.h"
#include "kernels/product/finish_integers.inl.h"
#include "kernels/round_bf16.inl.h"
#include "simd/bits_avx2.h"
#include "simd/dot_bf16.h"
// In the Bits above.
#include "kernels/binary.inl.h"
#include "kernels/peak_bits.inl.h"
#include "simd/codes_avx2.h"
// In the Lookup above.
#include "kernels/codebook.inl.h"
#include "simd/s16_avx2.h"
// Its last transform is written in a Finish, runs in lanes of 16 bits.
#include "kernels/product/runs.inl.h"
#include "kernels/winograd_s16.inl.h"

namespace fastconv {

void table_avx2(KernelTable& table) {
  fill_table<8, 6, 4>(table);
  fill_depthwise_f32(table.conv);
  fill_sparse<6, 0>(table.sparse);
  fill_bf16<DotBf16, 6, 4, 2>(table.bf16);
  table.bf16.round = round_bf16;
  fill_binary<2>(table.binary);
  fill_codebook<Lookup, 4, 2>(table.codebook, {5, 0});
  fill_bytes<DotU8S8, 8, 4, 4>(table.integer);
  fill_wide<DotS16, 8, 6, 3>(table.integer);
  fill_pairs<DotS16, 8, 6, 4>(table.integer);
  fill_runs(table.integer);
  fill_depthwise<DotU8S8, DotS16>(table);
  fill_integer_winograd(table.integer_winograd);
  table.peak.int8 = {peak_dot<DotU8S8>, DotU8S8::kInstruction};
  table.peak.bit = {peak_bits<2>, "vpshufb"};
}

}  // namespace fastconv
