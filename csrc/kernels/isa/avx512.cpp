// L2 kernels: the avx512 tier. A sealed unit with the flags of cmake/isa.cmake; it exports
// table_avx512() alone.
#include "simd/vec_avx512.h"
// The vocabulary first: the kernels below are written in it.
#include "kernels/isa/table.inl.h"

namespace fastconv {

void table_avx512(KernelTable& table) { fill_table<14, 14, 9>(table); }

}  // namespace fastconv
