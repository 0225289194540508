// L2 kernels: the ref tier. A sealed unit with the flags of cmake/isa.cmake; it exports table_ref()
// alone.
#include "simd/vec_ref.h"
// The vocabulary first: the kernels below are written in it.
#include "kernels/isa/table.inl.h"

namespace fastconv {

void table_ref(KernelTable& table) { fill_table<8, 4, 4>(table); }

}  // namespace fastconv
