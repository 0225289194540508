// L4 conv: a result that kernels write channels last and that is wanted otherwise, in bands of rows. A
// thread computes a band in L2 and copies it to its place, where Staging (stage.h) has all of the result
// written to memory and read again. Used by dense.cpp.
#pragma once
#include <algorithm>
#include <cstddef>
#include <utility>

#include "conv/stage.h"
#include "core/cpu.h"
#include "core/division.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "nn/layout.h"

namespace fastconv {

class Bands {
 public:
  Bands(const View& y, const View* residual);

  // Whether bands are worth it, for sums of K products: the result is not in order, too large for L2, and
  // its numbers are summed in less time than memory takes to write and read them.
  bool pay(dim_t K) const noexcept { return large_ && K <= 64; }
  // The result as the kernels see it: channels last and dense. It is nowhere as a whole.
  View dense(const View& y) const noexcept;
  dim_t workspace() const noexcept { return threads_ * band_bytes_; }
  // compute(first, count, residual, to): pixels [first, first + count) in the order of dense(), to `to`,
  // which is where the residual is, if there is one.
  template <class F>
  void run(const float* residual, float* y, std::byte* workspace, F compute) const noexcept {
    const int threads =
        static_cast<int>(std::min<dim_t>({dim_t{threads_}, dim_t{get_num_threads()}, count_}));
    parallel_run(threads, [&](int tid) {
      float* const band = reinterpret_cast<float*>(workspace + tid * band_bytes_);
      const Range mine = partition(count_, threads, tid);
      for (dim_t i = mine.begin; i < mine.end; ++i) {
        if (i > mine.begin && interrupted()) return;
        const Band b = at(i);
        if (residual) copy(part(residual_, b, const_cast<float*>(residual)), whole(b, band));
        compute(b.first_pixel, b.rows * y_.size[2], residual ? band : nullptr, band);
        copy(whole(b, band), part(y_, b, y));
      }
    });
  }

 private:
  struct Band {
    dim_t slice, row, rows, first_pixel;  // slice: of all depths of all images
  };
  Band at(dim_t i) const noexcept {
    const dim_t slice = i / per_slice_;
    const Range rows =
        partition(y_.size[1], static_cast<int>(per_slice_), static_cast<int>(i % per_slice_));
    return {slice, rows.begin, rows.end - rows.begin,
            (slice * y_.size[1] + rows.begin) * y_.size[2]};
  }
  View part(const Image& image, const Band& b, float* data) const noexcept;
  View whole(const Band& b, float* data) const noexcept;

  Image y_, residual_;
  int threads_ = get_num_threads();
  dim_t per_slice_ = 1, count_ = 0, band_bytes_ = 0;
  bool large_ = false;
};

}  // namespace fastconv
