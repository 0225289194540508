// L4 nn: which of many boxes to keep (suppress.h). Each box in the order of scores is held against
// those kept so far, sixteen at a time in plain loops that compilers turn into vectors: most share
// nothing with it, which is known before anything is divided.
#include "nn/suppress.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/interrupt.h"
#include "core/parallel.h"

namespace fastconv {
namespace {

struct Box {
  float low[2], high[2], area;
};

// numpy's minimum and maximum: NaN where one of the two is.
float least_of(float a, float b) noexcept { return a != a || a < b ? a : b; }
float most_of(float a, float b) noexcept { return a != a || a > b ? a : b; }

Box box_of(const float* b, bool centred) noexcept {
  Box box;
  for (int i = 0; i < 2; ++i) {
    if (centred) {
      box.low[i] = b[1 - i] - b[3 - i] / 2;
      box.high[i] = b[1 - i] + b[3 - i] / 2;
    } else {
      box.low[i] = least_of(b[i], b[2 + i]);
      box.high[i] = most_of(b[i], b[2 + i]);
    }
  }
  box.area = (box.high[0] - box.low[0]) * (box.high[1] - box.low[1]);
  return box;
}

// The boxes kept so far, each of their numbers in a row.
class Kept {
 public:
  void add(const Box& box) {
    for (int i = 0; i < 2; ++i) {
      low_[i].push_back(box.low[i]);
      high_[i].push_back(box.high[i]);
    }
    area_.push_back(box.area);
  }

  // Whether one of them overlaps a box by more than that.
  bool cover(const Box& box, float overlap) const noexcept {
    constexpr size_t kAtOnce = 16;
    const size_t count = area_.size();
    for (size_t first = 0; first < count; first += kAtOnce) {
      const size_t n = std::min(kAtOnce, count - first);
      // Where nothing is shared the overlap is 0, which no overlap that is not negative is below.
      if (overlap >= 0 &&
          !(n == kAtOnce ? meet<kAtOnce>(box, first, kAtOnce) : meet<0>(box, first, n)))
        continue;
      for (size_t i = first; i < first + n; ++i)
        if (!(overlap_with(box, i) <= overlap)) return true;
    }
    return false;
  }

 private:
  float shared_with(const Box& box, size_t i) const noexcept {
    float side[2];
    for (int d = 0; d < 2; ++d)
      side[d] = most_of(least_of(high_[d][i], box.high[d]) - most_of(low_[d][i], box.low[d]), 0.0f);
    return side[0] * side[1];
  }
  float overlap_with(const Box& box, size_t i) const noexcept {
    const float shared = shared_with(box, i), all = area_[i] + box.area - shared;
    return area_[i] > 0 && box.area > 0 && all > 0 ? shared / all : 0.0f;
  }
  // Whether one of n boxes may share an area with another; without NaN, which shares none.
  template <size_t N>
  bool meet(const Box& box, size_t first, size_t n) const noexcept {
    const float *low_y = low_[0].data() + first, *low_x = low_[1].data() + first;
    const float *high_y = high_[0].data() + first, *high_x = high_[1].data() + first;
    int any = 0;
    for (size_t i = 0; i < (N ? N : n); ++i)
      any |= (low_y[i] < box.high[0]) & (box.low[0] < high_y[i]) & (low_x[i] < box.high[1]) &
             (box.low[1] < high_x[i]);
    return any != 0;
  }

  std::vector<float> low_[2], high_[2], area_;
};

std::vector<dim_t> chosen(const float* boxes, const float* scores, dim_t count,
                          const Suppression& how) {
  std::vector<dim_t> order;
  for (dim_t i = 0; i < count; ++i)
    if (!how.has_least || scores[i] > how.least) order.push_back(i);
  const auto better = [&](dim_t i, dim_t j) {
    const float a = scores[i], b = scores[j];
    return a > b || (a == a && b != b);
  };
  std::stable_sort(order.begin(), order.end(), better);
  std::vector<dim_t> kept;
  Kept before;
  for (const dim_t i : order) {
    if (static_cast<dim_t>(kept.size()) >= how.most || interrupted()) break;
    const Box box = box_of(boxes + 4 * i, how.centred);
    if (before.cover(box, how.overlap)) continue;
    kept.push_back(i);
    before.add(box);
  }
  return kept;
}

}  // namespace

std::vector<std::vector<dim_t>> suppress(const float* boxes, const float* scores, dim_t images,
                                         dim_t classes, dim_t count, const Suppression& how) {
  std::vector<std::vector<dim_t>> kept(static_cast<size_t>(images * classes));
  parallel_for(images * classes, std::max<dim_t>(1, 256 / std::max<dim_t>(1, count)),
               [&](dim_t begin, dim_t end) {
                 for (dim_t at = begin; at < end; ++at)
                   kept[static_cast<size_t>(at)] =
                       chosen(boxes + at / classes * count * 4, scores + at * count, count, how);
               });
  return kept;
}

}  // namespace fastconv
