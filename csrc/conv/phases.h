// L4 conv: the geometry of a convolution as matrix products, whatever its elements are. An ordinary
// one is a single phase; a transposed one has stride^2 of them: output pixels of one phase (position
// modulo stride) see a fixed subset of the taps, as an ordinary convolution of stride 1 over the
// input, and none of the zeros of the textbook upsampling is ever multiplied. Used by dense.cpp,
// algo_sparse_panels.cpp (bound_phases.h), algo_xnor.cpp and integer_dense.cpp.
#pragma once
#include <algorithm>
#include <set>
#include <vector>

#include "conv/stage.h"
#include "core/shape.h"
#include "core/view.h"

namespace fastconv {

struct Tap {
  dim_t offset[kMaxSpatial];  // relative to the pixel's first input position
  dim_t weight;               // index into the kernel's taps
};

// Taps in the order of their input offsets.
struct Phase {
  dim_t residue[kMaxSpatial];  // (output position + padding) modulo stride; all 0 for an ordinary
                               // convolution
  std::vector<Tap> taps;
};

// The rows of A and C of one phase for given shapes and strides. Of either, where consecutive rows are
// one step apart throughout, there is no table.
struct PhaseRows {
  dim_t M = 0;
  std::vector<dim_t> a_row, c_row, tap_offset;
  dim_t lda = 0, ldc = 0, k_run = 0;  // of each tap_offset
};

// How far taps reach beyond the input.
struct Reach {
  dim_t before[kMaxSpatial] = {}, after[kMaxSpatial] = {};

  bool any() const noexcept {
    return std::any_of(before, before + kMaxSpatial, [](dim_t n) { return n > 0; }) ||
           std::any_of(after, after + kMaxSpatial, [](dim_t n) { return n > 0; });
  }
};

class Phases {
 public:
  explicit Phases(const ConvParams& params);
  const std::vector<Phase>& all() const noexcept { return phases_; }
  Reach reach(const ConvShape& s) const;
  // Taps whose pixels are neighbours, all channels of each, are one long tap: as many as are such
  // throughout, or so many as are asked for.
  PhaseRows rows(const Phase& phase, const ConvShape& s, const Image& x, const Image& y,
                 dim_t joined = 0) const;
  // Output pixels that no tap reaches, as offsets into y: they are bias, residual and activation
  // alone. A stride larger than the kernel leaves such.
  std::vector<dim_t> untouched_pixels(const ConvShape& s, const Image& y) const;
  // How far apart consecutive rows of A are, 0 where there is but one.
  dim_t row_step(const Image& x, const ConvShape& s) const;

 private:
  void add(const dim_t* residue);

  ConvParams params_;
  std::set<dim_t> residues_[kMaxSpatial];
  std::vector<Phase> phases_;
};

// A kernel of one row reads no more than every stride-th row: the input is those. Columns too, but
// to stage an NCHW image the rows have to be whole.
void drop_skipped_rows(const ConvParams& p, ConvShape& s, View& x);

}  // namespace fastconv
