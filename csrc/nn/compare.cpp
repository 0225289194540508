// L4 nn: comparisons, logic and choices (compare.h) on the kernels of kernels/compare.inl.h.
#include "nn/compare.h"

#include "kernels/dispatch.h"
#include "nn/strided.h"

namespace fastconv {
namespace {

// An operand as a run, or as the one value that it is.
template <class T>
const T* operand(const T* x, dim_t step, dim_t i, dim_t n, T* buffer) noexcept {
  return step ? gathered(x + i * step, step, n, buffer) : x;
}

// y = kernel(a, b), of elements T and U.
template <class T, class U, class Kernel>
void zip(const View& a, const View& b, const View& y, Kernel kernel) noexcept {
  const Nest<3> nest = merge(a, b, y);
  const dim_t a_step = nest.step(0), b_step = nest.step(1), y_step = nest.step(2);
  for_each_run(nest, kGrain, [&](dim_t n, const dim_t* offset) {
    const T *pa = a.as<T>() + offset[0], *pb = b.as<T>() + offset[1];
    write_run(y.as<U>() + offset[2], y_step, n, [&](dim_t m, U* to, dim_t i) {
      T buffer_a[kChunk], buffer_b[kChunk];
      const T* run_a = operand(pa, a_step, i, m, buffer_a);
      const T* run_b = operand(pb, b_step, i, m, buffer_b);
      kernel(m, run_a, dim_t{a_step != 0}, run_b, dim_t{b_step != 0}, to);
    });
  });
}

// Elements of other sizes than a kernel has.
template <class T>
void choose_any(dim_t n, const uint8_t* condition, dim_t condition_step, const T* a, dim_t a_step,
                const T* b, dim_t b_step, T* y) noexcept {
  for (dim_t i = 0; i < n; ++i) {
    const T p = a[i * a_step], q = b[i * b_step];
    y[i] = condition[i * condition_step] ? p : q;
  }
}

template <class T, class Kernel>
void choose_of(const View& condition, const View& a, const View& b, const View& y,
               Kernel kernel) noexcept {
  const Nest<4> nest = merge(condition, a, b, y);
  const dim_t c_step = nest.step(0), a_step = nest.step(1), b_step = nest.step(2);
  const dim_t y_step = nest.step(3);
  for_each_run(nest, kGrain, [&](dim_t n, const dim_t* offset) {
    const uint8_t* pc = condition.as<uint8_t>() + offset[0];
    const T *pa = static_cast<const T*>(a.data) + offset[1],
            *pb = static_cast<const T*>(b.data) + offset[2];
    write_run(static_cast<T*>(y.data) + offset[3], y_step, n, [&](dim_t m, T* to, dim_t i) {
      uint8_t buffer_c[kChunk];
      T buffer_a[kChunk], buffer_b[kChunk];
      const uint8_t* run_c = operand(pc, c_step, i, m, buffer_c);
      const T* run_a = operand(pa, a_step, i, m, buffer_a);
      const T* run_b = operand(pb, b_step, i, m, buffer_b);
      kernel(m, run_c, dim_t{c_step != 0}, run_a, dim_t{a_step != 0}, run_b, dim_t{b_step != 0},
             to);
    });
  });
}

}  // namespace

void compare(CompareOp op, const View& a, const View& b, const View& y) noexcept {
  const auto kernel = kernels().compare.compare;
  zip<float, uint8_t>(a, b, y, [=](auto... run) { kernel(op, run...); });
}

void logic(LogicOp op, const View& a, const View& b, const View& y) noexcept {
  const auto kernel = kernels().compare.logic;
  zip<uint8_t, uint8_t>(a, b, y, [=](auto... run) { kernel(op, run...); });
}

void choose(const View& condition, const View& a, const View& b, const View& y) noexcept {
  switch (element_size(y.element)) {
    case 1:
      return choose_of<uint8_t>(condition, a, b, y, choose_any<uint8_t>);
    case 2:
      return choose_of<uint16_t>(condition, a, b, y, choose_any<uint16_t>);
    case 4:
      return choose_of<float>(condition, a, b, y, kernels().compare.choose);
    default:
      return choose_of<uint64_t>(condition, a, b, y, choose_any<uint64_t>);
  }
}

}  // namespace fastconv
