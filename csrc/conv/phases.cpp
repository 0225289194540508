// L4 conv: see phases.h.
#include "conv/phases.h"

#include <algorithm>

#include "core/division.h"

namespace fastconv {
namespace {

// One dimension of one phase. Output pixels are step * j + first, j < count; pixel j sees input
// pixels in_step * j + in_first + offset(tap) for its taps.
struct PhaseAxis {
  dim_t out_first, out_step, count, in_first, in_step;
};
PhaseAxis phase_axis(const ConvShape& s, const ConvParams& p, int i, dim_t residue) {
  if (!p.transposed) return {0, 1, s.out[i], -s.pad_lo[i], s.stride[i]};
  // Output o belongs to the phase when (o + pad) mod stride = residue; then o + pad = residue +
  // stride * q, and it sees input pixels q + offset(tap).
  const dim_t q = std::max<dim_t>(0, ceil_div(s.pad_lo[i] - residue, s.stride[i]));
  const dim_t first = residue + q * s.stride[i] - s.pad_lo[i];
  const dim_t count = first < s.out[i] ? (s.out[i] - 1 - first) / s.stride[i] + 1 : 0;
  return {first, s.stride[i], count, q, 1};
}

// Row offsets of a grid of pixels.
struct Grid {
  dim_t n, count[kMaxSpatial];
  dim_t n_stride, stride[kMaxSpatial], first;
  bool uniform(dim_t* step) const {
    dim_t expected = 0;
    bool known = false;
    const dim_t size[4] = {n, count[0], count[1], count[2]},
                by[4] = {n_stride, stride[0], stride[1], stride[2]};
    for (int i = 3; i >= 0; --i) {
      if (size[i] == 1) continue;
      if (!known) *step = expected = by[i], known = true;
      if (by[i] != expected) return false;
      expected *= size[i];
    }
    return true;
  }
  std::vector<dim_t> table() const {
    std::vector<dim_t> rows;
    rows.reserve(static_cast<size_t>(n * count[0] * count[1] * count[2]));
    for (dim_t b = 0; b < n; ++b)
      for (dim_t d = 0; d < count[0]; ++d)
        for (dim_t h = 0; h < count[1]; ++h)
          for (dim_t w = 0; w < count[2]; ++w)
            rows.push_back(first + b * n_stride + d * stride[0] + h * stride[1] + w * stride[2]);
    return rows;
  }
};

}  // namespace

Phases::Phases(const ConvParams& params) : params_(params) {
  // Residues that some tap reaches: all 0, or, transposed, k * dilation modulo stride. A stride
  // larger than the kernel leaves others, whose pixels see no input at all.
  for (int i = 0; i < kMaxSpatial; ++i)
    for (dim_t k = 0; k < params_.kernel[i]; ++k)
      residues_[i].insert(params_.transposed ? k * params_.dilation[i] % params_.stride[i] : 0);
  for (dim_t d : residues_[0])
    for (dim_t h : residues_[1])
      for (dim_t w : residues_[2]) {
        const dim_t residue[kMaxSpatial] = {d, h, w};
        add(residue);
      }
}

void Phases::add(const dim_t* residue) {
  const ConvParams& p = params_;
  Phase phase;
  // Taps of each axis that reach this residue, input offsets ascending: offset = k * dilation, or,
  // transposed, (residue - k * dilation) / stride, which falls as k rises.
  std::vector<std::pair<dim_t, dim_t>> axis[kMaxSpatial];  // (offset, k)
  for (int i = 0; i < kMaxSpatial; ++i) {
    phase.residue[i] = residue[i];
    for (dim_t j = 0; j < p.kernel[i]; ++j) {
      const dim_t k = p.transposed ? p.kernel[i] - 1 - j : j;
      if (!p.transposed) {
        axis[i].push_back({k * p.dilation[i], k});
      } else if ((k * p.dilation[i] - residue[i]) % p.stride[i] == 0) {
        axis[i].push_back({(residue[i] - k * p.dilation[i]) / p.stride[i], k});
      }
    }
  }
  for (const auto& [od, kd] : axis[0])
    for (const auto& [oh, kh] : axis[1])
      for (const auto& [ow, kw] : axis[2])
        phase.taps.push_back({{od, oh, ow}, (kd * p.kernel[1] + kh) * p.kernel[2] + kw});
  phases_.push_back(std::move(phase));
}

Reach Phases::reach(const ConvShape& s) const {
  Reach reach;
  for (const Phase& phase : phases_)
    for (int i = 0; i < kMaxSpatial; ++i) {
      const PhaseAxis axis = phase_axis(s, params_, i, phase.residue[i]);
      if (axis.count == 0) continue;
      for (const Tap& tap : phase.taps) {
        const dim_t low = axis.in_first + tap.offset[i],
                    high = low + (axis.count - 1) * axis.in_step;
        reach.before[i] = std::max(reach.before[i], -low);
        reach.after[i] = std::max(reach.after[i], high - (s.in[i] - 1));
      }
    }
  return reach;
}

PhaseRows Phases::rows(const Phase& phase, const ConvShape& s, const Image& x, const Image& y,
                       dim_t joined) const {
  PhaseRows b;
  Grid a_grid{s.n, {}, x.n_stride, {}, 0}, c_grid{s.n, {}, y.n_stride, {}, 0};
  b.M = s.n;
  for (int i = 0; i < kMaxSpatial; ++i) {
    const PhaseAxis axis = phase_axis(s, params_, i, phase.residue[i]);
    b.M *= axis.count;
    a_grid.count[i] = c_grid.count[i] = axis.count;
    a_grid.stride[i] = axis.in_step * x.stride[i];
    c_grid.stride[i] = axis.out_step * y.stride[i];
    a_grid.first += axis.in_first * x.stride[i];
    c_grid.first += axis.out_first * y.stride[i];
  }
  if (b.M == 0) return b;
  if (a_grid.first != 0 || !a_grid.uniform(&b.lda)) b.a_row = a_grid.table();
  if (c_grid.first != 0 || !c_grid.uniform(&b.ldc)) b.c_row = c_grid.table();
  const dim_t ic = params_.ic / params_.groups;
  size_t run = joined ? static_cast<size_t>(joined) : 1;
  const auto offset = [&](const Tap& t) {
    return t.offset[0] * x.stride[0] + t.offset[1] * x.stride[1] + t.offset[2] * x.stride[2];
  };
  if (!joined && params_.groups == 1 && !phase.taps.empty()) {
    while (run < phase.taps.size() && offset(phase.taps[run]) == offset(phase.taps[run - 1]) + ic)
      ++run;
    for (size_t t = 0; t < phase.taps.size(); ++t)
      if (phase.taps.size() % run ||
          (t % run && offset(phase.taps[t]) != offset(phase.taps[t - 1]) + ic)) {
        run = 1;
        break;
      }
  }
  for (size_t t = 0; t < phase.taps.size(); t += run) b.tap_offset.push_back(offset(phase.taps[t]));
  b.k_run = static_cast<dim_t>(run) * ic;
  return b;
}

dim_t Phases::row_step(const Image& x, const ConvShape& s) const {
  for (int i = kMaxSpatial - 1; i >= 0; --i)
    if (s.out[i] > 1) return x.stride[i] * (params_.transposed ? 1 : s.stride[i]);
  return 0;
}

std::vector<dim_t> Phases::untouched_pixels(const ConvShape& s, const Image& y) const {
  const auto reached = [&](int i, dim_t o) {
    return residues_[i].count((o + s.pad_lo[i]) % s.stride[i]) > 0;
  };
  std::vector<dim_t> pixels;
  if (!params_.transposed) return pixels;
  for (dim_t n = 0; n < s.n; ++n)
    for (dim_t d = 0; d < s.out[0]; ++d)
      for (dim_t h = 0; h < s.out[1]; ++h)
        for (dim_t w = 0; w < s.out[2]; ++w)
          if (!(reached(0, d) && reached(1, h) && reached(2, w)))
            pixels.push_back(n * y.n_stride + d * y.stride[0] + h * y.stride[1] + w * y.stride[2]);
  return pixels;
}

// A kernel of one row reads no more than every stride-th row: the input is those. Columns too, but
// to stage an NCHW image the rows have to be whole.
void drop_skipped_rows(const ConvParams& p, ConvShape& s, View& x) {
  const int axes = x.stride[1] == 1 ? kMaxSpatial : kMaxSpatial - 1;
  for (int i = 0; i < axes; ++i) {
    const int axis = x.rank - kMaxSpatial + i;
    if (p.transposed || axis < 2 || s.kernel[i] != 1 || s.stride[i] == 1 || s.pad_lo[i] ||
        s.pad_hi[i])
      continue;
    x.shape[axis] = s.in[i] = s.out[i];
    x.stride[axis] *= s.stride[i];
    s.stride[i] = 1;
  }
}

}  // namespace fastconv
