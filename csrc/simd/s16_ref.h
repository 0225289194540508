// L1 simd: lanes of 16-bit integers in portable C++, twice as many as int_ref.h's, modulo 2^16. The
// specification of the names, which s16_avx2.h and s16_avx512.h have too.
#pragma once
#include "simd/int_ref.h"

namespace fastconv {
namespace {

typedef int16_t vs __attribute__((vector_size(16)));
typedef uint16_t vsu __attribute__((vector_size(16)));  // whose sums may wrap around

// 2 * W bytes as numbers.
inline vs vswiden(const uint8_t* p) {
  vs v;
  for (int i = 0; i < 2 * W; ++i) v[i] = p[i];
  return v;
}
// The first n of them, 1 <= n <= 2 * W; the others are 0 and never touched in memory.
inline vs vswiden_tail(const uint8_t* p, int n) {
  vs v = {};
  for (int i = 0; i < n; ++i) v[i] = p[i];
  return v;
}
inline void vsstore(int16_t* p, vs v) { memcpy(p, &v, sizeof v); }
inline vs vsset(int x) {
  const int16_t s = static_cast<int16_t>(x);
  return vs{s, s, s, s, s, s, s, s};
}
inline vs vsadd(vs a, vs b) { return (vs)((vsu)a + (vsu)b); }
inline vs vssub(vs a, vs b) { return (vs)((vsu)a - (vsu)b); }
template <int N>
inline vs vsshl(vs a) {
  return (vs)((vsu)a << N);
}

}  // namespace
}  // namespace fastconv
