// L0 core: what happens to an accumulator before it is stored, one POD for every kernel that stores
// a result:
//   y = act(acc + bias[n] + row_bias[m] + residual_scale * residual[m, n])
// Plain data only: ISA translation units include this file.
#pragma once
#include "core/types.h"

namespace fastconv {

enum class Act : int32_t {
#define FC_ACTIVATION(name, cost) name,
#include "core/activations.def"
#undef FC_ACTIVATION
};
enum class ActCost { registers, arithmetic, function };
constexpr ActCost kActCosts[] = {
#define FC_ACTIVATION(name, cost) ActCost::cost,
#include "core/activations.def"
#undef FC_ACTIVATION
};

struct Activation {
  Act act = Act::none;
  float alpha = 0.0f;
  float beta = 0.0f;

  FC_INLINE ActCost cost() const { return kActCosts[static_cast<int>(act)]; }
  // Whether an epilogue leaves it to a pass over what it has stored.
  FC_INLINE bool afterwards() const { return cost() != ActCost::registers; }
};

struct Epilogue {
  const float* bias = nullptr;      // [n] or null
  const float* row_bias = nullptr;  // [m] or null; tiles of products alone have it
  // Addressed like the output (same row offsets, leading dimension ldr), or null.
  const float* residual = nullptr;
  dim_t ldr = 0;
  float residual_scale = 1.0f;
  Activation activation;
};

}  // namespace fastconv
