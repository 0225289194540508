// L3 gemm: products of f64 matrices, for the rare network of that type and for exact sums. BLAS,
// which numpy would take, has threads of its own that heed no fastconv.threads.
#pragma once
#include "core/types.h"

namespace fastconv {

// A strided matrix; strides are in elements, of any sign, and 0 where rows or columns repeat.
struct MatrixF64 {
  const double* data;
  dim_t rows, columns, row_step, column_step;
};

// out[m * ld + n] = the sum over k of a[m, k] * b[k, n], in the order of k: the bits are the same
// for any number of threads. out must not overlap a or b. Returns early where core/interrupt.h says
// so.
void gemm_f64(const MatrixF64& a, const MatrixF64& b, double* out, dim_t ld);

}  // namespace fastconv
