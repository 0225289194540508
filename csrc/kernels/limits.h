// L2 kernels: the contracts of the loops that measure the limits of the machine, a part of
// kernel_table.h.
#pragma once
#include "core/types.h"

namespace fastconv {

// ---- bandwidth.inl.h ----------------------------------------------------------------------------
struct BandwidthKernels {
  dim_t stride = 0;  // floats that n is a multiple of
  void (*read)(dim_t n, const float* x, float* sink) = nullptr;
  void (*write)(dim_t n, float value, float* y) = nullptr;
  void (*copy)(dim_t n, const float* x, float* y) = nullptr;
};

// ---- peak.inl.h, peak_dot.inl.h, peak_bits.inl.h ------------------------------------------------
// Runs `steps` rounds of independent multiply-adds in registers; returns the operations done, a
// multiply-add being 2. `sink` is a float that it may write, so that the compiler keeps the loop.
struct PeakLoop {
  double (*run)(dim_t steps, float* sink) = nullptr;
  const char* instruction = "";
  bool uses_tiles = false;  // the caller asks for them first (core/tiles.h)
};
struct PeakKernels {
  PeakLoop f32;
  // Null where the processor has no instruction for it, unlike every other entry: a peak of the
  // instructions for something else would say nothing. That of bf16 is in Bf16Kernels.
  PeakLoop int8, bit;
};

}  // namespace fastconv
