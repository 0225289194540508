// L2 kernels: the extension amx_int8: products of bytes in the tile registers of AMX, on the avx512
// tier. A sealed unit with the flags of cmake/isa.cmake; it exports table_amx_int8() alone.
#include "simd/int_avx512.h"
#ifdef FASTCONV_EMULATE_AVX512
#include "simd/tile_emulated.h"
#else
#include "simd/tile_amx.h"
#endif
// In the vocabulary above.
#include "kernels/product/amx_integers.inl.h"

namespace fastconv {

void table_amx_int8(KernelTable& table) {
  fill_tiles(table.integer);
#ifndef FASTCONV_EMULATE_AVX512  // emulated, it keeps the peak of its tier
  table.peak.int8 = {peak_tiles<AmxBytes>, "tdpbusd", true};
#endif
}

}  // namespace fastconv
