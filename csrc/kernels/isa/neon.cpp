// L2 kernels: the neon tier. A sealed unit with the flags of cmake/isa.cmake; it exports
// table_neon() alone.
#include "simd/int_neon.h"
// The vocabulary first: the kernels below are written in it.
#include "kernels/depthwise_f32.inl.h"
#include "kernels/isa/table.inl.h"
#include "simd/dot_neon.h"
// A product is written in a Dot.
#include "kernels/product/finish_integers.inl.h"
#include "kernels/round_bf16.inl.h"
#include "simd/bits_neon.h"
#include "simd/dot_bf16.h"
// In the Bits above.
#include "kernels/binary.inl.h"
#include "simd/s16_neon.h"
// Its last transform is written in a Finish, runs in lanes of 16 bits.
#include "kernels/product/runs.inl.h"
#include "kernels/winograd_s16.inl.h"

namespace fastconv {

void table_neon(KernelTable& table) {
  // 24 sums of 32 registers, for the compiler loads several numbers of A in advance: of 28 sums it
  // keeps some in memory.
  fill_table<14, 12, 8>(table);
  fill_depthwise_f32(table.conv);
  fill_sparse<6, 0>(table.sparse);
  fill_bf16<DotBf16, 8, 8, 4>(table.bf16);
  table.bf16.round = round_bf16;
  fill_binary<8>(table.binary);
  fill_bytes<DotU8S8, 8, 6, 4>(table.integer);
  fill_wide<DotS16, 8, 6, 4>(table.integer);
  fill_pairs<DotS16, 8, 6, 4>(table.integer);
  fill_runs(table.integer);
  fill_integer_winograd(table.integer_winograd);
}

}  // namespace fastconv
