// Native tests: matrix products, of floats against sums in double and of bytes against sums of
// integers.
#include <algorithm>
#include <bit>
#include <cmath>
#include <map>

#include "check.h"
#include "gemm/bf16.h"
#include "gemm/gemm.h"
#include "gemm/integer.h"
#include "kernels/dispatch.h"

namespace native {
namespace {

using namespace fastconv;

View matrix(float* data, dim_t rows, dim_t columns, bool transposed) {
  View v;
  v.data = data;
  v.rank = 2;
  v.shape[0] = rows;
  v.shape[1] = columns;
  v.stride[0] = transposed ? 1 : columns;
  v.stride[1] = transposed ? rows : 1;
  return v;
}

// out = act(alpha * a @ b + beta * c + bias), by gemm() or gemm_bf16().
void product(dim_t M, dim_t N, dim_t K, bool transposed, bool plain, bool bf16) {
  Random random(static_cast<uint32_t>(M * 10007 + N * 101 + K));
  std::vector<float> a = random.numbers(M * K), b = random.numbers(K * N),
                     c = random.numbers(M * N), bias = random.numbers(N);
  std::vector<float> out(static_cast<size_t>(M * N), NAN);
  const float alpha = plain ? 1.0f : 0.75f, beta = plain ? 0.0f : 1.25f;
  const Activation activation = plain ? Activation{} : Activation{Act::clamp, 0.0f, 3.0f};
  const View c_view = matrix(c.data(), M, N, false);
  (bf16 ? gemm_bf16 : gemm)(matrix(a.data(), M, K, false), matrix(b.data(), K, N, transposed),
                            plain ? nullptr : &c_view, matrix(out.data(), M, N, false), alpha, beta,
                            plain ? nullptr : bias.data(), activation);
  if (bf16) {
    a = rounded_to_bf16(a);
    b = rounded_to_bf16(b);
  }

  std::vector<Expected> expected;
  for (dim_t m = 0; m < M; ++m)
    for (dim_t n = 0; n < N; ++n) {
      double sum = 0, magnitude = 0;
      for (dim_t k = 0; k < K; ++k) {
        const double term =
            static_cast<double>(a[m * K + k]) * b[transposed ? n * K + k : k * N + n];
        sum += term;
        magnitude += std::abs(term);
      }
      if (!plain) {
        const double added = 1.25 * c[m * N + n];
        sum = std::clamp(0.75 * sum + added + bias[n], 0.0, 3.0);
        magnitude = 0.75 * magnitude + std::abs(added) + std::abs(bias[n]);
      }
      expected.push_back({sum, sum_bound(K, magnitude)});
    }
  check_all((bf16 ? "gemm_bf16 " : "gemm ") + std::to_string(M) + "x" + std::to_string(N) + "x" +
                std::to_string(K) + (transposed ? " of a transposed b" : "") +
                (plain ? "" : " with everything"),
            out, expected);
}

// Every kind of result of one product of bytes; finish(sum, n) is what a sum becomes.
void integer_product(dim_t M, dim_t N, dim_t K, bool is_signed, int largest, int zeros = 3) {
  Random random(static_cast<uint32_t>(M * 10007 + N * 101 + K + largest));
  const std::vector<uint8_t> a = random.integers<uint8_t>(M * K, 0, 255);
  const std::vector<int8_t> b = random.integers<int8_t>(K * N, -largest, largest - 1);
  const std::vector<int32_t> zero = random.integers<int32_t>(N, -zeros, zeros),
                             bias = random.integers<int32_t>(N, -5000, 5000);
  const int32_t a_zero = is_signed ? -7 : 120;
  std::vector<float> scale = random.numbers(N), shift = random.numbers(N);
  for (float& s : scale) s = (s + 1.5f) * 0x1p-10f;

  std::vector<int32_t> sums;
  for (dim_t m = 0; m < M; ++m)
    for (dim_t n = 0; n < N; ++n) {
      int64_t sum = bias[n];
      for (dim_t k = 0; k < K; ++k) {
        const int x = is_signed ? static_cast<int8_t>(a[m * K + k]) : a[m * K + k];
        sum += static_cast<int64_t>(x - a_zero) * (b[k * N + n] - zero[n]);
      }
      sums.push_back(static_cast<int32_t>(sum));
    }

  const ByteMatrix left{a.data(), M, K, K, 1, is_signed};
  const PackedIntegers right(
      ByteMatrix{reinterpret_cast<const uint8_t*>(b.data()), K, N, N, 1, true}, zero.data(), N);
  const std::string what = "qgemm " + std::to_string(M) + "x" + std::to_string(N) + "x" +
                           std::to_string(K) + " of weights below " + std::to_string(largest);
  QgemmResult result;
  result.bias = bias.data();
  result.row_step = N;

  std::vector<int32_t> whole(static_cast<size_t>(M * N));
  result.data = whole.data();
  qgemm(left, &a_zero, 1, right, result);
  check_true(what + ": sums", whole == sums);

  result.scale = scale.data();
  result.type = StoreAs::u8;
  result.low = -10.0f;
  result.high = 245.0f;
  result.zero = 10;
  std::vector<uint8_t> bytes(static_cast<size_t>(M * N)), wanted;
  result.data = bytes.data();
  qgemm(left, &a_zero, 1, right, result);
  for (dim_t i = 0; i < M * N; ++i) {
    const float scaled = static_cast<float>(sums[i]) * scale[i % N];
    wanted.push_back(static_cast<uint8_t>(std::nearbyint(std::clamp(scaled, -10.0f, 245.0f)) + 10));
  }
  check_true(what + ": bytes", bytes == wanted);

  result.type = StoreAs::f32;
  result.shift = shift.data();
  result.low = -1e30f;
  result.high = 1e30f;
  std::vector<float> numbers(static_cast<size_t>(M * N));
  result.data = numbers.data();
  qgemm(left, &a_zero, 1, right, result);
  std::vector<Expected> expected;
  for (dim_t i = 0; i < M * N; ++i) {
    const double scaled = static_cast<double>(sums[i]) * scale[i % N];
    expected.push_back(
        {scaled + shift[i % N], sum_bound(1, std::abs(scaled) + std::abs(shift[i % N]))});
  }
  check_all(what + ": floats", numbers, expected);
}

// Rows of which every number of bytes is read whole, or from the last block that they fill.
void rows_in_an_order() {
  Random random(7);
  const auto permute = kernels().integer.permute_rows;
  for (const dim_t n : {1, 63, 64, 65, 100, 128, 190}) {
    const dim_t whole = round_up(n, kOrderBlock), rows = 3, step = whole + 5, to_step = whole + 3;
    const auto from = random.integers<uint8_t>(rows * step, 0, 255);
    const auto order = random.integers<uint8_t>(whole, 0, 70);
    std::vector<uint8_t> to(static_cast<size_t>(rows * to_step), 9), expected = to;
    for (dim_t i = 0; i < rows; ++i)
      for (dim_t k = 0; k < whole; ++k) {
        const dim_t begin = k / kOrderBlock * kOrderBlock;
        const dim_t start = n < kOrderBlock ? 0 : std::min(begin, n - kOrderBlock);
        expected[i * to_step + k] =
            order[k] < kOrderBlock ? from[i * step + start + order[k]] : uint8_t{0};
      }
    permute(from.data(), step, rows, n, order.data(), to.data(), to_step);
    check_true("order of " + std::to_string(n) + " bytes", to == expected);
  }
}

// Numbers of f32 by their bits, and of bf16: ties, what carries into the exponent and to infinity,
// denormals, and NaNs, whose quiet bit is set.
void roundings() {
  const std::map<uint32_t, uint16_t> cases = {
      {0x00000000, 0x0000}, {0x80000000, 0x8000}, {0x3f808000, 0x3f80}, {0x3f818000, 0x3f82},
      {0x3f807fff, 0x3f80}, {0x3f808001, 0x3f81}, {0xbf818000, 0xbf82}, {0x3fffffff, 0x4000},
      {0x7f7f7fff, 0x7f7f}, {0x7f7f8000, 0x7f80}, {0xff7fffff, 0xff80}, {0x7f800000, 0x7f80},
      {0xff800000, 0xff80}, {0x00018000, 0x0002}, {0x00008000, 0x0000}, {0x007fffff, 0x0080},
      {0x7f800001, 0x7fc0}, {0x7fc00000, 0x7fc0}, {0xffffffff, 0xffff}, {0x7fbf0000, 0x7fff},
  };
  std::vector<uint16_t> expected, found(cases.size());
  std::vector<float> x;
  for (const auto& [bits, rounded] : cases) {
    x.push_back(std::bit_cast<float>(bits));
    expected.push_back(rounded);
  }
  kernels().bf16.round(x.data(), static_cast<dim_t>(x.size()), found.data());
  check_true("f32 rounded to bf16", found == expected);
}

}  // namespace

void test_products() {
  for (const bool bf16 : {false, true}) {
    // Tails of every width of a panel, all heights of a tile, few rows, and several blocks of K.
    for (const dim_t N : {1, 3, 4, 5, 8, 11, 12, 16, 17, 24, 33, 48, 50})
      for (const dim_t M : {1, 2, 5, 15, 29}) product(M, N, 19, M % 2 == 0, N % 2 == 0, bf16);
    for (const dim_t M : {3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14})
      product(M, 40, 8, false, false, bf16);
    product(33, 37, 1500, false, true, bf16);
    product(3, 65, 1201, true, false, bf16);
    product(1, 1, 0, false, true, bf16);
  }
  roundings();
}

void test_integer_products() {
  for (const dim_t N : {1, 4, 7, 8, 9, 12, 16, 20, 31, 48, 50})
    for (const dim_t M : {1, 3, 8, 15})
      for (const int largest : {64, 128}) integer_product(M, N, 4 + N % 4 + M, M % 2 == 0, largest);
  integer_product(9, 33, 301, true, 128);
  // Few pairs saturate once they are ordered.
  for (const dim_t K : {60, 64, 65, 127, 130})
    for (const dim_t N : {20, 70}) integer_product(5, N, K, K % 2 == 0, 80);
  // All heights of a tile of short K, an odd number of them and an even one, and what it leaves over.
  for (const dim_t K : {32, 36, 38, 40, 64, 256, 260})
    for (const dim_t M : {1, 2, 3, 4, 5, 6, 7, 17, 18})
      integer_product(M, M % 2 ? 32 : 70, K, M % 3 == 0, 64, 0);
  rows_in_an_order();
}

}  // namespace native
