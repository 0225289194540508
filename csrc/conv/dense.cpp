// L4 conv: see dense.h. Start reading at DensePacked::bind.
#include "conv/dense.h"

#include <cstring>
#include <set>

#include "conv/stage.h"
#include "core/division.h"
#include "core/parallel.h"
#include "gemm/gemm.h"

namespace fastconv {
namespace {

// One dimension of one phase. Output pixels are step * j + first, j < count; pixel j sees input
// pixels in_step * j + in_first + offset(tap) for its taps.
struct PhaseAxis {
  dim_t out_first, out_step, count, in_first, in_step;
};

struct Tap {
  dim_t offset[kMaxSpatial];  // relative to the pixel's first input position
  dim_t weight;               // index into the kernel's taps
};

// A phase's weights: taps in the order of their input offsets and one packed matrix per group.
struct Phase {
  dim_t residue[kMaxSpatial];  // (output position + padding) modulo stride; all 0 for an ordinary
                               // convolution
  std::vector<Tap> taps;
  std::vector<PackedB> groups;
};

class DensePacked final : public PackedConv {
 public:
  DensePacked(const ConvSpec& spec, bool materialise);
  std::unique_ptr<const BoundConv> bind(const ConvShape& s, const View& x, const View& y,
                                        const View* residual,
                                        const std::vector<dim_t>& blocks) const override;
  dim_t bytes() const noexcept override;
  std::vector<PackedArray> arrays() const override;
  std::string tile() const override { return phases_.front().groups.front().tile(); }

  const ConvParams& params() const { return params_; }
  const std::vector<Phase>& phases() const { return phases_; }
  bool materialise() const { return materialise_; }
  const float* bias() const { return bias_.size() ? bias_.data() : nullptr; }
  const Activation& activation() const { return activation_; }

 private:
  void add_phase(const ConvSpec& spec, const dim_t* residue);
  // Output pixels that no tap reaches, as offsets into y: they are bias, residual and activation
  // alone.
  std::vector<dim_t> untouched_pixels(const ConvShape& s, const Image& y) const;
  std::vector<ProductGroup> product_groups(const std::vector<PackedB>& b) const;
  bool pixels_alias(const Image& x, const ConvShape& s) const;

  ConvParams params_;
  const KernelTable& kernels_;
  bool materialise_;
  Activation activation_;
  Buffer<float> bias_;
  std::set<dim_t> residues_[kMaxSpatial];
  std::vector<Phase> phases_;
  std::vector<PackedB> no_taps_;  // one of K = 0 per group, for the untouched pixels
};

DensePacked::DensePacked(const ConvSpec& spec, bool materialise)
    : params_(spec.params),
      kernels_(spec.kernels),
      materialise_(materialise),
      activation_(spec.activation) {
  if (spec.bias) bias_ = Buffer<float>::copy_of(spec.bias, params_.oc);
  // Residues that some tap reaches: all 0, or, transposed, k * dilation modulo stride. A stride
  // larger than the kernel leaves others, whose pixels see no input at all.
  for (int i = 0; i < kMaxSpatial; ++i)
    for (dim_t k = 0; k < params_.kernel[i]; ++k)
      residues_[i].insert(params_.transposed ? k * params_.dilation[i] % params_.stride[i] : 0);
  for (dim_t d : residues_[0])
    for (dim_t h : residues_[1])
      for (dim_t w : residues_[2]) {
        const dim_t residue[kMaxSpatial] = {d, h, w};
        add_phase(spec, residue);
      }
  for (dim_t g = 0; g < params_.groups; ++g)
    no_taps_.emplace_back(kernels_.gemm, 0, params_.oc / params_.groups);
}

// B of a kernel with all its taps, from w [N][ic][taps]. Where the taps of a channel lie side by
// side, packing them one after another reads every cache line of w `taps` times (512 to 512
// channels, 3x3: 1.6 ms); so a few channels of all columns are transposed at once, in L1, and their
// rows put in place.
void pack_taps(const KernelTable& kernels, const float* w, dim_t ic, dim_t taps, PackedB& b) {
  constexpr dim_t kChannels = 16;
  const dim_t nr = kernels.gemm.nr;
  const int threads = static_cast<int>(std::min<dim_t>(get_num_threads(), b.panels()));
  const dim_t chunk = kChannels * taps * widest_panel(kernels.gemm, b.N());
  Buffer<float> scratch(threads * chunk);
  parallel_run(threads, [&](int tid) {
    float* rows = scratch.data() + tid * chunk;
    const Range mine = partition(b.panels(), threads, tid);
    for (dim_t p = mine.begin; p < mine.end; ++p) {
      const dim_t width = b.width(p), columns = std::min<dim_t>(width, b.N() - p * nr);
      std::memset(rows, 0, static_cast<size_t>(chunk) * sizeof(float));  // columns beyond N
      for (dim_t i0 = 0; i0 < ic; i0 += kChannels) {
        const dim_t channels = std::min(kChannels, ic - i0);
        kernels.layout.transpose(columns, channels * taps, w + (p * nr * ic + i0) * taps, ic * taps,
                                 rows, width);
        for (dim_t t = 0; t < taps; ++t)
          for (dim_t i = 0; i < channels; ++i)
            std::memcpy(b.panel(p) + (t * ic + i0 + i) * width, rows + (i * taps + t) * width,
                        static_cast<size_t>(width) * sizeof(float));
      }
    }
  });
}

void DensePacked::add_phase(const ConvSpec& spec, const dim_t* residue) {
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

  const dim_t taps = p.kernel[0] * p.kernel[1] * p.kernel[2];
  const dim_t ic = p.ic / p.groups, oc = p.oc / p.groups;
  const dim_t K = static_cast<dim_t>(phase.taps.size()) * ic;
  for (dim_t g = 0; g < p.groups; ++g) {
    PackedB b(kernels_.gemm, K, oc, spec.source.take<float>(PackedB::floats(kernels_.gemm, K, oc)));
    if (spec.source.filled()) {
      phase.groups.push_back(std::move(b));
      continue;
    }
    // Weight of (o, i, tap): dense o-i-tap, transposed i-o-tap.
    const dim_t stride_i = p.transposed ? oc * taps : taps,
                stride_o = p.transposed ? taps : ic * taps;
    const float* w = spec.w + g * (p.transposed ? ic * oc * taps : oc * ic * taps);
    if (p.transposed || taps == 1) {
      dim_t k0 = 0;
      for (const Tap& tap : phase.taps) {
        b.pack(k0, ic, w + tap.weight, stride_i, stride_o);
        k0 += ic;
      }
    } else {
      pack_taps(kernels_, w, ic, taps, b);
    }
    phase.groups.push_back(std::move(b));
  }
  phases_.push_back(std::move(phase));
}

dim_t DensePacked::bytes() const noexcept {
  dim_t total = bias_.bytes();
  for (const Phase& phase : phases_)
    for (const PackedB& b : phase.groups) total += b.bytes();
  return total;
}

std::vector<PackedArray> DensePacked::arrays() const {
  std::vector<PackedArray> found;
  for (const Phase& phase : phases_)
    for (const PackedB& b : phase.groups) found.push_back(b.data());
  return found;
}

// The tables of one phase for given shapes and strides.
struct BoundPhase {
  dim_t M = 0;
  std::vector<dim_t> a_row, c_row, tap_offset;
  dim_t lda = 0, ldc = 0, k_run = 0;
  std::vector<ProductGroup> groups;
};

// Row offsets of a grid of pixels. Where consecutive rows are one step apart throughout, the table
// is not needed.
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

class DenseBound final : public BoundConv {
 public:
  DenseBound(std::shared_ptr<const PackedConv> owner, const DensePacked& packed, Staging staging,
             std::vector<BoundPhase> phases, const std::vector<dim_t>& blocks)
      : owner_(std::move(owner)),
        activation_(packed.activation()),
        materialise_(packed.materialise()),
        staging_(std::move(staging)),
        phases_(std::move(phases)),
        block_rows_(blocks.empty() ? 0 : blocks[0]) {
    if (materialise_)
      for (const BoundPhase& p : phases_)
        patch_floats_ =
            std::max(patch_floats_,
                     checked_product({p.M, static_cast<dim_t>(p.tap_offset.size()), p.k_run}));
  }

  dim_t workspace() const noexcept override { return staging_.workspace() + patch_floats_; }

  void run(const float* x, const float* residual, float* y,
           float* workspace) const noexcept override {
    const Staging::Pointers at = staging_.before(x, residual, y, workspace);
    float* patches = workspace + staging_.workspace();
    for (const BoundPhase& phase : phases_) {
      Product product = product_of(phase);
      if (!materialise_) {
        multiply(product, at.x, at.residual, at.y);
        continue;
      }
      for (const ProductGroup& group : phase.groups) {
        ProductGroup in_patches = group;
        in_patches.a_offset = 0;
        write_patches(phase, at.x + group.a_offset, patches);
        product.groups = &in_patches;
        product.group_count = 1;
        multiply(product, patches, at.residual, at.y);
      }
    }
    staging_.after(at, y);
  }

  // Of the first phase; what is asked for is for all of them.
  std::vector<BlockSize> blocks() const override {
    if (phases_.empty()) return {};
    const Product product = product_of(phases_.front());
    const dim_t mr = product.groups[0].b->kernels().mr, most = round_up(product.M, mr);
    const dim_t rows = product.block_rows ? product.block_rows : block_rows_of(product);
    return {{"pixels", std::min(rows, most), mr, most}};
  }

 private:
  Product product_of(const BoundPhase& phase) const noexcept {
    static constexpr dim_t kStart = 0;
    Product p;
    p.M = phase.M;
    p.c_row = phase.c_row.empty() ? nullptr : phase.c_row.data();
    p.ldc = phase.ldc;
    p.groups = phase.groups.data();
    p.group_count = static_cast<dim_t>(phase.groups.size());
    p.activation = activation_;
    p.block_rows = block_rows_;
    const dim_t taps = static_cast<dim_t>(phase.tap_offset.size());
    if (materialise_) {
      p.lda = p.k_run = taps * phase.k_run;
      p.tap_offset = &kStart;
      p.taps = 1;
    } else {
      p.a_row = phase.a_row.empty() ? nullptr : phase.a_row.data();
      p.lda = phase.lda;
      p.tap_offset = phase.tap_offset.data();
      p.taps = taps;
      p.k_run = phase.k_run;
    }
    return p;
  }
  // patches[m][tap][k_run]
  void write_patches(const BoundPhase& phase, const float* x, float* patches) const noexcept {
    const dim_t taps = static_cast<dim_t>(phase.tap_offset.size()), run = phase.k_run,
                row = taps * run;
    parallel_for(phase.M, 1 + 16384 / (row + 1), [&](dim_t begin, dim_t end) {
      for (dim_t m = begin; m < end; ++m) {
        const float* pixel =
            x + (phase.a_row.empty() ? m * phase.lda : phase.a_row[static_cast<size_t>(m)]);
        for (dim_t t = 0; t < taps; ++t)
          std::memcpy(patches + m * row + t * run, pixel + phase.tap_offset[static_cast<size_t>(t)],
                      static_cast<size_t>(run) * sizeof(float));
      }
    });
  }

  std::shared_ptr<const PackedConv> owner_;  // keeps the packed weights alive
  Activation activation_;
  bool materialise_;
  Staging staging_;
  std::vector<BoundPhase> phases_;
  dim_t block_rows_, patch_floats_ = 0;
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

std::vector<ProductGroup> DensePacked::product_groups(const std::vector<PackedB>& b) const {
  const dim_t ic = params_.ic / params_.groups, oc = params_.oc / params_.groups;
  std::vector<ProductGroup> groups;
  for (dim_t g = 0; g < params_.groups; ++g)
    groups.push_back(
        {&b[static_cast<size_t>(g)], g * ic, g * oc, bias() ? bias() + g * oc : nullptr});
  return groups;
}

std::vector<dim_t> DensePacked::untouched_pixels(const ConvShape& s, const Image& y) const {
  const auto reached = [&](int i, dim_t o) {
    return residues_[i].count((o + s.pad_lo[i]) % s.stride[i]) > 0;
  };
  std::vector<dim_t> pixels;
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

// Whether consecutive rows of A would fall on each other in L1: a copy always pays (Zen 4, 1024
// channels at 14 px to 16: 52 GFLOP/s in place, 78 with the copy; to 128 86 and 111).
bool DensePacked::pixels_alias(const Image& x, const ConvShape& s) const {
  if (materialise_) return false;
  for (int i = kMaxSpatial - 1; i >= 0; --i)
    if (s.out[i] > 1)
      return rows_alias(kernels_.gemm, x.stride[i] * (params_.transposed ? 1 : s.stride[i]));
  return false;
}

std::unique_ptr<const BoundConv> DensePacked::bind(const ConvShape& shape, const View& input,
                                                   const View& y, const View* residual,
                                                   const std::vector<dim_t>& blocks) const {
  ConvShape s = shape;
  View x = input;
  drop_skipped_rows(params_, s, x);
  // How far the taps of all phases reach beyond the input.
  dim_t before[kMaxSpatial] = {}, after[kMaxSpatial] = {};
  for (const Phase& phase : phases_)
    for (int i = 0; i < kMaxSpatial; ++i) {
      const PhaseAxis axis = phase_axis(s, params_, i, phase.residue[i]);
      if (axis.count == 0) continue;
      for (const Tap& tap : phase.taps) {
        const dim_t low = axis.in_first + tap.offset[i],
                    high = low + (axis.count - 1) * axis.in_step;
        before[i] = std::max(before[i], -low);
        after[i] = std::max(after[i], high - (s.in[i] - 1));
      }
    }
  Staging staging(x, y, residual, before, after);
  if (pixels_alias(staging.x(), s))
    staging = Staging(x, y, residual, before, after, ImageOrder::channels_last, kRowGap);
  const Image &xi = staging.x(), &yi = staging.y();

  std::vector<BoundPhase> bound;
  for (const Phase& phase : phases_) {
    BoundPhase b;
    Grid a_grid{s.n, {}, xi.n_stride, {}, 0}, c_grid{s.n, {}, yi.n_stride, {}, 0};
    b.M = s.n;
    for (int i = 0; i < kMaxSpatial; ++i) {
      const PhaseAxis axis = phase_axis(s, params_, i, phase.residue[i]);
      b.M *= axis.count;
      a_grid.count[i] = c_grid.count[i] = axis.count;
      a_grid.stride[i] = axis.in_step * xi.stride[i];
      c_grid.stride[i] = axis.out_step * yi.stride[i];
      a_grid.first += axis.in_first * xi.stride[i];
      c_grid.first += axis.out_first * yi.stride[i];
    }
    if (b.M == 0) continue;
    const bool uniform =
        a_grid.first == 0 && c_grid.first == 0 && a_grid.uniform(&b.lda) && c_grid.uniform(&b.ldc);
    if (!uniform) {
      b.a_row = a_grid.table();
      b.c_row = c_grid.table();
    }
    // Runs of taps whose pixels are neighbours, all channels of each, are contiguous: one long tap
    // instead of many.
    const dim_t ic = params_.ic / params_.groups;
    size_t run = 1;
    const auto offset = [&](const Tap& t) {
      return t.offset[0] * xi.stride[0] + t.offset[1] * xi.stride[1] + t.offset[2] * xi.stride[2];
    };
    if (params_.groups == 1 && !phase.taps.empty()) {
      while (run < phase.taps.size() && offset(phase.taps[run]) == offset(phase.taps[run - 1]) + ic)
        ++run;
      for (size_t t = 0; t < phase.taps.size(); ++t)
        if (phase.taps.size() % run ||
            (t % run && offset(phase.taps[t]) != offset(phase.taps[t - 1]) + ic)) {
          run = 1;
          break;
        }
    }
    for (size_t t = 0; t < phase.taps.size(); t += run)
      b.tap_offset.push_back(offset(phase.taps[t]));
    b.k_run = static_cast<dim_t>(run) * ic;
    b.groups = product_groups(phase.groups);
    bound.push_back(std::move(b));
  }
  if (params_.transposed) {
    BoundPhase b;
    b.c_row = untouched_pixels(s, yi);
    b.a_row.resize(b.c_row.size());
    b.M = static_cast<dim_t>(b.c_row.size());
    b.groups = product_groups(no_taps_);
    if (b.M) bound.push_back(std::move(b));
  }
  return std::make_unique<DenseBound>(shared_from_this(), *this, std::move(staging),
                                      std::move(bound), blocks);
}

}  // namespace

std::shared_ptr<const PackedConv> prepack_dense(const ConvSpec& spec, bool materialise) {
  return std::make_shared<DensePacked>(spec, materialise);
}

}  // namespace fastconv
