// L4 nn: selection and running sums (select.h).
#include "nn/select.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include "core/interrupt.h"
#include "core/parallel.h"
#include "nn/strided.h"

namespace fastconv {
namespace {

// An element and its index as one number: ascending order of these is the order asked for. The
// bits of a float, those of a negative one inverted, are in its order.
uint64_t ranked(float x, uint32_t index, bool largest) noexcept {
  uint32_t bits;
  x += 0.0f;  // -0 becomes 0
  std::memcpy(&bits, &x, sizeof bits);
  uint32_t key = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  if (x != x) key = 0xffffffffu;
  return static_cast<uint64_t>(largest ? ~key : key) << 32 | index;
}

// The k least of a row's, in order. Candidates that are below the k-th least of what was seen are
// collected; when there are as many again, the k-th is looked for anew. So a row of n takes n
// comparisons, nearly all of which fail, and few selections.
void select_row(const float* x, dim_t step, dim_t n, dim_t k, bool largest,
                std::vector<uint64_t>& found, int64_t* indices) {
  const size_t wanted = static_cast<size_t>(k), most = 2 * wanted + 256;
  uint64_t limit = ~uint64_t{0};
  float bound = std::numeric_limits<float>::quiet_NaN();  // nothing is beyond it
  found.clear();
  const auto keep_least = [&] {
    const auto kth = found.begin() + static_cast<std::ptrdiff_t>(wanted - 1);
    std::nth_element(found.begin(), kth, found.end());
    limit = *kth;
    bound = x[static_cast<dim_t>(limit & 0xffffffffu) * step];
    found.resize(wanted);
  };
  for (dim_t i = 0; i < n; ++i) {
    const float value = x[i * step];
    if (largest ? value < bound : value > bound) continue;
    const uint64_t candidate = ranked(value, static_cast<uint32_t>(i), largest);
    if (candidate > limit) continue;
    found.push_back(candidate);
    if (found.size() == most) keep_least();
  }
  if (found.size() > wanted) keep_least();
  std::sort(found.begin(), found.end());
  for (size_t i = 0; i < wanted; ++i) indices[i] = static_cast<int64_t>(found[i] & 0xffffffffu);
}

}  // namespace

void top_k(const View& x, dim_t k, bool largest, int64_t* indices) {
  const dim_t rows = x.shape[0], n = x.shape[1];
  if (k == 0) return;
  parallel_for(rows, std::max<dim_t>(1, kGrain / std::max<dim_t>(1, n)),
               [&](dim_t begin, dim_t end) {
                 std::vector<uint64_t> found;
                 found.reserve(static_cast<size_t>(2 * k + 256));
                 for (dim_t r = begin; r < end; ++r) {
                   if (r > begin && interrupted()) return;
                   select_row(x.as<float>() + r * x.stride[0], x.stride[1], n, k, largest, found,
                              indices + r * k);
                 }
               });
}

void cumulative_sum(const View& x, const View& y, bool exclusive, bool reverse) noexcept {
  const dim_t outer = x.shape[0], n = x.shape[1], inner = x.shape[2];
  if (n == 0) return;
  constexpr dim_t kColumns = 256;  // sums under way, in L1
  const dim_t pieces = ceil_div(inner, kColumns);
  const dim_t x_step = reverse ? -x.stride[1] : x.stride[1];
  const dim_t y_step = reverse ? -y.stride[1] : y.stride[1];
  const bool dense = x.stride[2] == 1 && y.stride[2] == 1;
  parallel_for(
      outer * pieces, std::max<dim_t>(1, kGrain / (n * std::min(inner, kColumns))),
      [&](dim_t begin, dim_t end) {
        for (dim_t at = begin; at < end; ++at) {
          if (at > begin && interrupted()) return;
          const dim_t o = at / pieces, first = at % pieces * kColumns;
          const dim_t columns = std::min(kColumns, inner - first), start = reverse ? n - 1 : 0;
          const float* from =
              x.as<float>() + o * x.stride[0] + start * x.stride[1] + first * x.stride[2];
          float* to = y.as<float>() + o * y.stride[0] + start * y.stride[1] + first * y.stride[2];
          float sums[kColumns] = {};
          const auto add = [&](dim_t count, dim_t by, dim_t to_by) {
            for (dim_t t = 0; t < n; ++t, from += x_step, to += y_step)
              for (dim_t i = 0; i < count; ++i) {
                const float before = sums[i];
                sums[i] += from[i * by];
                to[i * to_by] = exclusive ? before : sums[i];
              }
          };
          if (columns == 1) {
            float sum = 0.0f;
            for (dim_t t = 0; t < n; ++t, from += x_step, to += y_step) {
              const float before = sum;
              sum += *from;
              *to = exclusive ? before : sum;
            }
          } else if (dense) {
            add(columns, 1, 1);
          } else {
            add(columns, x.stride[2], y.stride[2]);
          }
        }
      });
}

}  // namespace fastconv
