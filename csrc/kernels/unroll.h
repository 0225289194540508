// L2 kernels: loops that are unrolled whole, so that arrays of vectors indexed in them become
// registers, or by a number of steps.
#pragma once

// The loop that follows, where its count is a constant of at most 16.
#define FC_UNROLL _Pragma("GCC unroll 16")
// The loop that follows, n steps at a time; n is a literal.
#define FC_PRAGMA(text) _Pragma(#text)
#define FC_UNROLL_BY(n) FC_PRAGMA(GCC unroll n)

namespace fastconv {
namespace {

template <int N>
struct Constant {
  constexpr operator int() const { return N; }
};
// f(Constant<0>()), ..., f(Constant<N - 1>()): the index can be a template argument.
template <int N, class F>
__attribute__((always_inline)) inline void for_each_constant(F f) {
  if constexpr (N > 0) {
    for_each_constant<N - 1>(f);
    f(Constant<N - 1>());
  }
}

}  // namespace
}  // namespace fastconv
