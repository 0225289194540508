// L0 core: what happens to an accumulator before it is stored, one POD for every kernel that stores
// a result:
//   y = act(acc + bias[n] + row_bias[m] + residual_scale * residual[m, n])
// Plain data only: ISA translation units include this file.
#pragma once
#include "core/types.h"

namespace fastconv {

// Parameters alpha and beta by activation; the definitions are those of torch.nn.functional.
enum class Act : int32_t {
  none,         // x
  clamp,        // min(max(x, alpha), beta): relu (0, inf), relu6 (0, 6), clip
  leaky_relu,   // x < 0 ? alpha * x : x
  sigmoid,      // 1 / (1 + exp(-x))
  silu,         // x * sigmoid(x)
  hardsigmoid,  // clamp(alpha * x + beta, 0, 1); torch: alpha = 1/6, beta = 1/2
  hardswish,    // x * clamp(x / 6 + 1/2, 0, 1)
  gelu,         // x * (1 + erf(x / sqrt 2)) / 2
  gelu_tanh,    // x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2
  mish,         // x * tanh(log(1 + exp(x)))
  tanh,
  elu,  // x < 0 ? alpha * (exp(x) - 1) : x
  exp,
  sqrt,
  abs,
  neg,
  // Rounded to one of 256 multiples of alpha: alpha * clamp(round(x / alpha), beta, beta + 255),
  // beta whole; ties to even, NaN to the least. What quantising to 8 bits and back does.
  fake_quantize,
  erf,
  log,
  softplus,          // log(1 + exp(x))
  softsign,          // x / (1 + |x|)
  reciprocal,        // 1 / x
  thresholded_relu,  // x > alpha ? x : 0
  affine,            // alpha * x + beta
  scaled_tanh,       // alpha * tanh(beta * x)
  selu,              // x < 0 ? alpha * (exp(x) - 1) : beta * x
  celu,              // x < 0 ? alpha * (exp(x / alpha) - 1) : x, alpha > 0
};

struct Activation {
  Act act = Act::none;
  float alpha = 0.0f;
  float beta = 0.0f;
};

struct Epilogue {
  const float* bias = nullptr;      // [n] or null
  const float* row_bias = nullptr;  // [m] or null; the GEMM tile alone has it
  // Addressed like the output (same row offsets, leading dimension ldr), or null.
  const float* residual = nullptr;
  dim_t ldr = 0;
  float residual_scale = 1.0f;
  Activation activation;
};

}  // namespace fastconv
