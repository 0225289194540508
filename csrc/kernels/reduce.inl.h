// L2 kernels: sums, maxima and minima over a contiguous run, and over the rows of a matrix column
// by column. Called by nn/reduce.cpp; global average pooling is one of them, in either layout.
//   row      over x[0..n)
//   columns  y[i] = over rows r of x[r * ldx + i]
// Contract: ReduceKernels in kernel_table.h. The order of summation depends on n and rows alone,
// never on where the data lies or on which thread runs. Sums go in blocks, so that the error grows
// with the block's length and hardly with n's.
#pragma once
#include "kernels/eltwise.inl.h"
#include "kernels/kernel_table.h"

namespace fastconv {
namespace {

constexpr dim_t kSumBlock = 128;  // vectors (row) or rows (columns) that one accumulator takes

// The sum of f(x[i]), f a function of a vector.
template <class F>
inline float sum_row_of(dim_t n, const float* x, F f) {
  double total = 0.0;
  for (dim_t begin = 0; begin < n; begin += 4 * kSumBlock * W) {
    const dim_t left = n - begin, m = left < 4 * kSumBlock * W ? left : 4 * kSumBlock * W;
    const float* p = x + begin;
    vf acc[4] = {vzero(), vzero(), vzero(), vzero()};
    dim_t i = 0;
    for (; i + 4 * W <= m; i += 4 * W)
      for (int v = 0; v < 4; ++v) acc[v] = vadd(acc[v], f(vload(p + i + v * W)));
    for (; i + W <= m; i += W) acc[0] = vadd(acc[0], f(vload(p + i)));
    if (i < m) {
      const int tail = static_cast<int>(m - i);
      acc[1] = vadd(acc[1], first_lanes(f(vload_tail(p + i, tail)), tail));
    }
    total += vreduce_add(vadd(vadd(acc[0], acc[1]), vadd(acc[2], acc[3])));
  }
  return static_cast<float>(total);
}

inline float sum_row(dim_t n, const float* x) {
  return sum_row_of(n, x, [](vf v) { return v; });
}

// Maximum of sign * x, times sign: sign -1 is the minimum.
//
// Four chains, as one waits for compare, blend and max of each vector; a last partial vector
// overlaps its neighbour. The lanes are then compared by halves, unless one is NaN, which that
// would lose.
inline float max_row(dim_t n, const float* x, float sign) {
  const vf s = vset(sign);
  const auto at = [=](dim_t i) { return vmul(vload(x + i), s); };
  float lanes[W];
  dim_t first = 0, end = n;  // of what is compared one by one
  if (n >= W) {
    vf acc = vmax_nan(at(0), at(n - W));
    dim_t i = W;
    if (n >= 4 * W) {
      vf chain[4] = {acc, at(W), at(2 * W), at(3 * W)};
      for (i = 4 * W; i + 4 * W <= n; i += 4 * W)
        for (int v = 0; v < 4; ++v) chain[v] = vmax_nan(chain[v], at(i + v * W));
      acc = vmax_nan(vmax_nan(chain[0], chain[1]), vmax_nan(chain[2], chain[3]));
    }
    for (; i + W <= n; i += W) acc = vmax_nan(acc, at(i));
    if (vall_lt(acc, vset(__builtin_inff()))) return sign * vreduce_max(acc);
    vstore(lanes, vmul(acc, s));
    x = lanes;
    end = W;
  }
  float m = sign * x[first++];
  for (; first < end; ++first) {
    const float v = sign * x[first];
    m = v > m || v != v ? v : m;
  }
  return sign * m;
}

float reduce_row(ReduceOp op, dim_t n, const float* x) {
  switch (op) {
    case ReduceOp::max:
      return max_row(n, x, 1.0f);
    case ReduceOp::min:
      return max_row(n, x, -1.0f);
    default:
      return sum_row(n, x);
  }
}

dim_t beyond(dim_t n, const float* x, float sign, float limit) {
  const vf s = vset(sign), bound = vset(limit);
  const auto at = [=](dim_t i) { return vmul(vload(x + i), s); };
  dim_t i = 0;
  for (; i + 4 * W <= n; i += 4 * W) {
    const vf a = at(i), b = at(i + W), c = at(i + 2 * W), d = at(i + 3 * W);
    if (!vall_lt(vmax_nan(vmax_nan(a, b), vmax_nan(c, d)), bound)) break;
  }
  for (; i + W <= n; i += W)
    if (!vall_lt(at(i), bound)) return i;
  for (dim_t j = i; j < n; ++j)
    if (!(sign * x[j] < limit)) return i;
  return n;
}

// acc = over the rows of V vectors, pairwise above kSumBlock rows; lanes < W only with V = 1.
template <int V, class Combine>
inline void reduce_rows(dim_t rows, int lanes, const float* x, dim_t ldx, vf* acc,
                        Combine combine) {
  if (rows > kSumBlock) {
    const dim_t half = (rows / 2 + kSumBlock - 1) / kSumBlock * kSumBlock;
    vf rest[V];
    reduce_rows<V>(half, lanes, x, ldx, acc, combine);
    reduce_rows<V>(rows - half, lanes, x + half * ldx, ldx, rest, combine);
    for (int v = 0; v < V; ++v) acc[v] = combine(acc[v], rest[v]);
    return;
  }
  vf sum[V];
  for (int v = 0; v < V; ++v) sum[v] = load_lanes(x + v * W, lanes);
  for (dim_t r = 1; r < rows; ++r)
    for (int v = 0; v < V; ++v) sum[v] = combine(sum[v], load_lanes(x + r * ldx + v * W, lanes));
  for (int v = 0; v < V; ++v) acc[v] = sum[v];
}

template <class Combine>
inline void reduce_columns_by(dim_t rows, dim_t n, const float* x, dim_t ldx, float* y,
                              Combine combine) {
  constexpr int V = 8;  // whole cache lines of a row, and chains enough for the additions
  vf acc[V];
  dim_t i = 0;
  for (; i + V * W <= n; i += V * W) {
    reduce_rows<V>(rows, W, x + i, ldx, acc, combine);
    for (int v = 0; v < V; ++v) vstore(y + i + v * W, acc[v]);
  }
  for (; i + W <= n; i += W) {
    reduce_rows<1>(rows, W, x + i, ldx, acc, combine);
    vstore(y + i, acc[0]);
  }
  if (i < n) {
    const int tail = static_cast<int>(n - i);
    reduce_rows<1>(rows, tail, x + i, ldx, acc, combine);
    vstore_tail(y + i, acc[0], tail);
  }
}

void reduce_columns(ReduceOp op, dim_t rows, dim_t n, const float* x, dim_t ldx, float* y) {
  switch (op) {
    case ReduceOp::max:
      return reduce_columns_by(rows, n, x, ldx, y, [](vf a, vf b) { return vmax_nan(a, b); });
    case ReduceOp::min:
      return reduce_columns_by(rows, n, x, ldx, y, [](vf a, vf b) { return vmin_nan(a, b); });
    default:
      return reduce_columns_by(rows, n, x, ldx, y, [](vf a, vf b) { return vadd(a, b); });
  }
}

}  // namespace
}  // namespace fastconv
