// L4 nn: selection and running sums (select.h).
#include "nn/select.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/check.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "kernels/dispatch.h"
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

// Finds the k first of rows of n.
class Selection {
 public:
  // `found` is scratch.
  Selection(dim_t n, dim_t k, bool largest, std::vector<uint64_t>& found)
      : kernel_(kernels()),
        n_(n),
        k_(k),
        largest_(largest),
        sign_(largest ? 1.0f : -1.0f),
        found_(found) {
    found_.reserve(static_cast<size_t>(k <= kFew ? k : 2 * k + 256));
  }

  // In order, as ranked() has them; x is contiguous.
  const std::vector<uint64_t>& of(const float* x) {
    found_.clear();
    if (k_ == 1 && n_ >= kernel_.lanes)
      find_one(x);
    else if (k_ <= kFew)
      find_few(x);
    else
      find_many(x);
    return found_;
  }

 private:
  // As many are kept in order all the time.
  static constexpr dim_t kFew = 32;

  uint64_t rank(const float* x, dim_t i) const noexcept {
    return ranked(x[i], static_cast<uint32_t>(i), largest_);
  }
  // The first of what is not before `last` in the order asked for, from i on: where elements may be,
  // for they come by the vector.
  dim_t next(const float* x, dim_t i, float last) const noexcept {
    if (std::isnan(last)) return largest_ ? n_ : i;
    const float limit = std::nextafter(sign_ * last, std::numeric_limits<float>::infinity());
    return i + kernel_.reduce.beyond(n_ - i, x + i, sign_, limit);
  }

  void find_one(const float* x) {
    const float best = kernel_.reduce.row(largest_ ? ReduceOp::max : ReduceOp::min, n_, x);
    if (std::isnan(best) && !largest_) return find_few(x);
    dim_t i = 0;
    if (std::isnan(best))
      while (!std::isnan(x[i])) ++i;
    else
      while (x[i] != best) ++i;
    found_.push_back(static_cast<uint64_t>(i));
  }

  void find_few(const float* x) {
    const auto insert = [&](uint64_t candidate) {
      auto at = found_.end() - 1;
      for (; at != found_.begin() && at[-1] > candidate; --at) *at = at[-1];
      *at = candidate;
    };
    dim_t i = 0;
    for (; i < k_; ++i) {
      found_.push_back(0);
      insert(rank(x, i));
    }
    while (i < n_) {
      i = next(x, i, x[found_.back() & 0xffffffffu]);
      for (const dim_t end = std::min(n_, i + kernel_.lanes); i < end; ++i)
        if (const uint64_t candidate = rank(x, i); candidate < found_.back()) insert(candidate);
    }
  }

  // Candidates that are before the k-th of what was seen are collected; when there are as many
  // again, the k-th is looked for anew. So a row takes n comparisons, nearly all of which fail, and
  // few selections.
  void find_many(const float* x) {
    const size_t wanted = static_cast<size_t>(k_), most = 2 * wanted + 256;
    uint64_t limit = ~uint64_t{0};
    float last = std::numeric_limits<float>::quiet_NaN();
    bool full = false;
    const auto keep_first = [&] {
      const auto kth = found_.begin() + static_cast<std::ptrdiff_t>(wanted - 1);
      std::nth_element(found_.begin(), kth, found_.end());
      limit = *kth;
      last = x[limit & 0xffffffffu];
      full = true;
      found_.resize(wanted);
    };
    for (dim_t i = 0; i < n_;) {
      if (full) i = next(x, i, last);
      for (const dim_t end = std::min(n_, i + kernel_.lanes); i < end; ++i) {
        const uint64_t candidate = rank(x, i);
        if (candidate > limit) continue;
        found_.push_back(candidate);
        if (found_.size() == most) keep_first();
      }
    }
    if (found_.size() > wanted) keep_first();
    std::sort(found_.begin(), found_.end());
  }

  const KernelTable& kernel_;
  dim_t n_, k_;
  bool largest_;
  float sign_;
  std::vector<uint64_t>& found_;
};

}  // namespace

void check_top_k(const View& x, const View& values, const View& indices) {
  const int last = x.rank - 1;
  FC_CHECK(x.rank >= 1 && x.shape[last] < dim_t{1} << 32, ShapeError,
           "x: expected rows of less than 2^32, got shape ", shape_string(x));
  for (const View* v : {&values, &indices})
    FC_CHECK(v->rank == x.rank && std::equal(x.shape, x.shape + last, v->shape) &&
                 v->shape[last] <= x.shape[last] && v->shape[last] == values.shape[last],
             ShapeError, "values, indices: expected rows of at most ", x.shape[last],
             " for each of ", shape_string(x), ", got shape ", shape_string(*v));
}

void top_k(const View& x, const View& values, const View& indices, bool largest) {
  const int last = x.rank - 1;
  const dim_t n = x.shape[last], k = values.shape[last], step = x.stride[last];
  const dim_t to_step = values.stride[last], index_step = indices.stride[last];
  if (k == 0) return;
  const Nest<3> nest = merge(without(x, last), without(indices, last), without(values, last));
  for_each_run(nest, std::max<dim_t>(1, kGrain / n), [&](dim_t rows, const dim_t* offset) {
    static thread_local std::vector<uint64_t> scratch;
    static thread_local std::vector<float> buffer;
    Selection selection(n, k, largest, scratch);
    if (step != 1) buffer.resize(static_cast<size_t>(n));
    for (dim_t r = 0; r < rows; ++r) {
      if (r % 64 == 63 && interrupted()) return;
      const float* row =
          gathered(x.as<float>() + offset[0] + r * nest.step(0), step, n, buffer.data());
      int64_t* index = indices.as<int64_t>() + offset[1] + r * nest.step(1);
      float* value = values.as<float>() + offset[2] + r * nest.step(2);
      for (const uint64_t found : selection.of(row)) {
        const dim_t at = static_cast<dim_t>(found & 0xffffffffu);
        *index = at;
        *value = row[at];
        index += index_step;
        value += to_step;
      }
    }
  });
}

void cumulative_sum(const View& x, const View& y, bool exclusive, bool reverse) noexcept {
  const dim_t outer = x.shape[0], n = x.shape[1], inner = x.shape[2];
  if (n == 0) return;
  constexpr dim_t kColumns = 1024;  // of a row and of the one before it, in L1
  const dim_t pieces = ceil_div(inner, kColumns);
  const dim_t x_step = reverse ? -x.stride[1] : x.stride[1];
  const dim_t y_step = reverse ? -y.stride[1] : y.stride[1];
  const bool dense = inner > 1 && x.stride[2] == 1 && y.stride[2] == 1;
  const auto add = kernels().eltwise.binary;
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
          if (dense) {  // each row is the one before it and a row of x
            const float zero = 0.0f;
            add(BinaryOp::add, columns, exclusive ? &zero : from, !exclusive, &zero, 0, to);
            for (dim_t t = 1; t < n; ++t, from += x_step, to += y_step)
              add(BinaryOp::add, columns, to, 1, exclusive ? from : from + x_step, 1, to + y_step);
            continue;
          }
          for (dim_t i = 0; i < columns; ++i) {
            const float* p = from + i * x.stride[2];
            float *q = to + i * y.stride[2], sum = 0.0f;
            for (dim_t t = 0; t < n; ++t, p += x_step, q += y_step) {
              const float before = sum;
              sum += *p;
              *q = exclusive ? before : sum;
            }
          }
        }
      });
}

}  // namespace fastconv
