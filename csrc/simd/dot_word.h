// L1 simd: words of A for every dot_<set>.h: a number of f32, or two neighbouring ones of bf16 or
// four bytes as one number, the first one lowest.
#pragma once
#include <string.h>

#include "core/types.h"

namespace fastconv {
namespace {

inline float word_at(const float* p) { return *p; }
inline int32_t word_at(const uint16_t* p) {
  int32_t word;
  memcpy(&word, p, sizeof word);
  return word;
}
inline int32_t word_at(const uint8_t* p) {
  int32_t word;
  memcpy(&word, p, sizeof word);
  return word;
}
// The first n of them, 1 <= n <= 3, and zeros; no byte after those is read. Without a branch: for
// n of 1 or 2 the same byte is found twice.
inline int32_t word_at(const uint8_t* p, int n) {
  const int middle = n >> 1, last = n - 1;
  return p[0] | p[middle] << 8 * middle | p[last] << 8 * last;
}

}  // namespace
}  // namespace fastconv
