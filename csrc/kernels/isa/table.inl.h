// L2 kernels: fills one tier's table. Included once by each isa/<tier>.cpp, after its
// simd/int_<tier>.h; a new kernel is an #include and a row here. Everything that this pulls in has
// internal linkage (docs/dispatch.md).
#pragma once
#include "kernels/bandwidth.inl.h"
#include "kernels/eltwise.inl.h"
#include "kernels/kernel_table.h"
// Users of apply_activation come after it.
#include "kernels/compare.inl.h"
#include "kernels/gemv_f32.inl.h"
#include "kernels/grouped_f32.inl.h"
#include "kernels/layout.inl.h"
#include "kernels/norm.inl.h"
#include "kernels/peak.inl.h"
#include "kernels/planar_f32.inl.h"
#include "kernels/pool.inl.h"
#include "kernels/product/finish_f32.inl.h"
#include "kernels/quantized.inl.h"
#include "kernels/recurrent.inl.h"
#include "kernels/reduce.inl.h"
#include "kernels/resize.inl.h"
#include "kernels/softmax.inl.h"
#include "kernels/sparse_f32.inl.h"
#include "kernels/winograd_f32.inl.h"

namespace fastconv {
namespace {

#if defined(FASTCONV_CHEAP_PERMUTE)
constexpr bool kCheapPermute = true;
#else
constexpr bool kCheapPermute = false;
#endif

// MR1 x W, MR2 x 2 W and MR3 x 3 W are the GEMM register tiles of the tier.
template <int MR1, int MR2, int MR3>
void fill_table(KernelTable& t) {
  t.lanes = W;
  t.cheap_permute = kCheapPermute;
  fill_gemm<MR1, MR2, MR3>(t.gemm);
  fill_gemv(t.gemm);
  fill_grouped(t.conv);
  t.conv.planar_row = planar_row;
  fill_winograd(t.winograd);
  t.layout.transpose = transpose;
  t.layout.transpose_bytes = transpose_bytes;
  t.eltwise.activate = activate;
  t.eltwise.binary = binary;
  t.eltwise.affine = affine;
  fill_compare(t.compare);
  t.pool.max_row = pool_max_row;
  t.pool.average_row = pool_average_row;
  t.reduce.row = reduce_row;
  t.reduce.columns = reduce_columns;
  t.reduce.beyond = beyond;
  t.softmax.row = softmax_row;
  t.softmax.columns = softmax_columns;
  t.norm.lrn_run = lrn_run;
  t.norm.layer_norm_row = layer_norm_row;
  t.resize.blend = blend;
  t.resize.weighted = weighted;
  fill_quantized(t.bytes);
  fill_recurrent(t.recurrent);
  t.peak.f32 = {peak_fma, "fma"};
  t.bandwidth = {kBandwidthVectors * W, read_memory, write_memory, copy_memory};
}

}  // namespace
}  // namespace fastconv
