// L2 kernels: the ref tier. A sealed unit with the flags of cmake/isa.cmake; it exports table_ref()
// alone.
#include "simd/int_ref.h"
// The vocabulary first: the kernels below are written in it.
#include "kernels/isa/table.inl.h"
#include "simd/dot_ref.h"
// A product is written in a Dot.
#include "kernels/depthwise_u8.inl.h"
#include "kernels/product/finish_integers.inl.h"
#include "kernels/round_bf16.inl.h"
#include "simd/bits_ref.h"
#include "simd/dot_bf16.h"
// In the Bits above.
#include "kernels/binary.inl.h"
#include "simd/codes_ref.h"
// In the Lookup above.
#include "kernels/codebook.inl.h"
#include "simd/s16_ref.h"
// Its last transform is written in a Finish, runs in lanes of 16 bits.
#include "kernels/product/runs.inl.h"
#include "kernels/winograd_s16.inl.h"

namespace fastconv {

void table_ref(KernelTable& table) {
  fill_table<4, 4, 2>(table);
  fill_sparse<2, 0>(table.sparse);
  fill_bf16<DotBf16, 4, 2, 1>(table.bf16);
  table.bf16.round = round_bf16;
  fill_binary<4>(table.binary);
  fill_codebook<Lookup, 4, 2>(table.codebook, {0, 0});
  fill_bytes<DotU8S8, 4, 4, 2>(table.integer);
  fill_wide<DotS16, 4, 4, 2>(table.integer);
  fill_pairs<DotS16, 4, 4, 2>(table.integer);
  fill_runs(table.integer);
  fill_depthwise<DotU8S8, DotS16>(table);
  fill_integer_winograd(table.integer_winograd);
}

}  // namespace fastconv
