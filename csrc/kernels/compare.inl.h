// L2 kernels: comparisons, logic and choices, over contiguous runs; bytes of 1 or 0 say what is
// true. Called by nn/compare.cpp.
//   y = a op b ? 1 : 0    y = a op b, of bytes    y = condition ? a : b
// Contract: CompareKernels in kernel_table.h. A comparison with NaN is false.
#pragma once
#include "kernels/kernel_table.h"
#include "kernels/quantized.inl.h"

namespace fastconv {
namespace {

// f(p, q) as bytes, f a function of two vectors whose lanes are 1 or 0.
template <class F>
inline void zip_truth(dim_t n, const float* a, dim_t a_step, const float* b, dim_t b_step,
                      uint8_t* y, F f) {
  const SaturatedBytes bytes(0, 0, 1);
  const vf a0 = vbroadcast(a), b0 = vbroadcast(b);
  for_each_byte(n, y, bytes, [=](dim_t i, int lanes) {
    return vtoint(
        f(a_step ? load_lanes(a + i, lanes) : a0, b_step ? load_lanes(b + i, lanes) : b0));
  });
}

void compare(CompareOp op, dim_t n, const float* a, dim_t a_step, const float* b, dim_t b_step,
             uint8_t* y) {
  if (n <= 0) return;
  const vf zero = vzero(), one = vset(1.0f);
  // Neither is less, and neither is NaN.
  const auto equal = [=](vf p, vf q) {
    const vf ordered = vselect_nan(p, zero, vselect_nan(q, zero, one));
    return vselect_lt(p, q, zero, vselect_lt(q, p, zero, ordered));
  };
  switch (op) {
    case CompareOp::equal:
      return zip_truth(n, a, a_step, b, b_step, y, equal);
    case CompareOp::less:
      return zip_truth(n, a, a_step, b, b_step, y,
                       [=](vf p, vf q) { return vselect_lt(p, q, one, zero); });
    case CompareOp::less_equal:
      return zip_truth(n, a, a_step, b, b_step, y,
                       [=](vf p, vf q) { return vselect_lt(p, q, one, equal(p, q)); });
  }
}

// Loops that a compiler makes vectors of: no vocabulary has logic of bytes.
template <class F>
inline void zip_bits(dim_t n, const uint8_t* a, dim_t a_step, const uint8_t* b, dim_t b_step,
                     uint8_t* y, F f) {
  if (a_step && b_step) {
    for (dim_t i = 0; i < n; ++i) y[i] = f(a[i] != 0, b[i] != 0);
    return;
  }
  const bool single = a_step ? *b != 0 : *a != 0, both_single = !a_step && !b_step;
  const uint8_t* const run = a_step ? a : b;  // the functions are symmetric
  for (dim_t i = 0; i < n; ++i) y[i] = f(run[both_single ? 0 : i] != 0, single);
}

void logic(LogicOp op, dim_t n, const uint8_t* a, dim_t a_step, const uint8_t* b, dim_t b_step,
           uint8_t* y) {
  if (n <= 0) return;
  switch (op) {
    case LogicOp::both:
      return zip_bits(n, a, a_step, b, b_step, y,
                      [](bool p, bool q) { return static_cast<uint8_t>(p & q); });
    case LogicOp::either:
      return zip_bits(n, a, a_step, b, b_step, y,
                      [](bool p, bool q) { return static_cast<uint8_t>(p | q); });
    case LogicOp::one:
      return zip_bits(n, a, a_step, b, b_step, y,
                      [](bool p, bool q) { return static_cast<uint8_t>(p ^ q); });
  }
}

// Bits of a and b pass unchanged.
void choose(dim_t n, const uint8_t* condition, dim_t condition_step, const float* a, dim_t a_step,
            const float* b, dim_t b_step, float* y) {
  if (n <= 0) return;
  const vf a0 = vbroadcast(a), b0 = vbroadcast(b), zero = vzero();
  const auto chosen = [=](dim_t i, int lanes, vf which) {
    const vf p = a_step ? load_lanes(a + i, lanes) : a0, q = b_step ? load_lanes(b + i, lanes) : b0;
    return vselect_lt(zero, which, p, q);
  };
  if (!condition_step) {
    const vf which = vset(static_cast<float>(*condition));
    return for_each(n, y, [=](dim_t i, int lanes) { return chosen(i, lanes, which); });
  }
  for_each(n, y, [=](dim_t i, int lanes) {
    return chosen(i, lanes, vtofloat(load_bytes(condition + i, lanes)));
  });
}

void fill_compare(CompareKernels& c) {
  c.compare = compare;
  c.logic = logic;
  c.choose = choose;
}

}  // namespace
}  // namespace fastconv
