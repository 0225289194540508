// L4 conv: output rows cut into runs of pixels that see the same taps in bounds, with the list of
// those taps: how grouped convolutions do without padding in memory. Used by grouped.cpp.
#pragma once
#include <map>
#include <tuple>
#include <vector>

#include "conv/stage.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "core/shape.h"

namespace fastconv {

class RowRuns {
 public:
  // One run: output pixels [begin, end) of a row, and for each tap in bounds where it reads x,
  // relative to the pixel's unpadded window origin, and which weight it takes.
  struct Run {
    dim_t begin, end;
    std::vector<dim_t> x_tap, w_tap;  // w_tap: tap index times weight_step
  };

  RowRuns(const ConvShape& s, const Image& x, const Image& y, dim_t weight_step)
      : shape_(s), x_(x), y_(y) {
    for (int i = 0; i < kMaxSpatial; ++i)
      for (dim_t o = 0; o < s.out[i]; ++o) bounds_[i].push_back(taps_in_bounds(i, o));
    std::map<std::tuple<dim_t, dim_t, dim_t, dim_t>, size_t> known;
    for (dim_t od = 0; od < s.out[0]; ++od)
      for (dim_t oh = 0; oh < s.out[1]; ++oh) {
        const Bounds d = bounds_[0][static_cast<size_t>(od)],
                     h = bounds_[1][static_cast<size_t>(oh)];
        const auto [at, fresh] =
            known.try_emplace({d.begin, d.end, h.begin, h.end}, classes_.size());
        if (fresh) classes_.push_back(runs_of(d, h, weight_step));
        class_of_row_.push_back(at->second);
      }
  }

  // f(run, x offset, y offset) for every run of every row, rows spread over the threads.
  template <class F>
  void for_each(dim_t grain, F&& f) const noexcept {
    const ConvShape& s = shape_;
    const dim_t rows = s.out[0] * s.out[1];
    parallel_for(s.n * rows, grain, [&](dim_t begin, dim_t end) {
      for (dim_t r = begin; r < end; ++r) {
        if ((r - begin) % 64 == 63 && interrupted()) return;  // a row can take but 100 ns
        const dim_t n = r / rows, od = r % rows / s.out[1], oh = r % s.out[1];
        const dim_t x = n * x_.n_stride + (od * s.stride[0] - s.pad_lo[0]) * x_.stride[0] +
                        (oh * s.stride[1] - s.pad_lo[1]) * x_.stride[1];
        const dim_t y = n * y_.n_stride + od * y_.stride[0] + oh * y_.stride[1];
        for (const Run& run : classes_[class_of_row_[static_cast<size_t>(r % rows)]])
          f(run, x + (run.begin * s.stride[2] - s.pad_lo[2]) * x_.stride[2],
            y + run.begin * y_.stride[2]);
      }
    });
  }
  dim_t x_step() const { return shape_.stride[2] * x_.stride[2]; }
  dim_t y_step() const { return y_.stride[2]; }

 private:
  struct Bounds {
    dim_t begin, end;  // taps
    bool operator==(const Bounds&) const = default;
  };
  Bounds taps_in_bounds(int i, dim_t o) const {
    const dim_t first = o * shape_.stride[i] - shape_.pad_lo[i], step = shape_.dilation[i];
    Bounds b{0, shape_.kernel[i]};
    while (b.begin < b.end && first + b.begin * step < 0) ++b.begin;
    while (b.begin < b.end && first + (b.end - 1) * step >= shape_.in[i]) --b.end;
    return b;
  }
  std::vector<Run> runs_of(Bounds d, Bounds h, dim_t weight_step) const {
    std::vector<Run> runs;
    const auto& columns = bounds_[2];
    for (size_t o = 0; o < columns.size();) {
      size_t end = o + 1;
      while (end < columns.size() && columns[end] == columns[o]) ++end;
      Run run{static_cast<dim_t>(o), static_cast<dim_t>(end), {}, {}};
      for (dim_t kd = d.begin; kd < d.end; ++kd)
        for (dim_t kh = h.begin; kh < h.end; ++kh)
          for (dim_t kw = columns[o].begin; kw < columns[o].end; ++kw) {
            run.x_tap.push_back(kd * shape_.dilation[0] * x_.stride[0] +
                                kh * shape_.dilation[1] * x_.stride[1] +
                                kw * shape_.dilation[2] * x_.stride[2]);
            run.w_tap.push_back(((kd * shape_.kernel[1] + kh) * shape_.kernel[2] + kw) *
                                weight_step);
          }
      runs.push_back(std::move(run));
      o = end;
    }
    return runs;
  }

  ConvShape shape_;
  Image x_, y_;
  std::vector<Bounds> bounds_[kMaxSpatial];
  std::vector<std::vector<Run>> classes_;  // rows with the same taps in bounds share their runs
  std::vector<size_t> class_of_row_;
};

}  // namespace fastconv
