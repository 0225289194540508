// L2 kernels: windows of a pooling layer. Called by nn/pool.cpp, which finds the taps of each
// window that are in bounds.
//   y[p * y_step + i] = max or sum / divisor over r < rows, c < cols
//                       of x[p * x_step + r * row_step + c * col_step + i]
// Contract: PoolRow in kernel_table.h; y does not overlap x. Start at pool_row.
//
// Four vectors of a window at a time: one address serves 4 loads, and the 4 chains of compare,
// blend and max (1 + 1 + 1 cycles) overlap. A last partial vector is moved back to overlap its
// neighbour where n >= W, which costs nothing but equal stores; 1 < n < W is masked. n = 1 is the
// pass across the columns of an NCHW image: W windows at a time where they lie 1 or 2 columns
// apart, by itself each where they lie further.
#pragma once
#include "kernels/eltwise.inl.h"
#include "kernels/kernel_table.h"

namespace fastconv {
namespace {

// V vectors of one window; lanes < W only with V = 1.
template <int V, class Combine, class Finish>
inline void pool_window(const PoolRow& r, int lanes, const float* x, float* y, Combine combine,
                        Finish finish) {
  vf acc[V];
  for (int v = 0; v < V; ++v) acc[v] = load_lanes(x + v * W, lanes);
  dim_t first = 1;
  for (dim_t row = 0; row < r.rows; ++row, x += r.row_step, first = 0)
    for (dim_t col = first; col < r.cols; ++col)
      for (int v = 0; v < V; ++v)
        acc[v] = combine(acc[v], load_lanes(x + col * r.col_step + v * W, lanes));
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

// x[0], x[2], ... x[2W - 2]; reads x[2W - 1] too.
inline vf load_even(const float* x) {
  const vi even = vindex(kLanes.even);
  return vselect_lt(vload(kLanes.number), vset(W / 2), vpermute(vload(x), even),
                    vpermute(vload(x + W), even));
}

// Windows of single elements.
template <class Combine, class Finish>
inline void pool_elements(const PoolRow& r, Combine combine, Finish finish) {
  dim_t p = 0;
  if (r.x_step == 2 && r.y_step == 1) {
    for (; p + W < r.pixels; p += W) {  // the last window goes by itself: load_even reads beyond it
      const float* x = r.x + p * 2;
      vf acc = load_even(x);
      dim_t first = 1;
      for (dim_t row = 0; row < r.rows; ++row, x += r.row_step, first = 0)
        for (dim_t col = first; col < r.cols; ++col)
          acc = combine(acc, load_even(x + col * r.col_step));
      vstore(r.y + p, finish(acc));
    }
  }
  for (; p < r.pixels; ++p)
    pool_window<1>(r, 1, r.x + p * r.x_step, r.y + p * r.y_step, combine, finish);
}

template <class Combine, class Finish>
inline void pool(const PoolRow& row, Combine combine, Finish finish) {
  PoolRow r = row;
  if (r.n == 1 && r.x_step == 1 && r.y_step == 1) {  // neighbours, as channels are
    r.n = r.pixels;
    r.pixels = 1;
  }
  if (r.n == 1)
    pool_elements(r, combine, finish);
  else
    pool_row(r, combine, finish);
}

void pool_max_row(const PoolRow& r) {
  pool(r, [](vf a, vf b) { return vmax_nan(a, b); }, [](vf v) { return v; });
}

void pool_average_row(const PoolRow& r) {
  const vf divisor = vset(r.divisor);
  pool(r, [](vf a, vf b) { return vadd(a, b); }, [=](vf v) { return vdiv(v, divisor); });
}

}  // namespace
}  // namespace fastconv
