// L4 conv: a 1x1 convolution of planes (NCHW). For each image and group Y = W X, with the filters
// [oc][ic] as the rows of A and the planes [ic][pixels] as B; Y is planes again. The other
// algorithms reorder such arrays to pixels of channels and back.
//
// A thread packs a block of columns of X, at most half of L2, and multiplies it with its rows of W,
// a quarter of L2 at a time. K is not split: each sum has the order that "implicit" gives it, and
// the same bits.
#include <algorithm>

#include "conv/algo.h"
#include "conv/stage.h"
#include "core/check.h"
#include "core/cpu.h"
#include "core/division.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "gemm/blocking.h"
#include "gemm/gemm.h"

namespace fastconv {
namespace {

constexpr dim_t kNone[kMaxSpatial] = {};
constexpr dim_t kZeroTap = 0;

class PlanarPacked final : public PackedConv {
 public:
  explicit PlanarPacked(const ConvSpec& spec)
      : activation_(spec.activation), kernels_(spec.kernels.gemm) {
    const dim_t oc = spec.params.oc, ic = spec.params.ic / spec.params.groups;
    const bool aliased = rows_alias(kernels_, ic);
    lda_ = ic + (aliased ? kRowGap : 0);
    if (spec.source.filled() || aliased)
      w_ = spec.source.take<float>(oc * lda_);
    else
      w_ = spec.borrow ? Buffer<float>::borrowed(spec.w, oc * ic)
                       : Buffer<float>::copy_of(spec.w, oc * ic);
    if (aliased && !spec.source.filled())
      for (dim_t o = 0; o < oc; ++o) {
        float* const row = std::copy_n(spec.w + o * ic, ic, w_.data() + o * lda_);
        std::fill_n(row, kRowGap, 0.0f);
      }
    if (spec.bias) bias_ = Buffer<float>::copy_of(spec.bias, spec.params.oc);
  }
  std::unique_ptr<const BoundConv> bind(const ConvShape& s, const View& x, const View& y,
                                        const View* residual,
                                        const std::vector<dim_t>& blocks) const override;
  dim_t bytes() const noexcept override { return w_.bytes() + bias_.bytes(); }
  std::vector<PackedArray> arrays() const override { return {w_}; }
  std::string tile() const override { return message(kernels_.mr, "x", kernels_.nr); }

  const GemmKernels& kernels() const { return kernels_; }
  const float* w() const { return w_.data(); }
  dim_t lda() const { return lda_; }  // floats from a filter to the next
  const float* bias() const { return bias_.size() ? bias_.data() : nullptr; }
  const Activation& activation() const { return activation_; }

 private:
  Activation activation_;
  const GemmKernels& kernels_;
  dim_t lda_;
  Buffer<float> w_, bias_;
};

class PlanarBound final : public BoundConv {
 public:
  PlanarBound(std::shared_ptr<const PackedConv> owner, const PlanarPacked& packed,
              const ConvShape& s, const View& x, const View& y, const View* residual,
              const std::vector<dim_t>& blocks)
      : owner_(std::move(owner)),
        packed_(packed),
        shape_(s),
        staging_(x, y, residual, kNone, kNone, ImageOrder::planes) {
    const GemmKernels& g = packed.kernels();
    const dim_t K = s.group_ic(), pixels = s.out_pixels();
    const dim_t fit = caches().l2 / 2 / static_cast<dim_t>(sizeof(float)) / K / g.nr;
    panels_together_ = std::clamp<dim_t>(fit, 1, panel_count(g, pixels));
    rows_together_ =
        std::clamp<dim_t>(fit * g.nr / 2 / g.mr, 1, ceil_div(s.group_oc(), g.mr)) * g.mr;
    if (!blocks.empty()) panels_together_ = blocks[0] / g.nr, rows_together_ = blocks[1];
    block_floats_ = round_up(K * (panels_together_ * g.nr + g.nr / 2), 16);
    const dim_t row_tiles = ceil_div(s.group_oc(), g.mr), images = s.n * s.groups;
    const dim_t worth = 1 + images * s.group_oc() * pixels * K / kFmasWorthAThread;
    threads_ = static_cast<int>(std::min<dim_t>(get_num_threads(), worth));
    cut_ = choose_cut(row_tiles, panel_count(g, pixels), ceil_div(threads_, images), true);
  }

  dim_t workspace() const noexcept override {
    return staging_.workspace() + threads_ * block_floats_ * static_cast<dim_t>(sizeof(float));
  }
  std::vector<BlockSize> blocks() const override {
    const GemmKernels& g = packed_.kernels();
    return {{"pixels", panels_together_ * g.nr, g.nr, panel_count(g, shape_.out_pixels()) * g.nr},
            {"channels", rows_together_, g.mr, round_up(shape_.group_oc(), g.mr)}};
  }
  void run(const void* x, const float* residual, void* y,
           std::byte* workspace) const noexcept override;

 private:
  void multiply(const Staging::Pointers<>& at, dim_t image, Range rows, Range panels,
                float* block) const noexcept;

  std::shared_ptr<const PackedConv> owner_;
  const PlanarPacked& packed_;
  ConvShape shape_;
  Staging staging_;
  dim_t panels_together_, rows_together_, block_floats_;
  int threads_;
  Cut cut_;
};

void PlanarBound::run(const void* x, const float* residual, void* y,
                      std::byte* workspace) const noexcept {
  const Staging::Pointers<> at = staging_.before(x, residual, y, workspace);
  float* const blocks = reinterpret_cast<float*>(workspace + staging_.workspace());
  const GemmKernels& g = packed_.kernels();
  const dim_t images = shape_.n * shape_.groups, parts = cut_.rows * cut_.cols;
  const dim_t row_tiles = ceil_div(shape_.group_oc(), g.mr),
              panels = panel_count(g, shape_.out_pixels());
  const int threads = std::min(threads_, get_num_threads());
  parallel_run(threads, [&](int tid) {
    const Range mine = partition(images * parts, threads, tid);
    for (dim_t task = mine.begin; task < mine.end; ++task) {
      const Range tiles = partition(row_tiles, static_cast<int>(cut_.rows),
                                    static_cast<int>(task / cut_.cols % cut_.rows));
      multiply(at, task / parts,
               {tiles.begin * g.mr, std::min(shape_.group_oc(), tiles.end * g.mr)},
               partition(panels, static_cast<int>(cut_.cols), static_cast<int>(task % cut_.cols)),
               blocks + tid * block_floats_);
    }
  });
  staging_.after(at, y);
}

// Rows (output channels of the group) and panels of columns of one image and group.
void PlanarBound::multiply(const Staging::Pointers<>& at, dim_t image, Range rows, Range panels,
                           float* block) const noexcept {
  const GemmKernels& g = packed_.kernels();
  const dim_t n = image / shape_.groups, group = image % shape_.groups, K = shape_.group_ic(),
              pixels = shape_.out_pixels(), channel = group * shape_.group_oc() + rows.begin;
  const Image &xi = staging_.x(), &yi = staging_.y();
  const float* const x = at.x + n * xi.n_stride + group * K * xi.c_stride;
  const dim_t start = n * yi.n_stride + channel * yi.c_stride;

  GemmTile t = {};
  t.lda = packed_.lda();
  t.K = K;
  t.tap_offset = &kZeroTap;
  t.taps = 1;
  t.ldc = t.epilogue.ldr = yi.c_stride;
  t.epilogue.activation = packed_.activation();
  for (dim_t p0 = panels.begin; p0 < panels.end; p0 += panels_together_) {
    if ((image > 0 || p0 > 0) && interrupted()) return;
    const dim_t p1 = std::min(panels.end, p0 + panels_together_);
    const auto packed = [&](dim_t p) { return block + (p - p0) * K * g.nr; };
    for (dim_t p = p0; p < p1; ++p) {
      const int width = panel_width(g, pixels, p);
      pack_panel(K, x + p * g.nr, xi.c_stride, 1,
                 static_cast<int>(std::min<dim_t>(width, pixels - p * g.nr)), width, packed(p));
    }
    for (dim_t m = 0; m < rows.end - rows.begin; m += rows_together_)
      for (dim_t p = p0; p < p1; ++p) {
        const int width = panel_width(g, pixels, p);
        t.a = packed_.w() + (channel + m) * t.lda;
        t.b = packed(p);
        t.ldb = width;
        t.n_cur = static_cast<int>(std::min<dim_t>(width, pixels - p * g.nr));
        const dim_t offset = start + m * yi.c_stride + p * g.nr;
        t.c = at.y + offset;
        t.epilogue.row_bias = packed_.bias() ? packed_.bias() + channel + m : nullptr;
        t.epilogue.residual = at.residual ? at.residual + offset : nullptr;
        run_rows(g, width, t, std::min(rows_together_, rows.end - rows.begin - m), nullptr);
      }
  }
}

std::unique_ptr<const BoundConv> PlanarPacked::bind(const ConvShape& s, const View& x,
                                                    const View& y, const View* residual,
                                                    const std::vector<dim_t>& blocks) const {
  return std::make_unique<PlanarBound>(shared_from_this(), *this, s, x, y, residual, blocks);
}

std::string reject(const ConvParams& p, const KernelTable&) {
  if (!p.planar) return "channels-last arrays: implicit multiplies their pixels in place";
  if (p.transposed) return "transposed";
  for (int i = 0; i < kMaxSpatial; ++i) {
    if (p.kernel[i] != 1) return "more than one tap";
    if (p.stride[i] != 1) return "a stride: it multiplies whole planes";
    if (p.pad_lo[i] || p.pad_hi[i]) return "padding: it multiplies whole planes";
  }
  return "";
}

// A column of B is a pixel: few of them leave the tile empty.
bool pays(const ConvParams&, const ConvShape& s, bool, const KernelTable& kernels) {
  return s.out_pixels() >= kernels.gemm.nr;
}

}  // namespace

extern const Algo algo_planar;
const Algo algo_planar = {"planar", reject,
                          [](const ConvSpec& spec) -> std::shared_ptr<const PackedConv> {
                            return std::make_shared<PlanarPacked>(spec);
                          },
                          pays};

}  // namespace fastconv
