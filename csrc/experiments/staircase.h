// L5 experiments: one matrix product written seven times, each with one idea more than the one
// before, so that a reader sees what every idea is worth. No part of the product calls this; the
// bindings do, for `fastconv sweep gemm`. C = A B, all three row-major and dense.
#pragma once
#include <vector>

#include "core/parallel.h"
#include "core/types.h"
#include "gemm/blocking.h"

namespace fastconv {

struct DenseProduct {  // M, N and K of at least 1
  dim_t M, N, K;
  const float* a;
  const float* b;
  float* c;
};

struct StairStep {
  const char* name;
  const char* idea;  // what it has that the one before has not
  // Rows of C are independent: a thread takes a range of them, and packs for itself.
  void (*rows)(const DenseProduct& p, Range rows);
};

// From the slowest to the fastest, for the tier in use; gemm() itself would be the next.
std::vector<StairStep> staircase();
// On get_num_threads() threads.
void run_step(const StairStep& step, const DenseProduct& product);

// The block sizes of Low et al. 2016 as they are printed: a panel of B (KC x NR) in half of L1, a
// block of A (MC x KC) in half of L2, a block of B (KC x NC) in half of L3.
Blocking textbook_blocking(const GemmKernels& kernels) noexcept;

}  // namespace fastconv
