// L4 conv: a 1x1 convolution whose weights have single zeros (Elsen et al., "Fast sparse ConvNets",
// 2020). Each weight that is left is multiplied with the pixels of a channel, a vector of them at a
// time. NCHW arrays have them side by side; of NHWC ones a block of pixels is transposed on the way
// in and out, in L1.
//
// A block of pixels is copied in either layout, so that all channels of it are near: each is read by
// many output channels. What a weight of zero is multiplied with is not read, as in
// algo_sparse_panels.cpp.
#include <algorithm>
#include <cstring>

#include "conv/algo.h"
#include "conv/cost.h"
#include "conv/phases.h"
#include "conv/stage.h"
#include "core/check.h"
#include "core/division.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "gemm/blocking.h"

namespace fastconv {
namespace {

constexpr dim_t kNone[kMaxSpatial] = {};
constexpr dim_t kChannels = 32;  // of the result that are transposed together

class SparsePlanesPacked final : public PackedConv {
 public:
  explicit SparsePlanesPacked(const ConvSpec& spec);
  std::unique_ptr<const BoundConv> bind(const ConvShape& s, const View& x, const View& y,
                                        const View* residual,
                                        const std::vector<dim_t>& blocks) const override;
  dim_t bytes() const noexcept override {
    return count_.bytes() + k_.bytes() + w_.bytes() + bias_.bytes();
  }
  std::vector<PackedArray> arrays() const override { return {count_, k_, w_}; }
  std::string tile() const override {
    const double all = static_cast<double>(params_.oc * (params_.ic / params_.groups));
    const double zeros = all > 0 ? 1 - static_cast<double>(w_.size()) / all : 0;
    return message("2x", kSparseVectors * kernels_.lanes, ", ", static_cast<int>(100 * zeros + 0.5),
                   " % of weights are zeros");
  }

  const ConvParams& params() const { return params_; }
  const KernelTable& kernels() const { return kernels_; }
  const Activation& activation() const { return activation_; }
  const float* bias() const { return bias_.size() ? bias_.data() : nullptr; }
  const int32_t* count(dim_t channel) const { return count_.data() + channel; }
  const int32_t* k(dim_t channel) const { return k_.data() + first_[static_cast<size_t>(channel)]; }
  const float* w(dim_t channel) const { return w_.data() + first_[static_cast<size_t>(channel)]; }
  dim_t kept_weights() const noexcept override { return w_.size(); }

 private:
  void sum_counts(dim_t ic);

  ConvParams params_;
  const KernelTable& kernels_;
  Activation activation_;
  std::vector<dim_t> first_;  // weight of each output channel, and behind the last
  Buffer<int32_t> count_, k_;
  Buffer<float> w_, bias_;
};

SparsePlanesPacked::SparsePlanesPacked(const ConvSpec& spec)
    : params_(spec.params), kernels_(spec.kernels), activation_(spec.activation) {
  const dim_t oc = params_.oc, ic = params_.ic / params_.groups;
  const bool stored = spec.source.filled();
  const float* const w = spec.w;
  if (spec.bias) bias_ = Buffer<float>::copy_of(spec.bias, oc);
  count_ = spec.source.take<int32_t>(oc);
  FC_CHECK(count_.size() == oc, ShapeError, "stored weights: expected ", oc, " counts, got ",
           spec.source.bytes(), " bytes");
  const auto is_kept = [](float x) { return x != 0.0f; };
  if (!stored)
    for (dim_t o = 0; o < oc; ++o)
      count_.data()[o] = static_cast<int32_t>(std::count_if(w + o * ic, w + (o + 1) * ic, is_kept));
  sum_counts(ic);
  k_ = spec.source.take<int32_t>(first_.back());
  w_ = spec.source.take<float>(first_.back());
  FC_CHECK(k_.size() == first_.back() && w_.size() == first_.back(), ShapeError,
           "stored weights: expected ", first_.back(), " weights, got ", spec.source.bytes(),
           " bytes");
  if (stored) {  // what says where x is read is not taken on trust
    for (dim_t i = 0; i < w_.size(); ++i)
      FC_CHECK(k_.data()[i] >= 0 && k_.data()[i] < ic, ShapeError,
               "stored weights: expected channels below ", ic, ", got ", k_.data()[i]);
    return;
  }
  dim_t at = 0;
  for (dim_t o = 0; o < oc; ++o)
    for (dim_t i = 0; i < ic; ++i)
      if (is_kept(w[o * ic + i])) {
        k_.data()[at] = static_cast<int32_t>(i);
        w_.data()[at++] = w[o * ic + i];
      }
}

void SparsePlanesPacked::sum_counts(dim_t ic) {
  first_.assign(1, 0);
  for (dim_t o = 0; o < params_.oc; ++o) {
    const int32_t n = count_.data()[o];
    FC_CHECK(n >= 0 && n <= ic, ShapeError, "stored weights: expected at most ", ic,
             " weights of a channel, got ", n);
    first_.push_back(first_.back() + n);
  }
}

class SparsePlanesBound final : public BoundConv {
 public:
  SparsePlanesBound(std::shared_ptr<const PackedConv> owner, const SparsePlanesPacked& packed,
                    const ConvShape& s, Staging staging, PhaseRows rows)
      : owner_(std::move(owner)),
        packed_(packed),
        shape_(s),
        staging_(std::move(staging)),
        rows_(std::move(rows)) {
    const dim_t lanes = packed.kernels().lanes;
    const bool planar = packed.params().planar;
    images_ = planar ? s.n : 1;
    pixels_ = planar ? s.out_pixels() : rows_.M;
    vectors_ = ceil_div(pixels_, lanes);
    blocks_ = ceil_div(vectors_, dim_t{kSparseVectors});
    const dim_t width = kSparseVectors * lanes;
    x_floats_ = s.group_ic() * width;
    y_floats_ = planar ? 0 : round_up(kChannels, lanes) * width;
    const dim_t worth = 1 + images_ * pixels_ * packed.kept_weights() / kFmasWorthAThread;
    threads_ = static_cast<int>(std::min<dim_t>(get_num_threads(), worth));
    cut_ = choose_cut(ceil_div(s.group_oc(), kChannels), blocks_,
                      ceil_div(threads_, images_ * s.groups), true);
  }

  dim_t workspace() const noexcept override {
    return staging_.workspace() + threads_ * (x_floats_ + y_floats_) * dim_t{sizeof(float)};
  }
  void run(const void* x, const float* residual, void* y,
           std::byte* workspace) const noexcept override;

 private:
  // A block of an image's pixels, or, in NHWC, of those of all images.
  struct Block {
    dim_t image, group, begin, pixels;
    int vectors;
  };
  Block block_of(dim_t image, dim_t group, dim_t index) const noexcept {
    const dim_t lanes = packed_.kernels().lanes;
    const Range v = partition(vectors_, static_cast<int>(blocks_), static_cast<int>(index));
    const dim_t begin = v.begin * lanes;
    return {image, group, begin, std::min(pixels_, v.end * lanes) - begin,
            static_cast<int>(v.end - v.begin)};
  }
  void gather(const Block& b, const float* x, float* to) const noexcept;
  void multiply(const Block& b, Range channels, const float* x, const Staging::Pointers<>& at,
                float* sums) const noexcept;

  std::shared_ptr<const PackedConv> owner_;
  const SparsePlanesPacked& packed_;
  ConvShape shape_;
  Staging staging_;
  PhaseRows rows_;  // of NHWC
  dim_t images_, pixels_, vectors_, blocks_, x_floats_, y_floats_;
  int threads_;
  Cut cut_;
};

void SparsePlanesBound::run(const void* x, const float* residual, void* y,
                            std::byte* workspace) const noexcept {
  const Staging::Pointers<> at = staging_.before(x, residual, y, workspace);
  float* const scratch = reinterpret_cast<float*>(workspace + staging_.workspace());
  const int threads = std::min(threads_, get_num_threads());
  const dim_t parts = cut_.rows * cut_.cols, chunks = ceil_div(shape_.group_oc(), kChannels);
  parallel_run(threads, [&](int tid) {
    float* const mine = scratch + tid * (x_floats_ + y_floats_);
    const Range tasks = partition(images_ * shape_.groups * parts, threads, tid);
    bool first = true;
    for (dim_t task = tasks.begin; task < tasks.end; ++task) {
      const Range c = partition(chunks, static_cast<int>(cut_.rows),
                                static_cast<int>(task / cut_.cols % cut_.rows));
      const Range blocks =
          partition(blocks_, static_cast<int>(cut_.cols), static_cast<int>(task % cut_.cols));
      const dim_t image = task / parts / shape_.groups, group = task / parts % shape_.groups;
      const Range channels = {c.begin * kChannels, std::min(shape_.group_oc(), c.end * kChannels)};
      for (dim_t i = blocks.begin; i < blocks.end; ++i) {
        if (!first && interrupted()) return;
        first = false;
        const Block block = block_of(image, group, i);
        gather(block, at.x, mine);
        multiply(block, channels, mine, at, mine + x_floats_);
      }
    }
  });
  staging_.after(at, y);
}

// The channels of a block, each its pixels and zeros up to whole vectors.
void SparsePlanesBound::gather(const Block& b, const float* x, float* to) const noexcept {
  const KernelTable& kernels = packed_.kernels();
  const dim_t K = shape_.group_ic(), width = b.vectors * kernels.lanes;
  const Image& image = staging_.x();
  if (packed_.params().planar) {
    const float* from = x + b.image * image.n_stride + b.group * K * image.c_stride + b.begin;
    for (dim_t k = 0; k < K; ++k)
      std::memcpy(to + k * width, from + k * image.c_stride,
                  static_cast<size_t>(b.pixels) * sizeof(float));
  } else if (rows_.a_row.empty()) {
    kernels.layout.transpose(b.pixels, K, x + b.begin * rows_.lda + b.group * K, rows_.lda, to,
                             width);
  } else {  // pixels that are a step apart, together
    const dim_t* const row = rows_.a_row.data() + b.begin;
    for (dim_t p = 0; p < b.pixels;) {
      dim_t end = p + 1;
      const dim_t step = end < b.pixels ? row[end] - row[p] : K;
      while (end < b.pixels && row[end] - row[end - 1] == step) ++end;
      kernels.layout.transpose(end - p, K, x + row[p] + b.group * K, step, to + p, width);
      p = end;
    }
  }
  if (b.pixels < width)
    for (dim_t k = 0; k < K; ++k) std::fill(to + k * width + b.pixels, to + (k + 1) * width, 0.0f);
}

void SparsePlanesBound::multiply(const Block& b, Range channels, const float* x,
                                 const Staging::Pointers<>& at, float* sums) const noexcept {
  const SparseKernels& kernels = packed_.kernels().sparse;
  const Image& image = staging_.y();
  const dim_t first = b.group * shape_.group_oc();
  SparsePlanes t = {};
  t.x = x;
  t.vectors = b.vectors;
  t.pixels = b.pixels;
  const auto rows_from = [&](dim_t o, dim_t count) {
    t.channels = count;
    t.count = packed_.count(first + o);
    t.k = packed_.k(first + o);
    t.w = packed_.w(first + o);
    t.epilogue.row_bias = packed_.bias() ? packed_.bias() + first + o : nullptr;
  };
  if (packed_.params().planar) {
    const dim_t start =
        b.image * image.n_stride + (first + channels.begin) * image.c_stride + b.begin;
    rows_from(channels.begin, channels.end - channels.begin);
    t.y = at.y + start;
    t.ldy = t.epilogue.ldr = image.c_stride;
    t.epilogue.residual = at.residual ? at.residual + start : nullptr;
    t.epilogue.activation = packed_.activation();
    kernels.planes(t);
    return;
  }
  const dim_t width = b.vectors * packed_.kernels().lanes;
  PlanesToPixels pixels = {};
  pixels.x = t.y = sums;
  pixels.ldx = t.ldy = width;
  pixels.pixels = b.pixels;
  pixels.y_row = rows_.c_row.empty() ? nullptr : rows_.c_row.data() + b.begin;
  pixels.ldy = pixels.epilogue.ldr = rows_.ldc;
  pixels.epilogue.activation = packed_.activation();
  t.pixels = width;  // whole vectors: nothing else is in the sums
  for (dim_t o = channels.begin; o < channels.end; o += kChannels) {
    pixels.channels = std::min(kChannels, channels.end - o);
    rows_from(o, pixels.channels);
    kernels.planes(t);
    const dim_t start = first + o + (pixels.y_row ? 0 : b.begin * rows_.ldc);
    pixels.y = at.y + start;
    pixels.epilogue.residual = at.residual ? at.residual + start : nullptr;
    kernels.to_pixels(pixels);
  }
}

std::unique_ptr<const BoundConv> SparsePlanesPacked::bind(const ConvShape& shape, const View& input,
                                                          const View& y, const View* residual,
                                                          const std::vector<dim_t>&) const {
  ConvShape s = shape;
  View x = input;
  if (params_.planar)
    return std::make_unique<SparsePlanesBound>(
        shared_from_this(), *this, s, Staging(x, y, residual, kNone, kNone, ImageOrder::planes),
        PhaseRows());
  drop_skipped_rows(params_, s, x);
  Staging staging(x, y, residual, kNone, kNone);
  const Phases phases(params_);
  PhaseRows rows = phases.rows(phases.all().front(), s, staging.x(), staging.y(), 1);
  return std::make_unique<SparsePlanesBound>(shared_from_this(), *this, s, std::move(staging),
                                             std::move(rows));
}

std::string reject(const ConvParams& p, const KernelTable&) {
  if (p.transposed) return "transposed";
  for (int i = 0; i < kMaxSpatial; ++i) {
    if (p.kernel[i] != 1) return "more than one tap";
    if (p.pad_lo[i] || p.pad_hi[i]) return "padding";
    if (p.planar && p.stride[i] != 1) return "a stride: it multiplies whole planes";
  }
  return "";
}

std::string unsuited(const ConvParams& p, const KernelTable&) {
  constexpr double kLeast = 0.5;  // below, it beats dense products nowhere
  return p.zeros.single >= kLeast ? "" : zeros_below(p.zeros.single, "", kLeast);
}

bool pays(const ConvParams& p, const ConvShape& s, bool, const KernelTable& table) {
  const double mine = sparse_planes_cycles(p, s, table);
  return mine < 0.95 * dense_cycles(p, s, table) && mine < sparse_panels_cycles(p, s, table);
}

}  // namespace

extern const Algo algo_sparse_planes;
const Algo algo_sparse_planes = {
    "sparse_planes",
    reject,
    [](const ConvSpec& spec) -> std::shared_ptr<const PackedConv> {
      return std::make_shared<SparsePlanesPacked>(spec);
    },
    pays,
    unsuited,
};

}  // namespace fastconv
