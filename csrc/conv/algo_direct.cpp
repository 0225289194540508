// L4 conv: direct convolution of groups with few channels (depthwise with a multiplier,
// ResNeXt-like groups of 2 to 8), channels-last, a vector of output channels spanning several
// groups. Calls kernels/grouped_f32.inl.h.
#include <algorithm>
#include <cstring>

#include "conv/algo.h"
#include "conv/rows.h"
#include "core/buffer.h"
#include "core/check.h"

namespace fastconv {
namespace {

constexpr dim_t kNone[kMaxSpatial] = {};

// The input channels that output channels [b * lanes, ...) read.
struct Span {
  dim_t first, count;
};
Span span_of(const ConvParams& p, dim_t b, dim_t lanes) {
  const dim_t ic = p.ic / p.groups, oc = p.oc / p.groups;
  const dim_t g0 = b * lanes / oc, g1 = (std::min(p.oc, (b + 1) * lanes) - 1) / oc;
  return {g0 * ic, (g1 - g0 + 1) * ic};
}

class DirectPacked final : public PackedConv {
 public:
  explicit DirectPacked(const ConvSpec& spec)
      : params_(spec.params), activation_(spec.activation), kernels_(spec.kernels) {
    const ConvParams& p = params_;
    const dim_t lanes = kernels_.lanes, blocks = (p.oc + lanes - 1) / lanes;
    const dim_t taps = p.kernel[0] * p.kernel[1] * p.kernel[2], ic = p.ic / p.groups,
                oc = p.oc / p.groups;
    w_ = Buffer(blocks * taps * ic * lanes);
    index_.assign(static_cast<size_t>(blocks * ic * lanes), 0);
    for (dim_t b = 0; b < blocks; ++b) {
      const Span span = span_of(p, b, lanes);
      base_.push_back(span.first);
      // As many whole channels of the pixel as a vector holds: a full load where the pixel goes on.
      span_.push_back(static_cast<int32_t>(std::min(lanes, p.ic - span.first)));
      for (dim_t i = 0; i < ic; ++i)
        for (dim_t l = 0; l < lanes; ++l) {
          const dim_t o = b * lanes + l;
          if (o < p.oc)
            index_[static_cast<size_t>((b * ic + i) * lanes + l)] =
                static_cast<int32_t>(o / oc * ic + i - span.first);
          for (dim_t t = 0; t < taps; ++t)
            w_.data()[((b * taps + t) * ic + i) * lanes + l] =
                o < p.oc ? spec.w[(o * ic + i) * taps + t] : 0.0f;
        }
    }
    if (spec.bias) {
      bias_ = Buffer(p.oc);
      std::memcpy(bias_.data(), spec.bias, static_cast<size_t>(p.oc) * sizeof(float));
    }
  }
  std::unique_ptr<const BoundConv> bind(const ConvShape& s, const View& x, const View& y,
                                        const View* residual) const override;
  dim_t bytes() const noexcept override {
    return (w_.size() + bias_.size()) * static_cast<dim_t>(sizeof(float)) +
           static_cast<dim_t>(index_.size() * sizeof(int32_t));
  }
  std::string tile() const override { return "4x" + std::to_string(kernels_.lanes); }

  void row(GroupedRow r, const float* residual) const noexcept {
    r.w = w_.data();
    r.w_taps = params_.kernel[0] * params_.kernel[1] * params_.kernel[2];
    r.group_ic = params_.ic / params_.groups;
    r.base = base_.data();
    r.span = span_.data();
    r.index = index_.data();
    r.oc = params_.oc;
    r.epilogue.bias = bias_.size() ? bias_.data() : nullptr;
    r.epilogue.residual = residual;
    r.epilogue.activation = activation_;
    kernels_.conv.grouped_row(r);
  }

 private:
  ConvParams params_;
  Activation activation_;
  const KernelTable& kernels_;
  Buffer w_, bias_;
  std::vector<dim_t> base_;
  std::vector<int32_t> span_, index_;
};

class DirectBound final : public BoundConv {
 public:
  DirectBound(std::shared_ptr<const PackedConv> owner, const DirectPacked& packed,
              const ConvShape& s, const View& x, const View& y, const View* residual)
      : owner_(std::move(owner)),
        packed_(packed),
        staging_(x, y, residual, kNone, kNone),
        runs_(s, staging_.x(), staging_.y(), 1),
        grain_(1 + 20000 / (s.out[2] * s.oc * s.group_ic() * s.taps() + 1)) {}
  dim_t workspace() const noexcept override { return staging_.workspace(); }
  void run(const float* x, const float* residual, float* y,
           float* workspace) const noexcept override {
    const Staging::Pointers at = staging_.before(x, residual, y, workspace);
    runs_.for_each(grain_, [&](const RowRuns::Run& run, dim_t x_offset, dim_t y_offset) {
      GroupedRow r = {};
      r.x = at.x + x_offset;
      r.x_step = runs_.x_step();
      r.x_tap = run.x_tap.data();
      r.w_tap = run.w_tap.data();
      r.taps = static_cast<dim_t>(run.x_tap.size());
      r.y = at.y + y_offset;
      r.y_step = r.epilogue.ldr = runs_.y_step();
      r.pixels = run.end - run.begin;
      packed_.row(r, at.residual ? at.residual + y_offset : nullptr);
    });
    staging_.after(at, y);
  }

 private:
  std::shared_ptr<const PackedConv> owner_;
  const DirectPacked& packed_;
  Staging staging_;
  RowRuns runs_;
  dim_t grain_;
};

std::unique_ptr<const BoundConv> DirectPacked::bind(const ConvShape& s, const View& x,
                                                    const View& y, const View* residual) const {
  return std::make_unique<DirectBound>(shared_from_this(), *this, s, x, y, residual);
}

std::string reject(const ConvParams& p, const KernelTable& kernels) {
  if (p.transposed) return "transposed";
  if (p.groups == 1) return "one group: a product over whole channels keeps the lanes full";
  const dim_t lanes = kernels.lanes;
  if (p.oc / p.groups >= lanes)
    return message("a group's ", p.oc / p.groups, " output channels fill a vector of ", lanes);
  for (dim_t b = 0; b * lanes < p.oc; ++b)
    if (span_of(p, b, lanes).count > lanes)
      return message(lanes, " output channels read ", span_of(p, b, lanes).count,
                     " input channels, more than a vector of ", lanes);
  return "";
}

}  // namespace

extern const Algo algo_direct;
const Algo algo_direct = {"direct", reject,
                          [](const ConvSpec& spec) -> std::shared_ptr<const PackedConv> {
                            return std::make_shared<DirectPacked>(spec);
                          }};

}  // namespace fastconv
