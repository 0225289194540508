// L4 nn: the loop nest of what works element by element on strided views. Used by layout, eltwise,
// norm and softmax. merge() orders the dimensions by the output's strides and merges those that
// every operand runs through as one; what is left innermost is a run, and for_each_run() hands the
// runs to the threads.
#pragma once
#include <algorithm>
#include <cstdlib>
#include <utility>

#include "core/division.h"
#include "core/parallel.h"
#include "core/view.h"

namespace fastconv {

// K operands of one shape. rank >= 1; dimension rank - 1 is the run.
template <int K>
struct Nest {
  int rank = 0;
  dim_t shape[kMaxRank] = {};
  dim_t stride[K][kMaxRank] = {};

  dim_t run() const noexcept { return shape[rank - 1]; }
  dim_t step(int operand) const noexcept { return stride[operand][rank - 1]; }
  dim_t size() const noexcept {
    dim_t n = 1;
    for (int i = 0; i < rank; ++i) n *= shape[i];
    return n;
  }
};

// The last view is the output: its largest stride goes outermost.
template <class... Views>
Nest<sizeof...(Views)> merge(const Views&... operands) noexcept {
  constexpr int K = sizeof...(Views);
  const View* views[K] = {&operands...};
  const View& out = *views[K - 1];
  int order[kMaxRank], used = 0;
  for (int i = 0; i < out.rank; ++i) {
    if (out.shape[i] == 1) continue;
    int at = used++;  // insertion sort: a few elements, no allocation
    for (; at > 0 && std::abs(out.stride[order[at - 1]]) < std::abs(out.stride[i]); --at)
      order[at] = order[at - 1];
    order[at] = i;
  }

  Nest<K> nest;
  for (int d = 0; d < used; ++d) {
    const dim_t n = out.shape[order[d]];
    bool joins = nest.rank > 0;
    for (int k = 0; k < K && joins; ++k)
      joins = nest.stride[k][nest.rank - 1] == n * views[k]->stride[order[d]];
    if (joins) {
      nest.shape[nest.rank - 1] *= n;
    } else {
      nest.shape[nest.rank++] = n;
    }
    for (int k = 0; k < K; ++k) nest.stride[k][nest.rank - 1] = views[k]->stride[order[d]];
  }
  if (nest.rank == 0) nest.shape[nest.rank++] = 1;
  return nest;
}

// f(n, offset) for runs that together cover the nest; offset[k] is operand k's first element. A
// thread takes a range of elements, at least `grain`, and may so cut a run in two: f's results must
// not depend on where a run begins.
template <int K, class F>
void for_each_run(const Nest<K>& nest, dim_t grain, F&& f) noexcept {
  const dim_t size = nest.size(), run = nest.run();
  // Threads do not share the output's cache lines.
  const dim_t unit = std::clamp<dim_t>(grain, 1, 64);
  if (size == 0) return;
  parallel_for(ceil_div(size, unit), std::max<dim_t>(1, grain / unit),
               [&](dim_t first, dim_t last) {
                 dim_t at = first * unit;
                 const dim_t end = std::min(last * unit, size);
                 dim_t index[kMaxRank] = {}, offset[K] = {};
                 dim_t rest = at / run;
                 for (int d = nest.rank - 2; d >= 0; --d) {
                   index[d] = rest % nest.shape[d];
                   rest /= nest.shape[d];
                   for (int k = 0; k < K; ++k) offset[k] += index[d] * nest.stride[k][d];
                 }
                 dim_t skip = at % run;
                 while (at < end) {
                   const dim_t n = std::min(run - skip, end - at);
                   dim_t start[K];
                   for (int k = 0; k < K; ++k) start[k] = offset[k] + skip * nest.step(k);
                   f(n, start);
                   at += n;
                   skip = 0;
                   for (int d = nest.rank - 2; d >= 0; --d) {
                     for (int k = 0; k < K; ++k) offset[k] += nest.stride[k][d];
                     if (++index[d] < nest.shape[d]) break;
                     for (int k = 0; k < K; ++k) offset[k] -= nest.shape[d] * nest.stride[k][d];
                     index[d] = 0;
                   }
                 }
               });
}

// Elements that are worth a thread where each is a few loads, a store and little arithmetic.
constexpr dim_t kGrain = 16 * 1024;

// The view without one of its dimensions.
inline View without(const View& v, int dimension) noexcept {
  View w = v;
  w.rank = v.rank - 1;
  for (int i = dimension; i < w.rank; ++i) {
    w.shape[i] = v.shape[i + 1];
    w.stride[i] = v.stride[i + 1];
  }
  return w;
}

// Contiguous runs where the operands' are not: kChunk elements at a time go through buffers on the
// stack.
constexpr dim_t kChunk = 512;

template <class T>
const T* gathered(const T* x, dim_t step, dim_t n, T* buffer) noexcept {
  if (step == 1) return x;
  for (dim_t i = 0; i < n; ++i) buffer[i] = x[i * step];
  return buffer;
}

// A run is short where one operand repeats itself along the dimension above: a value for each
// channel, channels last. Joins the two dimensions where all other operands can; returns the
// operand's period, or 0 where it did not. Operand `position` of the nest, of no memory, becomes
// the position in the run.
template <int K>
dim_t join_periodic(Nest<K>& nest, int operand, int position) noexcept {
  const int last = nest.rank - 1;
  const dim_t run = nest.run();
  if (last == 0 || run > kChunk / 2 || nest.step(operand) != 1 ||
      nest.stride[operand][last - 1] != 0)
    return 0;
  for (int k = 0; k < K; ++k)
    if (k != operand && nest.stride[k][last - 1] != run * nest.stride[k][last]) return 0;
  for (int k = 0; k < K; ++k) nest.stride[k][last - 1] = k == operand ? 0 : nest.stride[k][last];
  nest.stride[position][last - 1] = 1;
  nest.shape[last - 1] *= run;
  nest.rank = last;
  return run;
}

// A periodic operand spread out, from which at(i, ...) is the run at position i. Filled once for a
// run of n elements.
template <class T>
class Repeated {
 public:
  Repeated(const T* x, dim_t period, dim_t n) noexcept : period_(period) {
    if (period == 0) return;
    const dim_t size = std::min(kChunk, n) + period;
    for (dim_t i = 0; i < size; ++i) values_[i] = i < period ? x[i] : values_[i - period];
  }
  const T* at(dim_t position) const noexcept { return values_ + position % period_; }

 private:
  dim_t period_;
  T values_[kChunk + kChunk / 2];
};

// Calls f(n, y, i) for pieces of a run of y, n <= kChunk, y contiguous memory for elements [i, i +
// n) of it, and scatters what f wrote.
template <class T, class F>
void write_run(T* y, dim_t step, dim_t n, F&& f) noexcept {
  T buffer[kChunk];
  for (dim_t i = 0; i < n; i += kChunk) {
    const dim_t m = std::min(kChunk, n - i);
    if (step == 1) {
      f(m, y + i, i);
      continue;
    }
    f(m, buffer, i);
    for (dim_t j = 0; j < m; ++j) y[(i + j) * step] = buffer[j];
  }
}

// f(n, x, y) for contiguous runs, of operands of any strides.
template <class X, class Y, class F>
void map_runs(const View& x, const View& y, F&& f) noexcept {
  const Nest<2> nest = merge(x, y);
  const dim_t x_step = nest.step(0), y_step = nest.step(1);
  for_each_run(nest, kGrain, [&](dim_t n, const dim_t* offset) {
    const X* from = static_cast<const X*>(x.data) + offset[0];
    Y* to = static_cast<Y*>(y.data) + offset[1];
    if (x_step == 1 && y_step == 1) return f(n, from, to);
    write_run(to, y_step, n, [&](dim_t m, Y* piece, dim_t i) {
      X buffer[kChunk];
      f(m, gathered(from + i * x_step, x_step, m, buffer), piece);
    });
  });
}

}  // namespace fastconv
