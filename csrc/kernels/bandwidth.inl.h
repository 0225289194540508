// L2 kernels: bytes from and to each level of the memory, for bindings/bind_roofline.cpp, which
// sizes the arrays for a level; called by no convolution.
//   read   sum += x[i]
//   write  y[i] = value
//   copy   y[i] = x[i]
// for i < n. Contract: n is a multiple of eight vectors; read writes one float to *sink, so that
// the loop is kept.
//
// Eight vectors a round: eight chains of additions at two a cycle cover their latency of 3 or 4,
// and the loop's own instructions are few beside 16 loads and adds. Stores are plain ones, as the
// kernels' are: what goes to memory is read first (write-allocate) and counts once here, as the
// bytes that the program asked for.
#pragma once
#include "kernels/kernel_table.h"
#include "kernels/unroll.h"

namespace fastconv {
namespace {

constexpr int kBandwidthVectors = 8;

void read_memory(dim_t n, const float* x, float* sink) noexcept {
  vf sum[kBandwidthVectors];
  FC_UNROLL for (int i = 0; i < kBandwidthVectors; ++i) sum[i] = vzero();
  for (dim_t at = 0; at < n; at += kBandwidthVectors * W)
    FC_UNROLL for (int i = 0; i < kBandwidthVectors; ++i) sum[i] =
        vadd(sum[i], vload(x + at + i * W));
  FC_UNROLL for (int i = 1; i < kBandwidthVectors; ++i) sum[0] = vadd(sum[0], sum[i]);
  *sink = vreduce_add(sum[0]);
}

void write_memory(dim_t n, float value, float* y) noexcept {
  const vf v = vset(value);
  for (dim_t at = 0; at < n; at += kBandwidthVectors * W)
    FC_UNROLL for (int i = 0; i < kBandwidthVectors; ++i) vstore(y + at + i * W, v);
}

void copy_memory(dim_t n, const float* x, float* y) noexcept {
  for (dim_t at = 0; at < n; at += kBandwidthVectors * W)
    FC_UNROLL for (int i = 0; i < kBandwidthVectors; ++i)
        vstore(y + at + i * W, vload(x + at + i * W));
}

}  // namespace
}  // namespace fastconv
