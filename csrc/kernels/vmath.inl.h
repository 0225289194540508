// L2 kernels: elementary functions of a vector, in the vocabulary of simd/. Called by eltwise.inl.h
// and softmax.inl.h.
//   x = n ln 2 + r, |r| <= ln 2 / 2
//   exp(x) = 2^n (1 + r + r^2 q(r)),  q of degree 4, minimax (error 2^-26)
// Contract: any float in, infinities, NaN and denormals included; NaN comes out as NaN. Errors are
// at most 2.5 units in the last place, of mish 4.25, gelu 8.25, gelu_tanh 215:
// fastconv.testing.tolerance.ULPS states them, bench/ulp.py measures them over all floats,
// tests/kernels/test_eltwise.py holds every tier to them. Reductions are exact with and without a
// fused multiply-add: the ref tier has none, and a compiler may fuse where it is not asked to.
#pragma once
#include "core/types.h"

namespace fastconv {
namespace {

// x = n ln 2 + r. ln 2 is split in two, the first part of 9 bits, so that its product with n is
// exact.
inline vf ln2_multiple(vf x) { return vround(vmul(x, vset(1.44269504f))); }
inline vf ln2_remainder(vf x, vf n) {
  return vfma(n, vset(2.12194440e-4f), vfma(n, vset(-0.693359375f), x));
}

// (exp(r) - 1 - r) / r^2 by Estrin's scheme, which takes half as long as Horner's.
inline vf exp_q(vf r, vf r2) {
  const vf low = vfma(vset(0.16666543f), r, vset(0.49999997f));
  const vf high = vfma(vset(0.0013882507f), r2, vfma(vset(0.00836658f), r, vset(0.0416672f)));
  return vfma(high, r2, low);
}
inline vf expm1_reduced(vf r) {
  const vf r2 = vmul(r, r);
  return vfma(exp_q(r, r2), r2, r);
}
// 1 is added last, not to r while q is on its way, where it is rounded at the size of the result:
// exp is off by 1.1 units and not 1.34, sigmoid by 2.4 and not 3.2, for 3 % of their time on AVX2
// and 1 % on AVX-512.
inline vf exp_reduced(vf r) { return vadd(expm1_reduced(r), vset(1.0f)); }

// exp = mantissa * 2^n. A caller that multiplies exp by something does so before the scaling, so
// that a result that is denormal is rounded once, at the end.
struct Exponential {
  vf mantissa;
  Power power;
};
inline Exponential exp_of_parts(vf n, vf r) { return {exp_reduced(r), vpower(n)}; }

// exp rounds to infinity from 89 and to 0 from -104 on; silu multiplies a smaller one by x before
// that rounding.
constexpr float kExpHigh = 89.0f, kExpLow = -112.0f;
inline Exponential exp_parts(vf x) {
  const vf clamped = vmin(vset(kExpHigh), vmax(vset(kExpLow), x));
  const vf n = ln2_multiple(clamped);
  return exp_of_parts(n, ln2_remainder(clamped, n));
}

// exp for |x| < kExpNormal, where neither exp(x) nor exp(-x) + 1 leaves the normal numbers:
//   x = n ln 2 / kPowers + r,  exp(x) = 2^(n / kPowers) (1 + (exp(r) - 1))
// Adding 1.5 * 2^23 rounds n to a whole number, in the sum's low bits. Where a register holds the
// sixteen powers from 1 to 2, r is so small that two terms beyond it do (minimax, error 2^-29): seven
// multiply-adds for ten. What the powers lack goes into the smaller factor: 0.6 units, not 1.1.
constexpr float kExpNormal = 86.0f;
inline vf exp_normal(vf x) {
  constexpr bool sixteenths = kPowers == 16;
  const vf magic = vset(12582912.0f);
  const vf biased = vfma(x, vset(kPowers * 1.44269504f), magic), n = vsub(biased, magic);
  const vf power = vpower_of_two(biased);
  vf less_one;
  if constexpr (sixteenths) {
    const vf r = vfma(n, vset(-1.996636559e-06f), vfma(n, vset(-0.043319702f), x));
    less_one = vfma(vfma(vset(0.166666667f), r, vset(0.50001619f)), vmul(r, r),
                    vadd(r, vpower_rest(biased)));
  } else {
    less_one = expm1_reduced(ln2_remainder(x, n));
  }
  return vfma(power, less_one, power);
}
// f(x) where |x| is that small, g(x) elsewhere. Nearly always all lanes are, and g, which costs
// several times as much, is not computed. What a lane gets does not depend on the others.
template <class F, class G>
__attribute__((noinline, cold)) vf exp_not_normal(vf x, F f, G g) {
  return vselect_lt(vabs(x), vset(kExpNormal), f(x), g(x));
}
template <class F, class G>
inline vf where_exp_is_normal(vf x, F f, G g) {
  if (__builtin_expect(vall_lt(vabs(x), vset(kExpNormal)), 1)) return f(x);
  return exp_not_normal(x, f, g);
}

inline vf vexp(vf x) {
  return where_exp_is_normal(x, exp_normal, [](vf v) {
    const Exponential e = exp_parts(v);
    return vscale(e.mantissa, e.power);
  });
}

// exp(x) - 1 for x <= 0, to the last places near 0 too; below -40 it is -1.
inline vf vexpm1_negative(vf x) {
  const vf clamped = vmax(vset(-40.0f), x);
  const vf n = ln2_multiple(clamped), scale = vexp2i(n);
  return vfma(scale, expm1_reduced(ln2_remainder(clamped, n)), vsub(scale, vset(1.0f)));
}

inline vf vtanh(vf x) {
  const vf a = vabs(x);
  const vf e = vexpm1_negative(vmul(a, vset(-2.0f)));
  const vf t = vdiv(e, vadd(e, vset(2.0f)));  // -tanh |x|
  const vf y = vselect_lt(x, vzero(), t, vneg(t));
  return vselect_lt(a, vset(1e-4f), x, y);  // tanh x = x - x^3 / 3: keeps the sign of 0
}

// 1 / (1 + exp(-x)); far from 0 by e = exp(-|x|), which does not overflow: e / (1 + e) below it.
inline vf vsigmoid(vf x) {
  const auto normal = [](vf v) {
    const vf one = vset(1.0f);
    return vdiv(one, vadd(exp_normal(vneg(v)), one));
  };
  return where_exp_is_normal(x, normal, [](vf v) {
    const Exponential parts = exp_parts(vneg(vabs(v)));
    const vf e = vscale(parts.mantissa, parts.power), one = vset(1.0f);
    return vdiv(vselect_lt(v, vzero(), e, one), vadd(one, e));
  });
}

// x * exp(...), the product formed before exp's last scaling; 0 (and -inf * 0 = NaN, as in torch)
// below `low`.
inline vf vscaled_exp(vf x, vf mantissa, Power power, float low) {
  return vscale(vmul(x, vselect_lt(x, vset(low), vzero(), mantissa)), power);
}

// x * sigmoid(x)
inline vf vsilu(vf x) {
  const auto normal = [](vf v) { return vdiv(v, vadd(exp_normal(vneg(v)), vset(1.0f))); };
  return where_exp_is_normal(x, normal, [](vf v) {
    const Exponential e = exp_parts(vneg(vabs(v)));
    const vf below = vscaled_exp(v, e.mantissa, e.power, -110.0f);
    return vdiv(vselect_lt(v, vzero(), below, v), vadd(vscale(e.mantissa, e.power), vset(1.0f)));
  });
}

// x * (1 + tanh(u)) / 2 = x * sigmoid(2 u), u = sqrt(2 / pi) * (x + 0.044715 x^3): nothing cancels
// for negative x, where 1 + tanh(u) would. 2 u is beyond what exp can tell from 0 or infinity where
// |x| > 14, and so is not computed there.
inline vf vgelu_tanh(vf x) {
  const vf z = vmin(vset(14.0f), vmax(vset(-14.0f), x));
  const vf twice_u = vmul(z, vfma(vmul(z, z), vset(0.0713548163f), vset(1.59576912f)));
  const auto normal = [=](vf u) { return vdiv(x, vadd(exp_normal(vneg(u)), vset(1.0f))); };
  return where_exp_is_normal(twice_u, normal, [=](vf u) {
    const Exponential e = exp_parts(vneg(vabs(u)));
    const vf below = vscaled_exp(x, e.mantissa, e.power, -14.0f);
    return vselect_lt(u, vzero(), below, x);  // 1 + exp(-86) is 1
  });
}

// x * tanh(log(1 + e)), e = exp(x), which is x * m / (m + 2) with m = e (e + 2). m + 2 is m above
// 20, so that e needs not overflow.
inline vf vmish(vf x) {
  const auto normal = [](vf v) {
    const vf two = vset(2.0f), e = exp_normal(vmin(vset(20.0f), v)), m = vmul(e, vadd(e, two));
    return vdiv(vmul(v, m), vadd(m, two));
  };
  return where_exp_is_normal(x, normal, [](vf v) {
    const Exponential e = exp_parts(vneg(vabs(v)));  // m is 2 e, and m + 2 is 2
    const vf below = vscaled_exp(v, e.mantissa, e.power, -110.0f);
    return vselect_lt(v, vzero(), below, v);
  });
}

// Phi(-z) = exp(-z^2 / 2) p(1 / (1 + 0.35 z)) for z >= 0, Phi the normal distribution (vgelu).
inline vf normal_tail_p(vf t) {
  vf p = vset(-0.028305989f);
  p = vfma(p, t, vset(0.13962033f));
  p = vfma(p, t, vset(-0.24601625f));
  p = vfma(p, t, vset(0.14700758f));
  p = vfma(p, t, vset(-0.013672666f));
  p = vfma(p, t, vset(0.100830615f));
  p = vfma(p, t, vset(0.121309176f));
  p = vfma(p, t, vset(0.13957663f));
  p = vfma(p, t, vset(0.13965194f));
  p = vfma(p, t, vset(-1.3780851e-06f));
  return p;
}

// x * Phi(x), Phi the normal distribution. For z >= 0, Phi(-z) = exp(-z^2 / 2) R(z) with R(z) =
// erfcx(z / sqrt 2) / 2, which is smooth: a polynomial in t = 1 / (1 + 0.35 z), minimax on 0 <= z
// <= 14.5 (relative error 2^-25). Rounding z^2 / 2 would cost up to 100 units in the last place, so
// it is had in two parts: the square of z rounded to 1/256, exact, and the rest.
inline vf vgelu(vf x) {
  const vf one = vset(1.0f), half = vset(0.5f);
  const vf z = vmin(vset(14.5f), vabs(x));  // Phi(-14.5) * 14.5 is below the least float
  const vf head = vmul(vround(vmul(z, vset(256.0f))), vset(1.0f / 256.0f));
  const vf high = vmul(vmul(head, head), vneg(half));
  const vf low = vmul(vmul(vsub(z, head), vadd(z, head)), vneg(half));
  const vf n = ln2_multiple(vadd(high, low));
  const Exponential e = exp_of_parts(n, vadd(ln2_remainder(high, n), low));
  const vf p = normal_tail_p(vdiv(one, vfma(z, vset(0.35f), one)));
  const vf tail = vmul(p, e.mantissa);  // Phi(-z) = tail * scale
  const vf below = vscaled_exp(x, tail, e.power, -14.5f);
  return vselect_lt(x, vzero(), below, vmul(x, vsub(one, vscale(tail, e.power))));
}

// 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x. Below 1 it is x + x q(x^2), minimax
// (relative error 2^-29); above, 1 - 2 Phi(-sqrt(2) |x|), whose error counts the less the smaller
// that tail is. From 4.2 on it is 1.
inline vf verf(vf x) {
  const vf one = vset(1.0f), a = vmin(vset(4.2f), vabs(x)), square = vmul(a, a);
  vf q = vset(7.853861e-5f);
  q = vfma(q, square, vset(-0.0008010193f));
  q = vfma(q, square, vset(0.0051883277f));
  q = vfma(q, square, vset(-0.026853811f));
  q = vfma(q, square, vset(0.112835854f));
  q = vfma(q, square, vset(-0.37612626f));
  q = vfma(q, square, vset(0.1283791657f));
  const vf n = ln2_multiple(vneg(square));
  const vf e = vmul(exp_reduced(ln2_remainder(vneg(square), n)), vexp2i(n));
  const vf t = vdiv(one, vfma(a, vset(0.494974747f), one));
  const vf upper = vfma(vmul(normal_tail_p(t), e), vset(-2.0f), one);
  const vf beyond = vselect_lt(x, vzero(), vneg(upper), upper);
  return vselect_lt(a, one, vfma(x, q, x), beyond);
}

// log(2^k (1 + f)) for 1 + f from sqrt(1/2) to sqrt(2): f - f^2 / 2 + f^3 p(f), p of degree 8
// (Cephes' logf, S. Moshier), and k ln 2 in two parts.
inline vf log_reduced(vf k, vf f) {
  const vf square = vmul(f, f);
  vf p = vset(7.0376836292e-2f);
  p = vfma(p, f, vset(-1.1514610310e-1f));
  p = vfma(p, f, vset(1.1676998740e-1f));
  p = vfma(p, f, vset(-1.2420140846e-1f));
  p = vfma(p, f, vset(1.4249322787e-1f));
  p = vfma(p, f, vset(-1.6668057665e-1f));
  p = vfma(p, f, vset(2.0000714765e-1f));
  p = vfma(p, f, vset(-2.4999993993e-1f));
  p = vfma(p, f, vset(3.3333331174e-1f));
  vf low = vmul(vmul(p, f), square);
  low = vfma(k, vset(-2.12194440e-4f), low);
  low = vfma(square, vset(-0.5f), low);
  return vfma(k, vset(0.693359375f), vadd(f, low));
}

// Natural logarithm; -inf of 0, NaN of what is less. A denormal is scaled to a normal number first.
inline vf vlog(vf x) {
  const vf least = vset(1.17549435e-38f), infinity = vset(__builtin_inff());
  const vf normal = vselect_lt(x, least, vmul(x, vset(16777216.0f)), x);
  vf k = vlogb(normal);
  vf m = vadd_exponent(normal, vsub(vset(12582912.0f), k));
  k = vselect_lt(x, least, vsub(k, vset(24.0f)), k);
  const vf root = vset(1.41421356f), one = vset(1.0f);
  k = vselect_lt(root, m, vadd(k, one), k);
  m = vselect_lt(root, m, vmul(m, vset(0.5f)), m);
  const vf y = log_reduced(k, vsub(m, one));
  const vf of_none = vselect_lt(x, vzero(), vset(__builtin_nanf("")), vneg(infinity));
  const vf finite = vselect_lt(vzero(), x, y, of_none);
  return vselect_nan(x, x, vselect_lt(x, infinity, finite, infinity));
}

// log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)), the second of an argument from 1 to 2, of which
// log_reduced gets what is beyond 1 (or 2) as it is.
inline vf vsoftplus(vf x) {
  const vf e = vexp(vneg(vabs(x))), one = vset(1.0f), half = vset(0.5f);
  const vf split = vset(0.414213562f);
  const vf k = vselect_lt(split, e, one, vzero());
  const vf f = vselect_lt(split, e, vmul(vsub(e, one), half), e);
  return vselect_nan(x, x, vadd(vmax(vzero(), x), log_reduced(k, f)));
}

}  // namespace
}  // namespace fastconv
