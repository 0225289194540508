// L4 conv: depthwise convolution (one input and one output channel per group), channels-last,
// vectors over channels. Nothing is padded or copied when x and y are channels-last. Calls
// kernels/dwconv_f32.inl.h; rows are spread over threads.
#include <algorithm>
#include <cstring>

#include "conv/algo.h"
#include "conv/rows.h"
#include "core/buffer.h"
#include "core/check.h"

namespace fastconv {
namespace {

constexpr dim_t kNone[kMaxSpatial] = {};

class DepthwisePacked final : public PackedConv {
 public:
  explicit DepthwisePacked(const ConvSpec& spec)
      : activation_(spec.activation), kernels_(spec.kernels) {
    const ConvParams& p = spec.params;
    const dim_t taps = p.kernel[0] * p.kernel[1] * p.kernel[2];
    w_ = Buffer(taps * p.oc);
    for (dim_t c = 0; c < p.oc; ++c)
      for (dim_t t = 0; t < taps; ++t) w_.data()[t * p.oc + c] = spec.w[c * taps + t];
    if (spec.bias) {
      bias_ = Buffer(p.oc);
      std::memcpy(bias_.data(), spec.bias, static_cast<size_t>(p.oc) * sizeof(float));
    }
  }
  std::unique_ptr<const BoundConv> bind(const ConvShape& s, const View& x, const View& y,
                                        const View* residual) const override;
  dim_t bytes() const noexcept override {
    return (w_.size() + bias_.size()) * static_cast<dim_t>(sizeof(float));
  }
  std::string tile() const override { return "4x" + std::to_string(2 * kernels_.lanes); }

  void row(DwconvRow r, const float* residual) const noexcept {
    r.w = w_.data();
    r.epilogue.bias = bias_.size() ? bias_.data() : nullptr;
    r.epilogue.residual = residual;
    r.epilogue.activation = activation_;
    kernels_.conv.dwconv_row(r);
  }

 private:
  Activation activation_;
  const KernelTable& kernels_;
  Buffer w_, bias_;  // w: [taps][channels]
};

class DepthwiseBound final : public BoundConv {
 public:
  DepthwiseBound(std::shared_ptr<const PackedConv> owner, const DepthwisePacked& packed,
                 const ConvShape& s, const View& x, const View& y, const View* residual)
      : owner_(std::move(owner)),
        packed_(packed),
        channels_(s.oc),
        staging_(x, y, residual, kNone, kNone),
        runs_(s, staging_.x(), staging_.y(), s.oc),
        grain_(1 + 20000 / (s.out[2] * s.oc * s.taps() + 1)) {}
  dim_t workspace() const noexcept override { return staging_.workspace(); }
  void run(const float* x, const float* residual, float* y,
           float* workspace) const noexcept override {
    const Staging::Pointers at = staging_.before(x, residual, y, workspace);
    runs_.for_each(grain_, [&](const RowRuns::Run& run, dim_t x_offset, dim_t y_offset) {
      DwconvRow r = {};
      r.x = at.x + x_offset;
      r.x_step = runs_.x_step();
      r.x_tap = run.x_tap.data();
      r.w_tap = run.w_tap.data();
      r.taps = static_cast<dim_t>(run.x_tap.size());
      r.y = at.y + y_offset;
      r.y_step = r.epilogue.ldr = runs_.y_step();
      r.pixels = run.end - run.begin;
      r.channels = channels_;
      packed_.row(r, at.residual ? at.residual + y_offset : nullptr);
    });
    staging_.after(at, y);
  }

 private:
  std::shared_ptr<const PackedConv> owner_;
  const DepthwisePacked& packed_;
  dim_t channels_;
  Staging staging_;
  RowRuns runs_;
  dim_t grain_;
};

std::unique_ptr<const BoundConv> DepthwisePacked::bind(const ConvShape& s, const View& x,
                                                       const View& y, const View* residual) const {
  return std::make_unique<DepthwiseBound>(shared_from_this(), *this, s, x, y, residual);
}

std::string reject(const ConvParams& p, const KernelTable&) {
  if (p.transposed) return "transposed";
  if (p.groups == 1 || p.ic != p.groups || p.oc != p.groups)
    return message("not depthwise with multiplier 1: ", p.ic, " and ", p.oc, " channels in ",
                   p.groups, " group(s)");
  return "";
}

}  // namespace

extern const Algo algo_depthwise;
const Algo algo_depthwise = {"depthwise", reject,
                             [](const ConvSpec& spec) -> std::shared_ptr<const PackedConv> {
                               return std::make_shared<DepthwisePacked>(spec);
                             }};

}  // namespace fastconv
