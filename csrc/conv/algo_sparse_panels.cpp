// L4 conv: convolutions whose weights have blocks of zeros, a block being 16 or 32 neighbouring
// output channels at one tap of one input channel. The implicit product of dense.cpp, with panels
// that lack those rows (gemm/sparse.h). Any kernel, stride, dilation, padding, grouping and phase of
// a transposed convolution.
//
// What a weight of zero is multiplied with is not read: an infinity or a NaN there leaves no NaN.
#include <algorithm>

#include "conv/algo.h"
#include "conv/bound_phases.h"
#include "conv/cost.h"
#include "conv/phases.h"
#include "conv/stage.h"
#include "core/check.h"
#include "core/division.h"
#include "gemm/gemm.h"
#include "gemm/sparse.h"

namespace fastconv {
namespace {

using Groups = std::vector<SparseB>;  // of a phase

class SparsePacked final : public PackedConv {
 public:
  explicit SparsePacked(const ConvSpec& spec);
  std::unique_ptr<const BoundConv> bind(const ConvShape& s, const View& x, const View& y,
                                        const View* residual,
                                        const std::vector<dim_t>& blocks) const override;
  dim_t bytes() const noexcept override {
    dim_t total = bias_.bytes();
    for (const Groups& groups : weights_)
      for (const SparseB& b : groups) total += b.bytes();
    return total;
  }
  std::vector<PackedArray> arrays() const override {
    std::vector<PackedArray> found = {width_};
    for (const Groups& groups : weights_)
      for (const SparseB& b : groups)
        for (const PackedArray& array : b.arrays()) found.push_back(array);
    return found;
  }
  std::string tile() const override { return weights_.front().front().tile(); }
  dim_t kept_weights() const noexcept override {
    dim_t total = 0;
    for (const Groups& groups : weights_)
      for (const SparseB& b : groups) total += b.kept() * b.width();
    return total;
  }
  const Activation& activation() const { return activation_; }

 private:
  const SparsePanel& panel_kernels(const ConvSpec& spec);

  ConvParams params_;
  Buffer<int32_t> width_;  // one number: of the panels
  const SparsePanel& panels_;
  Activation activation_;
  Buffer<float> bias_;
  Phases phases_;
  std::vector<Groups> weights_;  // of each phase
  Groups no_taps_;               // for pixels that no tap reaches
};

const SparsePanel& SparsePacked::panel_kernels(const ConvSpec& spec) {
  const SparseKernels& kernels = spec.kernels.sparse;
  width_ = spec.source.take<int32_t>(1);
  FC_CHECK(width_.size() == 1, ShapeError, "stored weights: expected a width of panels, got none");
  if (!spec.source.filled())
    width_.data()[0] = sparse_panel_width(count_zeros(params_, spec.w), spec.kernels);
  for (const SparsePanel& panels : kernels.panels)
    if (panels.mr && panels.width == width_.data()[0]) return panels;
  throw ShapeError(
      message("stored weights: expected panels as wide as a kernel, got ", width_.data()[0]));
}

SparsePacked::SparsePacked(const ConvSpec& spec)
    : params_(spec.params),
      panels_(panel_kernels(spec)),
      activation_(spec.activation),
      phases_(spec.params) {
  const ConvParams& p = params_;
  const dim_t all_taps = p.kernel[0] * p.kernel[1] * p.kernel[2];
  const dim_t ic = p.ic / p.groups, oc = p.oc / p.groups;
  const dim_t i_step = p.transposed ? oc * all_taps : all_taps,
              o_step = p.transposed ? all_taps : ic * all_taps;
  if (spec.bias) bias_ = Buffer<float>::copy_of(spec.bias, p.oc);
  for (const Phase& phase : phases_.all()) {
    std::vector<dim_t> taps;
    for (const Tap& tap : phase.taps) taps.push_back(tap.weight);
    Groups groups;
    for (dim_t g = 0; g < p.groups; ++g) {
      const float* const w = spec.source.filled() ? nullptr : spec.w + g * ic * oc * all_taps;
      groups.emplace_back(panels_, taps, ic, oc, w, i_step, o_step, spec.source);
    }
    weights_.push_back(std::move(groups));
  }
  BufferSource nothing;
  for (dim_t g = 0; g < p.groups; ++g)
    no_taps_.emplace_back(panels_, std::vector<dim_t>(), ic, oc, nullptr, 0, 0, nothing);
}

using SparseBound = BoundProducts<SparseGroup, multiply_sparse>;

std::unique_ptr<const BoundConv> SparsePacked::bind(const ConvShape& shape, const View& input,
                                                    const View& y, const View* residual,
                                                    const std::vector<dim_t>& blocks) const {
  ConvShape s = shape;
  View x = input;
  drop_skipped_rows(params_, s, x);
  Staging staging = staging_of(phases_, s, x, y, residual, [&](dim_t step) {
    return bytes_alias(panels_.mr, step * dim_t{sizeof(float)});
  });
  const float* const bias = bias_.size() ? bias_.data() : nullptr;
  std::vector<SparseBound::Phase> bound =
      bind_phases<SparseGroup>(phases_, params_, s, staging, weights_, no_taps_, bias, 1);
  return std::make_unique<SparseBound>(shared_from_this(), activation_, std::move(staging),
                                       std::move(bound), blocks);
}

bool pays(const ConvParams& p, const ConvShape& s, bool, const KernelTable& table) {
  return sparse_panels_cycles(p, s, table) < 0.95 * dense_cycles(p, s, table);
}

std::string unsuited(const ConvParams& p, const KernelTable&) {
  constexpr double kLeast = 0.1;  // to be worth the lists of what is left
  const double most = std::max(p.zeros.blocks[0], p.zeros.blocks[1]);
  return most >= kLeast ? "" : zeros_below(most, "blocks of 16 ", kLeast);
}

}  // namespace

extern const Algo algo_sparse_panels;
const Algo algo_sparse_panels = {
    "sparse_panels",
    [](const ConvParams&, const KernelTable&) { return std::string(); },
    [](const ConvSpec& spec) -> std::shared_ptr<const PackedConv> {
      return std::make_shared<SparsePacked>(spec);
    },
    pays,
    unsuited,
};

}  // namespace fastconv
