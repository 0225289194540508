// L4 nn: numbers of 8 bits, element by element (quantized.h) on the kernels of
// kernels/quantized.inl.h.
#include "nn/quantized.h"

#include <atomic>
#include <limits>

#include "kernels/dispatch.h"
#include "nn/strided.h"

namespace fastconv {
namespace {

template <class T>
void quantize_to(const View& x, Quantization q, const View& y) noexcept {
  const auto kernel = quantized_kernels<T>().quantize;
  map_runs<float, T>(x, y, [=](dim_t n, const float* from, T* to) { kernel(n, from, q, to); });
}

template <class T>
void dequantize_from(const View& x, Quantization q, const View& y) noexcept {
  const auto kernel = quantized_kernels<T>().dequantize;
  map_runs<T, float>(x, y, [=](dim_t n, const T* from, float* to) { kernel(n, from, q, to); });
}

template <class T>
void binary_of(BinaryOp op, const View& a, Quantization from_a, const View& b, Quantization from_b,
               const View& y, Quantization to) noexcept {
  View position = y;
  std::fill_n(position.stride, y.rank, 0);
  Nest<4> nest = merge(a, b, position, y);
  const dim_t a_period = join_periodic(nest, 0, 2);
  const dim_t b_period = a_period ? 0 : join_periodic(nest, 1, 2);
  const dim_t a_step = nest.step(0), b_step = nest.step(1), y_step = nest.step(3);
  const auto kernel = quantized_kernels<T>().binary;
  for_each_run(nest, kGrain / 2, [&](dim_t n, const dim_t* offset) {
    const T *pa = a.as<T>() + offset[0], *pb = b.as<T>() + offset[1];
    const Repeated<T> repeated(a_period ? pa : pb, std::max(a_period, b_period), n);
    // The operand as a run, or as the one value that it is.
    const auto operand = [&](const T* p, dim_t step, dim_t period, dim_t i, dim_t m, T* buffer) {
      if (period) return repeated.at(offset[2] + i);
      return step ? gathered(p + i * step, step, m, buffer) : p;
    };
    write_run(y.as<T>() + offset[3], y_step, n, [&](dim_t m, T* piece, dim_t i) {
      T buffer_a[kChunk], buffer_b[kChunk];
      const T* run_a = operand(pa, a_step, a_period, i, m, buffer_a);
      const T* run_b = operand(pb, b_step, b_period, i, m, buffer_b);
      kernel(op, m, run_a, a_period || a_step, from_a, run_b, b_period || b_step, from_b, piece,
             to);
    });
  });
}

// The least and the largest number that any thread has seen, and 0; NaN where one was.
class Extremes {
 public:
  void add(float low, float high) noexcept {
    if (low != low || high != high) nan_.store(true, std::memory_order_relaxed);
    float seen = low_.load(std::memory_order_relaxed);
    while (low < seen && !low_.compare_exchange_weak(seen, low, std::memory_order_relaxed)) {
    }
    seen = high_.load(std::memory_order_relaxed);
    while (high > seen && !high_.compare_exchange_weak(seen, high, std::memory_order_relaxed)) {
    }
  }
  float low() const noexcept { return or_nan(low_); }
  float high() const noexcept { return or_nan(high_); }

 private:
  float or_nan(const std::atomic<float>& number) const noexcept {
    return nan_ ? std::numeric_limits<float>::quiet_NaN() : number.load();
  }
  std::atomic<float> low_ = 0.0f, high_ = 0.0f;
  std::atomic<bool> nan_ = false;
};

}  // namespace

void quantize(const View& x, Quantization q, const View& y) noexcept {
  y.element == Element::u8 ? quantize_to<uint8_t>(x, q, y) : quantize_to<int8_t>(x, q, y);
}

void dequantize(const View& x, Quantization q, const View& y) noexcept {
  if (x.element == Element::u8) return dequantize_from<uint8_t>(x, q, y);
  if (x.element == Element::s8) return dequantize_from<int8_t>(x, q, y);
  const auto kernel = kernels().bytes.scale_s32;
  map_runs<int32_t, float>(
      x, y, [=](dim_t n, const int32_t* from, float* to) { kernel(n, from, q.scale, to); });
}

void lookup(const View& x, const uint8_t* table, const View& y) noexcept {
  const auto kernel = kernels().bytes.lookup;
  map_runs<uint8_t, uint8_t>(
      x, y, [=](dim_t n, const uint8_t* from, uint8_t* to) { kernel(n, from, table, to); });
}

void quantized_binary(BinaryOp op, const View& a, Quantization from_a, const View& b,
                      Quantization from_b, const View& y, Quantization to) noexcept {
  y.element == Element::u8 ? binary_of<uint8_t>(op, a, from_a, b, from_b, y, to)
                           : binary_of<int8_t>(op, a, from_a, b, from_b, y, to);
}

void dynamic_range(const View& x, float* range) noexcept {
  constexpr dim_t kBlock = 2048;  // both passes over it are within L1
  const Nest<1> nest = merge(x);
  const dim_t step = nest.step(0);
  const auto reduce = kernels().reduce.row;
  Extremes extremes;
  for_each_run(nest, kGrain, [&](dim_t n, const dim_t* offset) {
    float low = 0.0f, high = 0.0f;
    bool nan = false;
    for (dim_t i = 0; i < n; i += kBlock) {
      const dim_t m = std::min(kBlock, n - i);
      float buffer[kBlock];
      const float* from = x.as<float>() + offset[0] + i * step;
      if (step != 1) {
        for (dim_t j = 0; j < m; ++j) buffer[j] = from[j * step];
        from = buffer;
      }
      const float least = reduce(ReduceOp::min, m, from), most = reduce(ReduceOp::max, m, from);
      nan = nan || least != least;
      low = std::min(low, least);
      high = std::max(high, most);
    }
    extremes.add(nan ? std::numeric_limits<float>::quiet_NaN() : low, high);
  });
  const float low = extremes.low(), high = extremes.high();
  range[0] = low == high ? 1.0f : (high - low) / 255.0f;
  range[1] = -low / range[0];
}

}  // namespace fastconv
