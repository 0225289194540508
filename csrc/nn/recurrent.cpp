// L4 nn: recurrent layers (recurrent.h) on kernels/recurrent.inl.h and the functions of
// kernels/eltwise.inl.h. The state lies in the last rows of the result, where each step finds it
// and leaves it. A step is a product, whose columns the threads share, and then the gates, row by
// row. Start at run().
#include "nn/recurrent.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/division.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "kernels/dispatch.h"
#include "nn/strided.h"

namespace fastconv {
namespace {

// Multiply-adds of a step below which a thread costs more than it brings.
constexpr dim_t kWorthAThread = 40000;
// Products of two 8-bit numbers of which f32 holds any sum.
constexpr dim_t kExactTerms = (1 << 24) / (255 * 255);

dim_t whole_lines(dim_t floats) { return round_up(floats, 16); }

}  // namespace

// The memory of a run, all rows dense but those of the states.
struct Recurrent::Operands {
  dim_t n;
  float *h, *c;  // the states
  dim_t step;    // between the rows of a state
  dim_t x_step;
  const float* peepholes;
  const View* lengths;
  dim_t time;
  float* sums;                  // (n, gates * hidden)
  float* scratch;               // (n, hidden): the state as the second product reads it
  float *column_scales, *part;  // of integers
  double* totals;

  // Whether a sequence has no such step: its state stays.
  bool ended(dim_t m) const noexcept {
    return lengths && static_cast<float>(time) >= lengths->as<float>()[m * lengths->stride[0]];
  }
};

Recurrent::Recurrent(const RecurrentParams& params, const View& r, const float* hidden_bias,
                     const float* scales)
    : kernels_(&kernels()), params_(params), hidden_(r.shape[1]) {
  const dim_t all = gates() * hidden_;
  if (params.cell == Cell::gru) {
    parts_[0] = packed(r, 0, 2 * hidden_);
    parts_[1] = packed(r, 2 * hidden_, hidden_);
  } else {
    parts_[0] = packed(r, 0, all);
  }
  if (hidden_bias) hidden_bias_ = Buffer<float>::copy_of(hidden_bias, hidden_);
  if (!scales) return;
  scales_ = Buffer<float>::copy_of(scales, all);
  double largest = 0.0;
  for (dim_t i = 0; i < all; ++i) {
    double sum = 0.0;
    for (dim_t k = 0; k < hidden_; ++k)
      sum += std::fabs(r.as<float>()[i * r.stride[0] + k * r.stride[1]]);
    largest = std::max(largest, 255.0 * sum);
  }
  exact_depth_ = largest < (1 << 24) ? hidden_ : kExactTerms;
}

dim_t Recurrent::bytes() const noexcept { return parts_[0].data.bytes() + parts_[1].data.bytes(); }

Recurrent::Part Recurrent::packed(const View& r, dim_t first, dim_t N) const {
  const dim_t K = hidden_, width = panel_width(), panels = ceil_div(N, width);
  Part part{Buffer<float>(panels * K * width), N};
  const float* from = r.as<float>() + first * r.stride[0];
  float* to = part.data.data();
  for (dim_t p = 0; p < panels; ++p)
    for (dim_t k = 0; k < K; ++k)
      for (dim_t j = 0; j < width; ++j) {
        const dim_t n = p * width + j;
        *to++ = n < N ? from[n * r.stride[0] + k * r.stride[1]] : 0.0f;
      }
  return part;
}

dim_t Recurrent::workspace(dim_t n) const noexcept {
  const dim_t all = gates() * hidden_, sums = whole_lines(n * all);
  dim_t size = sums + whole_lines(n * hidden_);
  if (scales_.size()) size += whole_lines(all) + 3 * sums;  // sums of a part, and totals in f64
  return size;
}

// Products that do not wait for each other; threads share the columns of each, in pairs of panels.
void Recurrent::multiply(const Part* parts, const RecurrentProduct* products,
                         int count) const noexcept {
  dim_t work = 0, pairs = 0;
  for (int i = 0; i < count; ++i) {
    work += products[i].M * products[i].N * products[i].depth;
    pairs = std::max(pairs, ceil_div(parts[i].N, 2 * panel_width()));
  }
  const dim_t worth = 1 + work / kWorthAThread;
  const int threads =
      static_cast<int>(std::max<dim_t>(1, std::min({dim_t{get_num_threads()}, pairs, worth})));
  const auto product = kernels_->recurrent.product;
  parallel_run(threads, [&](int tid) {
    for (int i = 0; i < count; ++i) {
      const dim_t panels = ceil_div(parts[i].N, panel_width());
      const Range mine = partition(ceil_div(panels, 2), threads, tid);
      product(products[i], 2 * mine.begin, std::min(2 * mine.end, panels));
    }
  });
}

// sums = r times the state in 8 bits, scaled, + x. Sums of integers that f32 may not hold are made
// in parts, which it does, and added up in f64.
void Recurrent::multiply_integers(const Operands& o, const float* x) const noexcept {
  const KernelTable& kernel = *kernels_;
  const dim_t all = gates() * hidden_;
  float low = 0.0f, high = 0.0f;
  for (dim_t m = 0; m < o.n; ++m) {
    low = std::min(low, kernel.reduce.row(ReduceOp::min, hidden_, o.h + m * o.step));
    high = std::max(high, kernel.reduce.row(ReduceOp::max, hidden_, o.h + m * o.step));
  }
  const float scale = low == high ? 1.0f : (high - low) / 255.0f;
  const float zero = std::clamp(std::nearbyint(-low / scale), 0.0f, 255.0f);
  for (dim_t m = 0; m < o.n; ++m)
    kernel.recurrent.centred(hidden_, o.h + m * o.step, scale, zero, o.scratch + m * hidden_);

  RecurrentProduct product{};
  product.M = o.n;
  product.N = all;
  product.lda = hidden_;
  product.panel_step = hidden_ * panel_width();
  product.ldy = all;
  const bool whole = exact_depth_ >= hidden_;
  product.y = whole ? o.sums : o.part;
  for (dim_t k = 0; k < hidden_; k += exact_depth_) {
    product.depth = std::min(exact_depth_, hidden_ - k);
    product.a = o.scratch + k;
    product.b = parts_[0].data.data() + k * panel_width();
    multiply(parts_, &product, 1);
    if (whole) break;
    for (dim_t i = 0; i < o.n * all; ++i) o.totals[i] = (k ? o.totals[i] : 0.0) + o.part[i];
  }
  if (!whole)
    for (dim_t i = 0; i < o.n * all; ++i) o.sums[i] = static_cast<float>(o.totals[i]);
  kernel.eltwise.binary(BinaryOp::mul, all, scales_.data(), 1, &scale, 0, o.column_scales);
  for (dim_t m = 0; m < o.n; ++m) {
    float* sums = o.sums + m * all;
    kernel.recurrent.multiply_add(all, sums, o.column_scales, x + m * o.x_step, nullptr, sums);
  }
}

void Recurrent::apply(const Activation& function, bool clipped, dim_t n, float* x) const noexcept {
  if (clipped && params_.clip > 0.0f)
    kernels_->eltwise.activate(n, x, x, {Act::clamp, -params_.clip, params_.clip});
  kernels_->eltwise.activate(n, x, x, function);
}

void Recurrent::lstm_row(const Operands& o, float* gates, float* h, float* c) const noexcept {
  const RecurrentKernels& kernel = kernels_->recurrent;
  const dim_t n = hidden_;
  const auto& [gate, value, state] = params_.functions;
  float *input = gates, *output = gates + n, *forget = gates + 2 * n, *cell = gates + 3 * n;
  if (o.peepholes) {
    kernel.multiply_add(n, o.peepholes, c, input, nullptr, input);
    kernel.multiply_add(n, o.peepholes + 2 * n, c, forget, nullptr, forget);
    apply(gate, true, n, input);
    apply(gate, true, n, forget);
  } else {
    apply(gate, true, 3 * n, gates);
  }
  apply(value, true, n, cell);
  if (params_.coupled)
    kernel.blend(n, input, c, cell, c);
  else
    kernel.multiply_add(n, forget, c, input, cell, c);
  if (o.peepholes) {
    kernel.multiply_add(n, o.peepholes + n, c, output, nullptr, output);
    apply(gate, true, n, output);
  }
  kernels_->eltwise.activate(n, c, h, state);
  kernels_->eltwise.binary(BinaryOp::mul, n, output, 1, h, 1, h);
}

// The states after a step, in their place.
void Recurrent::step(const Operands& o, const float* x) const noexcept {
  const RecurrentKernels& kernel = kernels_->recurrent;
  const dim_t n = hidden_, all = gates() * n, panel_step = n * panel_width();
  const Activation* functions = params_.functions;
  const RecurrentProduct first{
      o.n,        parts_[0].N, n,        o.h,    o.step, parts_[0].data.data(),
      panel_step, x,           o.x_step, o.sums, all};
  const RecurrentProduct second{o.n,        n,
                                n,          o.h,
                                o.step,     parts_[1].data.data(),
                                panel_step, hidden_bias_.data(),
                                0,          o.sums + 2 * n,
                                all};
  const bool gru = params_.cell == Cell::gru, both = gru && params_.reset_after;
  const RecurrentProduct products[2] = {first, second};
  if (scales_.size())
    multiply_integers(o, x);
  else
    multiply(parts_, products, both ? 2 : 1);

  const auto by_rows = [&](auto row) {
    parallel_for(o.n, std::max<dim_t>(1, kGrain / 8 / std::max<dim_t>(1, all)),
                 [&](dim_t begin, dim_t end) {
                   for (dim_t m = begin; m < end; ++m)
                     if (!o.ended(m)) row(m, o.sums + m * all, o.h + m * o.step);
                 });
  };
  switch (params_.cell) {
    case Cell::rnn:
      return by_rows([&](dim_t, float* sums, float* h) {
        apply(functions[0], true, n, sums);
        std::memcpy(h, sums, static_cast<size_t>(n) * sizeof(float));
      });
    case Cell::lstm:
      return by_rows(
          [&](dim_t m, float* sums, float* h) { lstm_row(o, sums, h, o.c + m * o.step); });
    case Cell::gru:
      break;
  }
  if (!both) {
    by_rows([&](dim_t m, float* sums, float* h) {
      apply(functions[0], true, 2 * n, sums);
      kernels_->eltwise.binary(BinaryOp::mul, n, sums + n, 1, h, 1, o.scratch + m * n);
    });
    RecurrentProduct reset = second;
    reset.a = o.scratch;
    reset.lda = n;
    reset.addend = x + 2 * n;
    reset.ld_addend = o.x_step;
    multiply(parts_ + 1, &reset, 1);
  }
  by_rows([&](dim_t m, float* sums, float* h) {
    float* value = sums + 2 * n;
    if (both) {
      apply(functions[0], true, 2 * n, sums);
      kernel.multiply_add(n, sums + n, value, x + m * o.x_step + 2 * n, nullptr, value);
    }
    apply(functions[1], true, n, value);
    kernel.blend(n, sums, value, h, h);
  });
}

void Recurrent::run(const View& x, const View* initial_h, const View* initial_c,
                    const View* peepholes, const View* lengths, const View& y,
                    float* workspace) const noexcept {
  const dim_t steps = x.shape[0], n = x.shape[1], all = gates() * hidden_;
  const dim_t sums_size = whole_lines(n * all), y_step = y.stride[1];
  Operands o{};
  o.n = n;
  o.h = y.as<float>() + steps * y.stride[0];
  o.c = params_.cell == Cell::lstm ? o.h + y.stride[0] : nullptr;
  o.step = y_step;
  o.x_step = x.stride[1];
  o.peepholes = peepholes ? peepholes->as<float>() : nullptr;
  o.lengths = lengths;
  o.sums = workspace;
  o.scratch = o.sums + sums_size;
  o.column_scales = o.scratch + whole_lines(n * hidden_);
  o.part = o.column_scales + whole_lines(all);
  o.totals = reinterpret_cast<double*>(o.part + sums_size);

  const auto start = [&](float* state, const View* initial) {
    for (dim_t m = 0; m < n; ++m)
      for (dim_t i = 0; i < hidden_; ++i)
        state[m * y_step + i] =
            initial ? initial->as<float>()[m * initial->stride[0] + i * initial->stride[1]] : 0.0f;
  };
  start(o.h, initial_h);
  if (o.c) start(o.c, initial_c);
  for (dim_t s = 0; s < steps; ++s) {
    if (s > 0 && interrupted()) return;
    o.time = params_.reverse ? steps - 1 - s : s;
    step(o, x.as<float>() + o.time * x.stride[0]);
    for (dim_t m = 0; m < n; ++m) {
      float* out = y.as<float>() + o.time * y.stride[0] + m * y_step;
      if (o.ended(m))
        std::fill_n(out, hidden_, 0.0f);
      else
        std::memcpy(out, o.h + m * y_step, static_cast<size_t>(hidden_) * sizeof(float));
    }
  }
}

}  // namespace fastconv
