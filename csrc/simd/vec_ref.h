// L1 simd: the vector vocabulary in portable C++ (GCC/Clang vector extensions, 4 lanes): SSE2 on
// x86-64, NEON on AArch64. It is the specification of the names; vec_avx2.h and vec_avx512.h have
// the same ones, with the same NaN rules. Everything has internal linkage: an ISA unit is sealed
// (docs/dispatch.md).
#pragma once
#include <math.h>
#include <string.h>

#include "core/types.h"

namespace fastconv {
namespace {

typedef float vf __attribute__((vector_size(16)));
typedef int32_t vi __attribute__((vector_size(16)));
typedef uint32_t vu __attribute__((vector_size(16)));  // whose sums may wrap around
constexpr int W = 4;                                   // lanes

inline vf vload(const float* p) {
  vf v;
  memcpy(&v, p, sizeof v);
  return v;
}
inline void vstore(float* p, vf v) { memcpy(p, &v, sizeof v); }
// The first n lanes, 0 <= n <= W; the others read as 0 and are never touched in memory.
inline vf vload_tail(const float* p, int n) {
  vf v = {};
  memcpy(&v, p, static_cast<size_t>(n) * sizeof(float));
  return v;
}
inline void vstore_tail(float* p, vf v, int n) {
  memcpy(p, &v, static_cast<size_t>(n) * sizeof(float));
}
// As numbers of bf16: to nearest, ties to even; a NaN stays one, a quiet one. Half of the last place,
// less one where that is even, carries into the upper half where a number is to be rounded up.
inline void vstore_bf16_tail(uint16_t* p, vf v, int n) {
  typedef uint16_t Halves __attribute__((vector_size(8)));
  const vu bits = (vu)v, upper = bits >> 16;
  const vu nearest = (bits + 0x7fff + (upper & 1)) >> 16;
  const Halves y = __builtin_convertvector(v == v ? nearest : upper | 0x40, Halves);
  memcpy(p, &y, static_cast<size_t>(n) * sizeof(uint16_t));
}
inline void vstore_bf16(uint16_t* p, vf v) { vstore_bf16_tail(p, v, W); }
// Keeps a in a register: a compiler would rather load it again, as an operand, at each of its uses.
inline void vkeep(vf&) {}
inline vf vset(float x) { return vf{x, x, x, x}; }
inline vf vzero() { return vf{}; }
inline vf vbroadcast(const float* p) { return vset(*p); }

inline vf vadd(vf a, vf b) { return a + b; }
inline vf vsub(vf a, vf b) { return a - b; }
inline vf vmul(vf a, vf b) { return a * b; }
inline vf vdiv(vf a, vf b) { return a / b; }
inline vf vfma(vf a, vf b, vf c) { return a * b + c; }  // fused where the tier has it
// As x86's maxps/minps: b wherever either is NaN. vmax(limit, x) so lets a NaN in x through.
inline vf vmax(vf a, vf b) { return a > b ? a : b; }
inline vf vmin(vf a, vf b) { return a < b ? a : b; }
// a < b ? x : y, lane by lane; false when unordered.
inline vf vselect_lt(vf a, vf b, vf x, vf y) { return a < b ? x : y; }
// isnan(a) ? x : y
inline vf vselect_nan(vf a, vf x, vf y) { return a == a ? y : x; }
// The sign flips, a NaN's too.
inline vf vneg(vf a) { return (vf)((vi)a ^ INT32_MIN); }
inline vf vabs(vf a) { return (vf)((vi)a & 0x7fffffff); }
inline vf vsqrt(vf a) {
  for (int i = 0; i < W; ++i) a[i] = sqrtf(a[i]);
  return a;
}
inline vf vround(vf a) {  // to nearest, ties to even; |a| < 2^22
  const vf magic = vset(12582912.0f);
  return (a + magic) - magic;
}
// 2^n for integer-valued n in [-126, 127].
inline vf vexp2i(vf n) { return (vf)((__builtin_convertvector(n, vi) + 127) << 23); }
// vscale(a, vpower(n)) = a * 2^n for integer-valued |n| <= 250 and |a| in [2^-100, 2^100], rounded
// once where that is denormal. Here as two factors, neither of which is denormal or infinite.
struct Power {
  vf high, low;
};
inline Power vpower(vf n) {
  const vf half = vround(vmul(n, vset(0.5f)));
  return {vexp2i(half), vexp2i(vsub(n, half))};
}
inline vf vscale(vf a, Power p) { return vmul(vmul(a, p.high), p.low); }
// a * 2^m, m what the low 9 bits of n say, where a and the result are normal; elsewhere any value.
inline vf vadd_exponent(vf a, vf n) { return (vf)((vu)a + ((vu)n << 23)); }
// 2^(m / kPowers), m what the low bits of n say, where that is normal, elsewhere any value; and what
// is missing from it because it is rounded, as a share of it.
constexpr int kPowers = 1;
inline vf vpower_of_two(vf n) { return vadd_exponent(vset(1.0f), n); }
inline vf vpower_rest(vf) { return vzero(); }
// The k of 2^k <= a < 2^(k + 1) where a is normal and positive; elsewhere any value.
inline vf vlogb(vf a) {
  const vf biased = (vf)((vi)((vu)a >> 23) | 0x4b000000);  // 2^23 + 127 + k
  return biased - vset(8388608.0f + 127.0f);
}
// Whether a < b in all lanes.
inline bool vall_lt(vf a, vf b) {
  const vi less = a < b;
  return less[0] & less[1] & less[2] & less[3];
}
// lane i of the result = lane idx[i] of a; idx in [0, W).
inline vi vindex(const int32_t* idx) {
  vi v;
  memcpy(&v, idx, sizeof v);
  return v;
}
inline vf vpermute(vf a, vi idx) { return vf{a[idx[0]], a[idx[1]], a[idx[2]], a[idx[3]]}; }
// Lanes 0, 2, ... of a, and then of b.
inline vf veven(vf a, vf b) { return vf{a[0], a[2], b[0], b[2]}; }
inline float vreduce_add(vf a) { return (a[0] + a[1]) + (a[2] + a[3]); }
inline float vreduce_max(vf a) {
  float m = a[0];
  for (int i = 1; i < W; ++i) m = m > a[i] ? m : a[i];
  return m;
}
// r[i] lane j <-> r[j] lane i
inline void vtranspose(vf* r) {
  vf t[W];
  for (int i = 0; i < W; ++i) t[i] = r[i];
  for (int i = 0; i < W; ++i)
    for (int j = 0; j < W; ++j) r[i][j] = t[j][i];
}

}  // namespace
}  // namespace fastconv
