// L2 kernels: element by element, over contiguous runs. Called by nn/eltwise.cpp, nn/norm.cpp and,
// for the activations that are dearer than a clamp, by every kernel with an epilogue
// (apply_activation, on a row that is still in L1).
//   activate  y[i] = act(x[i])
//   binary    y[i] = a[i] op b[i], where either operand may be a scalar
//   affine    y[i] = x[i] * scale + shift
// Contract: n >= 0; y may be an operand itself but not overlap one otherwise; the last n % W
// elements are loaded and stored with masks and computed as full vectors are, so a result does not
// depend on where an element lies. Start at for_each.
#pragma once
#include <math.h>

#include "kernels/kernel_table.h"
#include "kernels/vmath.inl.h"

namespace fastconv {
namespace {

// y[i, i + lanes) = f(i, lanes), a vector at a time.
template <class F>
inline void for_each(dim_t n, float* y, F f) {
  dim_t i = 0;
  for (; i + W <= n; i += W) vstore(y + i, f(i, W));
  if (i < n) {
    const int tail = static_cast<int>(n - i);
    vstore_tail(y + i, f(i, tail), tail);
  }
}

inline vf load_lanes(const float* p, int lanes) {
  return lanes == W ? vload(p) : vload_tail(p, lanes);
}

// Lanes 0, 2, ... W - 2 twice, and the lanes' numbers.
struct Lanes {
  int32_t even[W];
  float number[W];
  constexpr Lanes() : even(), number() {
    for (int i = 0; i < W; ++i) {
      even[i] = 2 * i % W;
      number[i] = static_cast<float>(i);
    }
  }
};
constexpr Lanes kLanes;

// The first n lanes of v, and 0 in the others.
inline vf first_lanes(vf v, int n) {
  return vselect_lt(vload(kLanes.number), vset(static_cast<float>(n)), v, vzero());
}

template <class F>
inline void map(dim_t n, const float* x, float* y, F f) {
  for_each(n, y, [=](dim_t i, int lanes) { return f(load_lanes(x + i, lanes)); });
}

// f(g), g the function of a vector that the activation is. The clamp's order of operands lets NaN
// through (vec_ref.h).
template <class F>
inline void with_activation(const Activation& activation, F f) {
  const vf alpha = vset(activation.alpha), beta = vset(activation.beta);
  switch (activation.act) {
    case Act::none:
      return f([](vf v) { return v; });
    case Act::clamp:
      return f([=](vf v) { return vmin(beta, vmax(alpha, v)); });
    case Act::leaky_relu:
      return f([=](vf v) { return vselect_lt(v, vzero(), vmul(alpha, v), v); });
    case Act::sigmoid:
      return f([](vf v) { return vsigmoid(v); });
    case Act::silu:
      return f([](vf v) { return vsilu(v); });
    case Act::hardsigmoid:
      return f([=](vf v) { return vmin(vset(1.0f), vmax(vzero(), vfma(alpha, v, beta))); });
    case Act::hardswish:
      return f([](vf v) {
        const vf gate = vmin(vset(6.0f), vmax(vzero(), vadd(v, vset(3.0f))));
        return vmul(v, vmul(gate, vset(1.0f / 6.0f)));  // the gate 6 / 6 is exactly 1
      });
    case Act::gelu:
      return f([](vf v) { return vgelu(v); });
    case Act::gelu_tanh:
      return f([](vf v) { return vgelu_tanh(v); });
    case Act::mish:
      return f([](vf v) { return vmish(v); });
    case Act::tanh:
      return f([](vf v) { return vtanh(v); });
    case Act::elu:
      return f([=](vf v) { return vselect_lt(v, vzero(), vmul(alpha, vexpm1_negative(v)), v); });
    case Act::exp:
      return f([](vf v) { return vexp(v); });
    case Act::sqrt:
      return f([](vf v) { return vsqrt(v); });
    case Act::abs:
      return f([](vf v) { return vabs(v); });
    case Act::neg:
      return f([](vf v) { return vneg(v); });
    case Act::erf:
      return f([](vf v) { return verf(v); });
    case Act::log:
      return f([](vf v) { return vlog(v); });
    case Act::softplus:
      return f([](vf v) { return vsoftplus(v); });
    case Act::softsign:
      return f([](vf v) { return vdiv(v, vadd(vset(1.0f), vabs(v))); });
    case Act::reciprocal:
      return f([](vf v) { return vdiv(vset(1.0f), v); });
    case Act::thresholded_relu:
      return f([=](vf v) { return vselect_lt(alpha, v, v, vzero()); });
    case Act::affine:
      return f([=](vf v) { return vfma(alpha, v, beta); });
    case Act::scaled_tanh:
      return f([=](vf v) { return vmul(alpha, vtanh(vmul(beta, v))); });
    case Act::selu:
      return f([=](vf v) {
        return vselect_lt(v, vzero(), vmul(alpha, vexpm1_negative(v)), vmul(beta, v));
      });
    case Act::celu:
      return f([=](vf v) {
        const vf below = vmul(alpha, vexpm1_negative(vmin(vzero(), vdiv(v, alpha))));
        return vselect_lt(v, vzero(), below, v);
      });
    case Act::fake_quantize: {
      const vf most = vadd(beta, vset(255.0f));
      return f([=](vf v) {  // the bits of the integers' way: no -0, a division
        const vf steps = vround(vmin(vmax(vdiv(v, alpha), beta), most));
        return vmul(vadd(steps, vzero()), alpha);
      });
    }
  }
}

inline void activate(dim_t n, const float* x, float* y, Activation activation) {
  if (activation.act == Act::none && x == y) return;
  with_activation(activation, [=](auto f) { map(n, x, y, f); });
}

// What an epilogue does with rows that it has just stored, of n each, row i at y + i * step or,
// with `row`, at y + row[i]. The more rows, the better: to start takes as long as ten vectors.
void apply_activation(float* y, dim_t rows, const dim_t* row, dim_t step, dim_t n,
                      const Activation& activation) {
  const auto start = [=](dim_t i) { return y + (row ? row[i] : i * step); };
  with_activation(activation, [=](auto f) {
    const dim_t whole = n / W * W;
    for (dim_t i = 0; i < rows; ++i) {
      float* at = start(i);
      for (const float* end = at + whole; at < end; at += W) vstore(at, f(vload(at)));
    }
    if (whole < n) {
      const int tail = static_cast<int>(n - whole);
      for (dim_t i = 0; i < rows; ++i) {
        float* end = start(i) + whole;
        vstore_tail(end, f(vload_tail(end, tail)), tail);
      }
    }
  });
}

// NaN in either operand gives NaN (vmax and vmin give b then, see vec_ref.h).
inline vf vmax_nan(vf a, vf b) { return vselect_nan(a, a, vmax(a, b)); }
inline vf vmin_nan(vf a, vf b) { return vselect_nan(a, a, vmin(a, b)); }

template <class F>
inline void zip(dim_t n, const float* a, dim_t a_step, const float* b, dim_t b_step, float* y,
                F f) {
  const vf a0 = vbroadcast(a), b0 = vbroadcast(b);
  for_each(n, y, [=](dim_t i, int lanes) {
    return f(a_step ? load_lanes(a + i, lanes) : a0, b_step ? load_lanes(b + i, lanes) : b0);
  });
}

// y = a^b for those b of which few operations give it, to a unit in the last place or two; false
// for others. The root is that of pow: 0 of -0, infinite of -infinity.
inline bool power(dim_t n, const float* a, float b, float* y) {
  const vf one = vset(1.0f), infinity = vset(__builtin_inff());
  const auto root = [=](vf v) {
    return vselect_lt(v, vset(-3.40282347e38f), infinity, vsqrt(vadd(v, vzero())));
  };
  if (b == 1.0f) return map(n, a, y, [](vf v) { return v; }), true;
  if (b == -1.0f) return map(n, a, y, [=](vf v) { return vdiv(one, v); }), true;
  if (b == 0.5f) return map(n, a, y, root), true;
  if (b == -0.5f) return map(n, a, y, [=](vf v) { return vdiv(one, root(v)); }), true;
  if (b == 2.0f) return map(n, a, y, [](vf v) { return vmul(v, v); }), true;
  if (b == 3.0f) return map(n, a, y, [](vf v) { return vmul(vmul(v, v), v); }), true;
  return false;
}

inline void binary(BinaryOp op, dim_t n, const float* a, dim_t a_step, const float* b, dim_t b_step,
                   float* y) {
  if (n <= 0) return;
  switch (op) {
    case BinaryOp::add:
      return zip(n, a, a_step, b, b_step, y, [](vf p, vf q) { return vadd(p, q); });
    case BinaryOp::sub:
      return zip(n, a, a_step, b, b_step, y, [](vf p, vf q) { return vsub(p, q); });
    case BinaryOp::mul:
      return zip(n, a, a_step, b, b_step, y, [](vf p, vf q) { return vmul(p, q); });
    case BinaryOp::div:
      return zip(n, a, a_step, b, b_step, y, [](vf p, vf q) { return vdiv(p, q); });
    case BinaryOp::min:
      return zip(n, a, a_step, b, b_step, y, [](vf p, vf q) { return vmin_nan(p, q); });
    case BinaryOp::max:
      return zip(n, a, a_step, b, b_step, y, [](vf p, vf q) { return vmax_nan(p, q); });
    case BinaryOp::prelu:
      return zip(n, a, a_step, b, b_step, y,
                 [](vf p, vf q) { return vselect_lt(p, vzero(), vmul(p, q), p); });
    case BinaryOp::pow:
      if (!b_step && a_step && power(n, a, *b, y)) return;
      for (dim_t i = 0; i < n; ++i) y[i] = powf(a[i * a_step], b[i * b_step]);
      return;
  }
}

inline void affine(dim_t n, const float* x, const float* scale, const float* shift, dim_t step,
                   float* y) {
  if (n <= 0) return;
  if (step == 0) {
    const vf a = vbroadcast(scale), b = vbroadcast(shift);
    return map(n, x, y, [=](vf v) { return vfma(v, a, b); });
  }
  for_each(n, y, [=](dim_t i, int lanes) {
    return vfma(load_lanes(x + i, lanes), load_lanes(scale + i, lanes),
                load_lanes(shift + i, lanes));
  });
}

}  // namespace
}  // namespace fastconv
