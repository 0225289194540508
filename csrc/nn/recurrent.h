// L4 nn: one direction of a recurrent layer (RNN, GRU, LSTM), whose recurrent weights are packed
// once. The products with the inputs of all steps come from outside; what is here goes step by
// step.
#pragma once
#include "core/buffer.h"
#include "core/epilogue.h"
#include "core/view.h"
#include "kernels/kernel_table.h"

namespace fastconv {

enum class Cell { rnn, gru, lstm };
constexpr int gates_of(Cell cell) noexcept {
  return cell == Cell::rnn ? 1 : cell == Cell::gru ? 3 : 4;
}

// Gates are in ONNX's order: update, reset, hidden of a GRU; input, output, forget, cell of an
// LSTM.
struct RecurrentParams {
  Cell cell = Cell::rnn;
  bool reverse = false;      // the last step first
  bool reset_after = false;  // GRU: the reset gate applies to the product, not to the state
  bool coupled = false;      // LSTM: the forget gate is 1 - the input gate
  Activation functions[3];   // of the gates, of the new value, of an LSTM's state
  float clip = 0.0f;         // the first two get their argument within -clip to clip; 0: as it is
};

class Recurrent {
 public:
  // r: (gates * h, h), of any strides. hidden_bias: [h], added to the product that a GRU resets
  // after, or null. scales: [gates * h] where r holds integers, by which the state, rounded to 8
  // bits over its range at each step, is multiplied exactly; or null.
  Recurrent(const RecurrentParams& params, const View& r, const float* hidden_bias,
            const float* scales);

  int gates() const noexcept { return gates_of(params_.cell); }
  int states() const noexcept { return params_.cell == Cell::lstm ? 2 : 1; }
  dim_t hidden() const noexcept { return hidden_; }
  dim_t bytes() const noexcept;
  dim_t workspace(dim_t n) const noexcept;  // floats

  // x: (steps, n, gates * h), W x with the biases that belong to no reset product. y: (steps +
  // states, n, h): the state after each step, then the last ones. initial_h and initial_c: (n, h),
  // peepholes: [3 h] of an LSTM, lengths: [n] steps that a sequence has; each may be null. The last
  // dimensions of x and y are contiguous, and so are the peepholes.
  void run(const View& x, const View* initial_h, const View* initial_c, const View* peepholes,
           const View* lengths, const View& y, float* workspace) const noexcept;

 private:
  // B of some gates, as RecurrentKernels::product reads it.
  struct Part {
    Buffer<float> data;
    dim_t N = 0;
  };
  struct Operands;  // of a run
  Part packed(const View& r, dim_t first, dim_t N) const;
  dim_t panel_width() const noexcept { return kRecurrentPanel * kernels_->lanes; }
  void multiply(const Part* parts, const RecurrentProduct* products, int count) const noexcept;
  void multiply_integers(const Operands& o, const float* x) const noexcept;
  void apply(const Activation& function, bool clipped, dim_t n, float* x) const noexcept;
  void step(const Operands& o, const float* x) const noexcept;
  void lstm_row(const Operands& o, float* gates, float* h, float* c) const noexcept;

  const KernelTable* kernels_;
  RecurrentParams params_;
  dim_t hidden_;
  Part parts_[2];  // all gates; of a GRU the first two, and the third
  Buffer<float> hidden_bias_, scales_;
  dim_t exact_depth_ = 0;  // of sums of integers that f32 holds
};

}  // namespace fastconv
