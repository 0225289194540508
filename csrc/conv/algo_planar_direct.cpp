// L4 conv: a convolution of planes (NCHW) whose filters have few products, or that has few filters. A
// weight is multiplied with a vector of neighbouring pixels, where "implicit" would reorder planes to
// pixels of channels and back, and fills a vector with output channels, however few there are.
//
// The sums have the order that "implicit" gives them, and the same bits.
#include <algorithm>

#include "conv/algo.h"
#include "conv/cost.h"
#include "conv/stage.h"
#include "conv/weights.h"
#include "core/check.h"
#include "core/division.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "kernels/dispatch.h"

namespace fastconv {
namespace {

class PlanarDirectPacked final : public PackedConv {
 public:
  explicit PlanarDirectPacked(const ConvSpec& spec);
  std::unique_ptr<const BoundConv> bind(const ConvShape& s, const View& x, const View& y,
                                        const View* residual,
                                        const std::vector<dim_t>& blocks) const override;
  dim_t bytes() const noexcept override { return w_.bytes() + bias_.bytes(); }
  std::vector<PackedArray> arrays() const override { return {w_}; }
  std::string tile() const override { return message(kPlanarFilters, "x", 3 * kernels_.lanes); }

  const ConvParams& params() const { return params_; }
  const KernelTable& kernels() const { return kernels_; }
  const Activation& activation() const { return activation_; }
  const float* bias() const { return bias_.size() ? bias_.data() : nullptr; }
  const float* filters(dim_t group) const { return w_.data() + group * group_floats_; }

 private:
  ConvParams params_;
  Activation activation_;
  const KernelTable& kernels_;
  dim_t group_floats_;
  Buffer<float> w_, bias_;
};

PlanarDirectPacked::PlanarDirectPacked(const ConvSpec& spec)
    : params_(spec.params), activation_(spec.activation), kernels_(spec.kernels) {
  const dim_t taps = params_.kernel[0] * params_.kernel[1] * params_.kernel[2],
              ic = params_.ic / params_.groups, oc = params_.oc / params_.groups;
  group_floats_ = round_up(oc, dim_t{kPlanarFilters}) * ic * taps;
  if (spec.bias) bias_ = Buffer<float>::copy_of(spec.bias, params_.oc);
  w_ = spec.source.take<float>(params_.groups * group_floats_);
  if (spec.source.filled()) return;
  std::vector<ChannelPanel> panels;
  for (dim_t g = 0; g < params_.groups; ++g)
    for (dim_t o = 0; o < oc; o += kPlanarFilters)
      panels.push_back({g * oc + o, std::min<dim_t>(kPlanarFilters, oc - o), kPlanarFilters,
                        w_.data() + g * group_floats_ + o * ic * taps});
  pack_taps(kernels_, spec.w, ic, taps, panels);
}

class PlanarDirectBound final : public BoundConv {
 public:
  PlanarDirectBound(std::shared_ptr<const PackedConv> owner, const PlanarDirectPacked& packed,
                    const ConvShape& s, const View& x, const View& y, const View* residual)
      : owner_(std::move(owner)),
        packed_(packed),
        shape_(s),
        staging_(x, y, residual, s.pad_lo, s.pad_hi, ImageOrder::planes) {
    const Image& image = staging_.x();
    for (dim_t d = 0; d < s.kernel[0]; ++d)
      for (dim_t h = 0; h < s.kernel[1]; ++h)
        for (dim_t w = 0; w < s.kernel[2]; ++w)
          for (dim_t i = 0; i < s.group_ic(); ++i)
            offset_.push_back((d * s.dilation[0] - s.pad_lo[0]) * image.stride[0] +
                              (h * s.dilation[1] - s.pad_lo[1]) * image.stride[1] +
                              (w * s.dilation[2] - s.pad_lo[2]) * image.stride[2] +
                              i * image.c_stride);
  }

  dim_t workspace() const noexcept override { return staging_.workspace(); }
  void run(const void* x, const float* residual, void* y,
           std::byte* workspace) const noexcept override {
    const Staging::Pointers<> at = staging_.before(x, residual, y, workspace);
    const dim_t rows = shape_.n * shape_.groups * shape_.out[0] * shape_.out[1];
    const dim_t work = 1 + shape_.out[2] * shape_.group_oc() * static_cast<dim_t>(offset_.size());
    parallel_for(rows, 1 + kFmasWorthAThread / work, [&](dim_t begin, dim_t end) {
      for (dim_t i = begin; i < end; ++i) {
        if (i % 16 == 15 && interrupted()) return;
        run_row(at, i);
      }
    });
    staging_.after(at, y);
  }

 private:
  // Of all rows of all groups of all images.
  void run_row(const Staging::Pointers<>& at, dim_t i) const noexcept {
    const ConvShape& s = shape_;
    const Image &xi = staging_.x(), &yi = staging_.y();
    const dim_t h = i % s.out[1], d = i / s.out[1] % s.out[0], image = i / s.out[1] / s.out[0],
                group = image % s.groups, n = image / s.groups, channel = group * s.group_oc();
    const dim_t start =
        n * yi.n_stride + channel * yi.c_stride + d * yi.stride[0] + h * yi.stride[1];
    PlanarRow t = {};
    t.x = at.x + n * xi.n_stride + group * s.group_ic() * xi.c_stride +
          d * s.stride[0] * xi.stride[0] + h * s.stride[1] * xi.stride[1];
    t.offset = offset_.data();
    t.K = static_cast<dim_t>(offset_.size());
    t.step = s.stride[2];
    t.w = packed_.filters(group);
    t.channels = s.group_oc();
    t.y = at.y + start;
    t.ldy = t.epilogue.ldr = yi.c_stride;
    t.pixels = s.out[2];
    t.epilogue.activation = packed_.activation();
    t.epilogue.row_bias = packed_.bias() ? packed_.bias() + channel : nullptr;
    t.epilogue.residual = at.residual ? at.residual + start : nullptr;
    packed_.kernels().conv.planar_row(t);
  }

  std::shared_ptr<const PackedConv> owner_;
  const PlanarDirectPacked& packed_;
  ConvShape shape_;
  Staging staging_;
  std::vector<dim_t> offset_;  // of each product, from the first pixel that a row of y sees
};

std::unique_ptr<const BoundConv> PlanarDirectPacked::bind(const ConvShape& s, const View& x,
                                                          const View& y, const View* residual,
                                                          const std::vector<dim_t>&) const {
  return std::make_unique<PlanarDirectBound>(shared_from_this(), *this, s, x, y, residual);
}

std::string reject(const ConvParams& p, const KernelTable&) {
  if (!p.planar) return "channels-last arrays";
  if (p.spatial == 0) return "a fully connected layer";
  if (p.transposed) return "transposed";
  if (p.stride[kMaxSpatial - 1] > 2) return "a stride of more than 2 along rows";
  return "";
}

// Of other layers it would have to keep the weights as they are until it sees an image's size.
std::string unsuited(const ConvParams& p, const KernelTable&) {
  const dim_t K = p.ic / p.groups * p.kernel[0] * p.kernel[1] * p.kernel[2];
  if (K > 128 && p.oc / p.groups > kPlanarFilters)
    return message("more than ", kPlanarFilters, " filters, of more than 128 weights each");
  return "";
}

bool pays(const ConvParams&, const ConvShape& s, bool, const KernelTable& table) {
  return planar_direct_cycles(s, table.lanes) < planar_cycles(s, table.lanes);
}

}  // namespace

extern const Algo algo_planar_direct;
const Algo algo_planar_direct = {"planar_direct", reject,
                                 [](const ConvSpec& spec) -> std::shared_ptr<const PackedConv> {
                                   return std::make_shared<PlanarDirectPacked>(spec);
                                 },
                                 pays, unsuited};

}  // namespace fastconv
