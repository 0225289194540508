// Native tests: numbers to compute with, and how results are compared. The tests link the library
// without Python, so that a cross compiler can build them and an emulator run them.
#pragma once
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "core/types.h"

namespace native {

using fastconv::dim_t;

// The same numbers on every machine: std::mt19937 is specified to the bit, distributions are not.
class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  // From [-1, 1).
  float number() { return static_cast<float>(engine_() >> 8) * 0x1p-23f - 1.0f; }
  int integer(int low, int high) {
    return low + static_cast<int>(engine_() % static_cast<uint32_t>(high - low + 1));
  }
  std::vector<float> numbers(dim_t n);
  std::vector<float> whole_numbers(dim_t n, int low, int high);  // as floats
  template <class T>
  std::vector<T> integers(dim_t n, int low, int high) {
    std::vector<T> v(static_cast<size_t>(n));
    for (T& x : v) x = static_cast<T>(integer(low, high));
    return v;
  }

 private:
  std::mt19937 engine_;
};

// The largest error of a sum of n products in any order, by the sum of their absolute values
// (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1); five roundings more are
// the epilogue's.
inline double sum_bound(dim_t n, double magnitude) {
  const double nu = static_cast<double>(n + 5) * 0x1p-24;
  return nu / (1 - nu) * magnitude + static_cast<double>(n + 5) * 0x1p-126;
}

// To the nearest number of 8 significant bits, ties to even: what bf16 has, where x is neither too
// large nor too small for it.
inline float rounded_to_bf16(float x) {
  int exponent;
  const double mantissa = std::frexp(x, &exponent);
  return static_cast<float>(std::ldexp(std::nearbyint(std::ldexp(mantissa, 8)), exponent - 8));
}
inline std::vector<float> rounded_to_bf16(std::vector<float> v) {
  for (float& x : v) x = rounded_to_bf16(x);
  return v;
}

struct Expected {
  double value, bound;  // |got - value| <= bound; a NaN is met by a NaN alone
};

// Counts a comparison, and reports it where it fails. `what` names the case.
void check(const std::string& what, dim_t at, double got, const Expected& expected);
// Every element of `got`.
template <class T>
void check_all(const std::string& what, const std::vector<T>& got,
               const std::vector<Expected>& expected) {
  for (size_t i = 0; i < expected.size(); ++i)
    check(what, static_cast<dim_t>(i), static_cast<double>(got[i]), expected[i]);
}
// Counts a condition alike.
void check_true(const std::string& what, bool condition);

// The tests, each on the tier and the threads in use.
void test_products();
void test_integer_products();
void test_convolutions();
void test_integers();
void test_images();
void test_functions();
void test_weights();

}  // namespace native
