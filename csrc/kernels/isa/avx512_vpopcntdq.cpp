// L2 kernels: the extension avx512_vpopcntdq: products of signs with AVX512_VPOPCNTDQ on the avx512
// tier. A sealed unit with the flags of cmake/isa.cmake; it exports table_avx512_vpopcntdq() alone.
#include "simd/bits_avx512_vpopcntdq.h"
// In the Bits above.
#include "kernels/binary.inl.h"
#include "kernels/kernel_table.h"
#include "kernels/peak_bits.inl.h"

namespace fastconv {

void table_avx512_vpopcntdq(KernelTable& table) {
  fill_binary<12>(table.binary);
#ifndef FASTCONV_EMULATE_AVX512  // emulated, it keeps the peak of its tier
  table.peak.bit = {peak_bits<12>, "vpopcntd"};
#endif
}

}  // namespace fastconv
