// Native tests: functions of one value and of two, and reductions, against the C library in double.
#include <cmath>
#include <limits>

#include "check.h"
#include "nn/eltwise.h"
#include "nn/reduce.h"

namespace native {
namespace {

using namespace fastconv;

struct Function {
  const char* name;
  Activation activation;
  double ulps;  // fastconv.testing.tolerance.ULPS
  double (*of)(double);
};

double sigmoid(double x) {
  return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x));
}
double softplus(double x) { return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x)); }
double clamped(double x) { return x < -1 ? -1 : x > 6 ? 6 : x; }

constexpr float kSixth = 1.0f / 6.0f;
const Function kFunctions[] = {
    {"clamp", {Act::clamp, -1.0f, 6.0f}, 0, clamped},
    {"leaky_relu", {Act::leaky_relu, 0.125f, 0}, 0.5, [](double x) { return x < 0 ? x / 8 : x; }},
    {"sigmoid", {Act::sigmoid, 0, 0}, 2.5, sigmoid},
    // Rather than be -inf * 0, a NaN.
    {"silu",
     {Act::silu, 0, 0},
     2.5,
     [](double x) { return std::isinf(x) && x < 0 ? NAN : x * sigmoid(x); }},
    {"hardswish",
     {Act::hardswish, 0, 0},
     2.5,
     [](double x) {
       return x * std::fmin(std::fmax(x / 6 + 0.5, 0), 1) + (std::isnan(x) ? x : 0);
     }},
    {"gelu",
     {Act::gelu, 0, 0},
     8.25,
     [](double x) { return x * std::erfc(-x / std::sqrt(2.0)) / 2; }},
    {"mish", {Act::mish, 0, 0}, 4.25, [](double x) { return x * std::tanh(softplus(x)); }},
    {"tanh", {Act::tanh, 0, 0}, 2.5, [](double x) { return std::tanh(x); }},
    {"elu", {Act::elu, 1.0f, 0}, 1.25, [](double x) { return x < 0 ? std::expm1(x) : x; }},
    {"exp", {Act::exp, 0, 0}, 1.25, [](double x) { return std::exp(x); }},
    {"sqrt", {Act::sqrt, 0, 0}, 0.5, [](double x) { return std::sqrt(x); }},
    {"abs", {Act::abs, 0, 0}, 0, [](double x) { return std::abs(x); }},
    {"neg", {Act::neg, 0, 0}, 0, [](double x) { return -x; }},
    {"erf", {Act::erf, 0, 0}, 2, [](double x) { return std::erf(x); }},
    {"log", {Act::log, 0, 0}, 1.25, [](double x) { return std::log(x); }},
    {"softplus", {Act::softplus, 0, 0}, 2.5, softplus},
    {"reciprocal", {Act::reciprocal, 0, 0}, 0.5, [](double x) { return 1 / x; }},
    {"thresholded_relu",
     {Act::thresholded_relu, 0.5f, 0},
     0,
     [](double x) { return x > 0.5 ? x : 0; }},
};

// The value as a float, and so many units in its last place.
Expected within(double exact, double ulps) {
  const float rounded = static_cast<float>(exact);
  if (!std::isfinite(rounded)) return {rounded, 0};
  const double next = std::nextafterf(std::abs(rounded), INFINITY);
  return {exact, ulps * (next - std::abs(static_cast<double>(rounded)))};
}

void functions() {
  Random random(3);
  std::vector<float> x = {0.0f,  -0.0f,  1.0f,  -1.0f,  0.5f,    1e-30f, -1e-30f, 1e-41f,
                          88.0f, -88.0f, 90.0f, -90.0f, -104.0f, 1e30f,  NAN};
  for (int i = 0; i < 60; ++i) x.push_back(random.number() * 8);
  for (int i = 0; i < 40; ++i) x.push_back(random.number() * 100);
  const dim_t n = static_cast<dim_t>(x.size());
  for (const Function& f : kFunctions) {
    std::vector<float> y(x.size(), NAN);
    activate(row_major(x.data(), 1, &n), row_major(y.data(), 1, &n), f.activation);
    for (dim_t i = 0; i < n; ++i)
      check(std::string(f.name) + "(" + std::to_string(x[i]) + ")", i, y[i],
            within(f.of(x[i]), f.ulps));
  }
  // Of the sum's parts, which may cancel.
  std::vector<float> y(x.size(), NAN);
  activate(row_major(x.data(), 1, &n), row_major(y.data(), 1, &n),
           {Act::hardsigmoid, kSixth, 0.5f});
  for (dim_t i = 0; i < n; ++i) {
    const double line = static_cast<double>(kSixth) * x[i] + 0.5;
    check("hardsigmoid", i, y[i],
          {std::isnan(x[i]) ? NAN
           : line < 0       ? 0
           : line > 1       ? 1
                            : line,
           0x1p-24});
  }
}

void operations() {
  Random random(4);
  const dim_t n = 37;
  std::vector<float> a = random.numbers(n), b = random.numbers(n), y(37, NAN);
  a[5] = NAN;
  b[11] = NAN;
  const auto run = [&](const char* name, BinaryOp op, double (*of)(double, double)) {
    binary(op, row_major(a.data(), 1, &n), row_major(b.data(), 1, &n), row_major(y.data(), 1, &n),
           {});
    for (dim_t i = 0; i < n; ++i) {
      const bool nan = std::isnan(a[i]) || std::isnan(b[i]);
      check(name, i, y[i], nan ? Expected{NAN, 0} : within(of(a[i], b[i]), 0.5));
    }
  };
  run("add", BinaryOp::add, [](double p, double q) { return p + q; });
  run("sub", BinaryOp::sub, [](double p, double q) { return p - q; });
  run("mul", BinaryOp::mul, [](double p, double q) { return p * q; });
  run("div", BinaryOp::div, [](double p, double q) { return p / q; });
  run("min", BinaryOp::min, [](double p, double q) { return p < q ? p : q; });
  run("max", BinaryOp::max, [](double p, double q) { return p > q ? p : q; });
}

void reductions(dim_t rows, dim_t columns) {
  Random random(static_cast<uint32_t>(rows * 100 + columns));
  std::vector<float> x = random.numbers(rows * columns);
  const dim_t shape[2] = {rows, columns};
  for (const bool down : {false, true}) {
    const dim_t result[2] = {down ? 1 : rows, down ? columns : 1};
    const dim_t count = down ? columns : rows, terms = down ? rows : columns;
    const auto run = [&](const char* name, ReduceOp op) {
      std::vector<float> y(static_cast<size_t>(count), NAN);
      reduce(op, row_major(x.data(), 2, shape), row_major(y.data(), 2, result));
      for (dim_t i = 0; i < count; ++i) {
        double sum = 0, magnitude = 0, low = INFINITY, high = -INFINITY;
        for (dim_t k = 0; k < terms; ++k) {
          const double v = x[down ? k * columns + i : i * columns + k];
          sum += v;
          magnitude += std::abs(v);
          low = std::fmin(low, v);
          high = std::fmax(high, v);
        }
        const double of = static_cast<double>(terms);
        const Expected expected = op == ReduceOp::sum ? Expected{sum, sum_bound(terms, magnitude)}
                                  : op == ReduceOp::mean
                                      ? Expected{sum / of, sum_bound(terms, magnitude / of)}
                                  : op == ReduceOp::max ? Expected{high, 0}
                                                        : Expected{low, 0};
        check(name, i, y[i], expected);
      }
    };
    run("sum", ReduceOp::sum);
    run("mean", ReduceOp::mean);
    run("max", ReduceOp::max);
    run("min", ReduceOp::min);
  }
}

}  // namespace

void test_functions() {
  functions();
  operations();
  for (const dim_t columns : {1, 3, 8, 17, 70}) reductions(6, columns);
}

}  // namespace native
