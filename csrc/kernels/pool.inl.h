// L2 kernels: windows of a pooling layer. Called by nn/pool.cpp, which finds the taps of each window that are in bounds.
//   y[p * y_step + i] = max or sum / divisor over r < rows, c < cols of x[p * x_step + r * row_step + c * col_step + i]
// Contract: PoolRow in kernel_table.h; y does not overlap x. Start at pool_row.
//
// Four vectors of a window at a time: one address serves 4 loads, and the 4 chains of compare, blend and max (1 + 1 + 1
// cycles) overlap. A last partial vector is moved back to overlap its neighbour where n >= W, which costs nothing but
// equal stores; 1 < n < W is masked, and n = 1 (the strided pass over the columns of an NCHW image) is scalar.
#pragma once
#include "kernels/eltwise.inl.h"
#include "kernels/kernel_table.h"

namespace fastconv {
namespace {

// V vectors of one window; lanes < W only with V = 1.
template <int V, class Combine, class Finish>
inline void pool_window(const PoolRow& r, int lanes, const float* x, float* y, Combine combine, Finish finish) {
  vf acc[V];
  for (int v = 0; v < V; ++v) acc[v] = load_lanes(x + v * W, lanes);
  dim_t first = 1;
  for (dim_t row = 0; row < r.rows; ++row, x += r.row_step, first = 0)
    for (dim_t col = first; col < r.cols; ++col)
      for (int v = 0; v < V; ++v) acc[v] = combine(acc[v], load_lanes(x + col * r.col_step + v * W, lanes));
  for (int v = 0; v < V; ++v)
    if (lanes == W)
      vstore(y + v * W, finish(acc[v]));
    else
      vstore_tail(y + v * W, finish(acc[v]), lanes);
}

template <class Combine, class Finish>
inline void pool_row(const PoolRow& r, Combine combine, Finish finish) {
  for (dim_t p = 0; p < r.pixels; ++p) {
    const float* x = r.x + p * r.x_step;
    float* y = r.y + p * r.y_step;
    if (r.n < W) {
      pool_window<1>(r, static_cast<int>(r.n), x, y, combine, finish);
      continue;
    }
    dim_t i = 0;
    for (; i + 4 * W <= r.n; i += 4 * W) pool_window<4>(r, W, x + i, y + i, combine, finish);
    for (; i + W <= r.n; i += W) pool_window<1>(r, W, x + i, y + i, combine, finish);
    if (i < r.n) pool_window<1>(r, W, x + r.n - W, y + r.n - W, combine, finish);
  }
}

template <class Combine>
inline float pool_scalar(const PoolRow& r, const float* x, Combine combine) {
  float acc = x[0];
  dim_t first = 1;
  for (dim_t row = 0; row < r.rows; ++row, x += r.row_step, first = 0)
    for (dim_t col = first; col < r.cols; ++col) acc = combine(acc, x[col * r.col_step]);
  return acc;
}

void pool_max_row(const PoolRow& r) {
  if (r.n == 1) {
    const auto max = [](float a, float b) { return b > a || b != b ? b : a; };
    for (dim_t p = 0; p < r.pixels; ++p) r.y[p * r.y_step] = pool_scalar(r, r.x + p * r.x_step, max);
    return;
  }
  pool_row(r, [](vf a, vf b) { return vmax_nan(a, b); }, [](vf v) { return v; });
}

void pool_average_row(const PoolRow& r) {
  if (r.n == 1) {
    const auto add = [](float a, float b) { return a + b; };
    for (dim_t p = 0; p < r.pixels; ++p) r.y[p * r.y_step] = pool_scalar(r, r.x + p * r.x_step, add) / r.divisor;
    return;
  }
  const vf divisor = vset(r.divisor);
  pool_row(r, [](vf a, vf b) { return vadd(a, b); }, [=](vf v) { return vdiv(v, divisor); });
}

}  // namespace
}  // namespace fastconv
