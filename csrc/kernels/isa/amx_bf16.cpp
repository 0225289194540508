// L2 kernels: the extension amx_bf16: products of bf16 in the tile registers of AMX, on the avx512
// tier. A sealed unit with the flags of cmake/isa.cmake; it exports table_amx_bf16() alone.
#include "simd/int_avx512.h"
#ifdef FASTCONV_EMULATE_AVX512
#include "simd/tile_emulated.h"
#else
#include "simd/tile_amx.h"
#endif
// In the vocabulary above.
#include "kernels/product/amx_bf16.inl.h"

namespace fastconv {

void table_amx_bf16(KernelTable& table) {
  fill_bf16_tiles(table.bf16_tiles, table.bf16);
#ifndef FASTCONV_EMULATE_AVX512  // a peak is of real instructions
  table.bf16_tiles.peak = {peak_tiles<AmxBf16>, "tdpbf16ps", true};
#endif
}

}  // namespace fastconv
