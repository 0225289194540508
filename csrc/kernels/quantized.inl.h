// L2 kernels: numbers of 8 bits that stand for real ones. Called by nn/quantized.cpp and
// nn/quantized_pool.cpp.
//   quantize    y = saturated(x / scale)
//   dequantize  y = (x - zero) * scale
//   lookup      y = table[x]
//   binary      y = saturated(a op b), of the real numbers
// Contract: QuantizedKernels in kernel_table.h. The arithmetic is ONNX's, operation by operation:
// a division is a division, and nothing is fused. Start at for_each_byte.
#pragma once
#include <string.h>

#include "kernels/eltwise.inl.h"
#include "kernels/kernel_table.h"

namespace fastconv {
namespace {

inline vi load_bytes(const uint8_t* p, int lanes) {
  if (lanes == W) return viload_bytes(p);
  uint8_t some[W] = {};
  memcpy(some, p, static_cast<size_t>(lanes));
  return viload_bytes(some);
}
inline vi load_bytes(const int8_t* p, int lanes) {
  if (lanes == W) return viload_bytes(p);
  int8_t some[W] = {};
  memcpy(some, p, static_cast<size_t>(lanes));
  return viload_bytes(some);
}
template <class T>
inline void store_bytes(T* p, vi v, int lanes, const SaturatedBytes& bytes) {
  uint8_t* const to = reinterpret_cast<uint8_t*>(p);
  if (lanes == W) return bytes.store(to, v);
  uint8_t all[W];
  bytes.store(all, v);
  memcpy(to, all, static_cast<size_t>(lanes));
}

// y[i, i + lanes) = f(i, lanes) as bytes; four vectors at a time, whose bytes take less to put
// together than each alone.
template <class T, class F>
inline void for_each_byte(dim_t n, T* y, const SaturatedBytes& bytes, F f) {
  dim_t i = 0;
  for (; i + WB <= n; i += WB) {
    uint8_t* const to = reinterpret_cast<uint8_t*>(y + i);
    const vi four[4] = {f(i, W), f(i + W, W), f(i + 2 * W, W), f(i + 3 * W, W)};
    bytes.store(to, to + 2 * W, four);
  }
  for (; i + W <= n; i += W) store_bytes(y + i, f(i, W), W, bytes);
  if (i < n) {
    const int tail = static_cast<int>(n - i);
    store_bytes(y + i, f(i, tail), tail, bytes);
  }
}

// The numbers of T by what they stand for, but that zero is to be added: with bytes().
template <class T>
class Quantized {
 public:
  explicit Quantized(Quantization q)
      : scale_(vset(q.scale)),
        low_(vset(static_cast<float>(kLeast - q.zero))),
        high_(vset(static_cast<float>(kLeast + 255 - q.zero))),
        nan_(vset(static_cast<float>(-q.zero))),
        bytes_(q.zero, kLeast, kLeast + 255) {}
  // The limits are whole, so that to clamp first and to round first is the same.
  vi operator()(vf v) const {
    v = vdiv(v, scale_);
    return vtoint(vmin(high_, vmax(low_, vselect_nan(v, nan_, v))));
  }
  // Of numbers that are none of them larger than 2^30 times the scale.
  vi bounded(vf v) const { return vtoint(vdiv(v, scale_)); }
  const SaturatedBytes& bytes() const { return bytes_; }

 private:
  static constexpr int32_t kLeast = static_cast<T>(-1) < 0 ? -128 : 0;
  vf scale_, low_, high_, nan_;
  SaturatedBytes bytes_;
};

// What they stand for.
class Dequantized {
 public:
  explicit Dequantized(Quantization q)
      : scale_(vset(q.scale)), zero_(vset(static_cast<float>(q.zero))) {}
  vf operator()(vi q) const { return vmul(vsub(vtofloat(q), zero_), scale_); }

 private:
  vf scale_, zero_;
};

template <class T>
void quantize(dim_t n, const float* x, Quantization q, T* y) {
  const Quantized<T> quantized(q);
  for_each_byte(n, y, quantized.bytes(),
                [=](dim_t i, int lanes) { return quantized(load_lanes(x + i, lanes)); });
}

template <class T>
void dequantize(dim_t n, const T* x, Quantization q, float* y) {
  const Dequantized value(q);
  for_each(n, y, [=](dim_t i, int lanes) { return value(load_bytes(x + i, lanes)); });
}

void scale_s32(dim_t n, const int32_t* x, float scale, float* y) {
  const vf by = vset(scale);
  for_each(n, y, [=](dim_t i, int lanes) {
    int32_t some[W] = {};
    if (lanes < W) memcpy(some, x + i, static_cast<size_t>(lanes) * sizeof(int32_t));
    return vmul(vtofloat(viload(lanes == W ? x + i : some)), by);
  });
}

// `largest`: no |f(p, q)| is larger.
template <class T, class F>
inline void zip_bytes(dim_t n, const T* a, dim_t a_step, Quantization from_a, const T* b,
                      dim_t b_step, Quantization from_b, T* y, Quantization to, double largest,
                      F f) {
  const Quantized<T> quantized(to);
  const Dequantized value_a(from_a), value_b(from_b);
  const vf a0 = value_a(viset(*a)), b0 = value_b(viset(*b));
  const auto zip = [&](auto finish) {
    for_each_byte(n, y, quantized.bytes(), [=](dim_t i, int lanes) {
      const vf p = a_step ? value_a(load_bytes(a + i, lanes)) : a0;
      const vf q = b_step ? value_b(load_bytes(b + i, lanes)) : b0;
      return finish(f(p, q));
    });
  };
  constexpr double kBound = 1 << 29;  // what the rounding of the steps adds is far less than 2
  if (largest <= kBound * static_cast<double>(to.scale))
    zip([=](vf v) { return quantized.bounded(v); });
  else
    zip([=](vf v) { return quantized(v); });
}

template <class T>
void quantized_binary(BinaryOp op, dim_t n, const T* a, dim_t a_step, Quantization from_a,
                      const T* b, dim_t b_step, Quantization from_b, T* y, Quantization to) {
  if (n <= 0) return;
  const double most_a = 255.0 * __builtin_fabs(from_a.scale),
               most_b = 255.0 * __builtin_fabs(from_b.scale);
  if (op == BinaryOp::add)
    return zip_bytes(n, a, a_step, from_a, b, b_step, from_b, y, to, most_a + most_b,
                     [](vf p, vf q) { return vadd(p, q); });
  zip_bytes(n, a, a_step, from_a, b, b_step, from_b, y, to, most_a * most_b,
            [](vf p, vf q) { return vmul(p, q); });
}

void lookup(dim_t n, const uint8_t* x, const uint8_t* table, uint8_t* y) {
  dim_t i = 0;
  if (n >= WB) {
    const ByteTable bytes(table);
    for (; i + WB <= n; i += WB) vbstore(y + i, bytes.at(vbload(x + i)));
  }
  for (; i < n; ++i) y[i] = table[x[i]];
}

// V registers of one window.
template <int V, class T>
inline void max_window(const PoolRowOf<T>& r, const T* x, T* y) {
  vi most[V];
  for (int v = 0; v < V; ++v) most[v] = vbload(x + v * WB);
  dim_t first = 1;
  for (dim_t row = 0; row < r.rows; ++row, x += r.row_step, first = 0)
    for (dim_t col = first; col < r.cols; ++col)
      for (int v = 0; v < V; ++v)
        most[v] = vbmax(most[v], vbload(x + col * r.col_step + v * WB), T());
  for (int v = 0; v < V; ++v) vbstore(y + v * WB, most[v]);
}

template <class T>
void max_bytes_row(const PoolRowOf<T>& row) {
  PoolRowOf<T> r = row;
  if (r.n == 1 && r.x_step == 1 && r.y_step == 1) {  // neighbours, as channels are
    r.n = r.pixels;
    r.pixels = 1;
  }
  for (dim_t p = 0; p < r.pixels; ++p) {
    const T* x = r.x + p * r.x_step;
    T* y = r.y + p * r.y_step;
    dim_t i = 0;
    for (; i + 2 * WB <= r.n; i += 2 * WB) max_window<2>(r, x + i, y + i);
    for (; i + WB <= r.n; i += WB) max_window<1>(r, x + i, y + i);
    // What is left overlaps its neighbour, or goes one by one where there is none.
    if (i < r.n && r.n >= WB) {
      max_window<1>(r, x + r.n - WB, y + r.n - WB);
      continue;
    }
    for (; i < r.n; ++i) {
      T most = x[i];
      for (dim_t a = 0; a < r.rows; ++a)
        for (dim_t b = 0; b < r.cols; ++b) {
          const T v = x[a * r.row_step + b * r.col_step + i];
          most = v > most ? v : most;
        }
      y[i] = most;
    }
  }
}

// V vectors of one window's sums; lanes < W only with V = 1.
template <int V, class T>
inline void sum_window(const PoolRowOf<T>& r, int lanes, const T* x, vi* sum) {
  for (int v = 0; v < V; ++v) sum[v] = vizero();
  for (dim_t row = 0; row < r.rows; ++row, x += r.row_step)
    for (dim_t col = 0; col < r.cols; ++col)
      for (int v = 0; v < V; ++v)
        sum[v] = viadd(sum[v], load_bytes(x + col * r.col_step + v * W, lanes));
}

template <class T>
void average_bytes_row(const PoolRowOf<T>& r) {
  const vi offset = viset(static_cast<int32_t>(-r.rows * r.cols * r.from.zero));
  const vf scale = vset(r.from.scale), divisor = vset(r.divisor);
  const Quantized<T> quantized(r.to);
  const auto average = [=](vi sum) {
    return quantized(vdiv(vmul(vtofloat(viadd(sum, offset)), scale), divisor));
  };
  constexpr int V = 4;
  for (dim_t p = 0; p < r.pixels; ++p) {
    const T* x = r.x + p * r.x_step;
    T* y = r.y + p * r.y_step;
    vi sum[V];
    dim_t i = 0;
    for (; i + V * W <= r.n; i += V * W) {
      sum_window<V>(r, W, x + i, sum);
      for (int v = 0; v < V; ++v) store_bytes(y + i + v * W, average(sum[v]), W, quantized.bytes());
    }
    for (; i < r.n; i += W) {
      const int lanes = r.n - i < W ? static_cast<int>(r.n - i) : W;
      sum_window<1>(r, lanes, x + i, sum);
      store_bytes(y + i, average(sum[0]), lanes, quantized.bytes());
    }
  }
}

template <class T>
void fill_numbers(QuantizedKernels<T>& k) {
  k.quantize = quantize<T>;
  k.dequantize = dequantize<T>;
  k.binary = quantized_binary<T>;
  k.max_row = max_bytes_row<T>;
  k.average_row = average_bytes_row<T>;
}

void fill_quantized(ByteKernels& k) {
  fill_numbers(k.u8);
  fill_numbers(k.s8);
  k.scale_s32 = scale_s32;
  k.lookup = lookup;
}

}  // namespace
}  // namespace fastconv
