// L4 conv: see dense.h. Start reading at DensePacked::bind.
#include "conv/dense.h"

#include <cstring>

#include "conv/bound_phases.h"
#include "conv/phases.h"
#include "conv/stage.h"
#include "conv/weights.h"
#include "core/division.h"
#include "core/parallel.h"
#include "gemm/gemm.h"

namespace fastconv {
namespace {

// One packed matrix a group.
using PhaseWeights = std::vector<PackedB>;

class DensePacked final : public PackedConv {
 public:
  DensePacked(const ConvSpec& spec, bool materialise);
  std::unique_ptr<const BoundConv> bind(const ConvShape& s, const View& x, const View& y,
                                        const View* residual,
                                        const std::vector<dim_t>& blocks) const override;
  dim_t bytes() const noexcept override;
  std::vector<PackedArray> arrays() const override;
  std::string tile() const override { return weights_.front().front().tile(); }

  const ConvParams& params() const { return params_; }
  bool materialise() const { return materialise_; }
  const float* bias() const { return bias_.size() ? bias_.data() : nullptr; }
  const Activation& activation() const { return activation_; }

 private:
  PhaseWeights allocate(const ConvSpec& spec, const Phase& phase) const;

  ConvParams params_;
  const KernelTable& kernels_;
  bool materialise_;
  Activation activation_;
  Buffer<float> bias_;
  Phases phases_;
  std::vector<PhaseWeights> weights_;  // of each phase
  std::vector<PackedB> no_taps_;       // one of K = 0 per group, for the untouched pixels
};

DensePacked::DensePacked(const ConvSpec& spec, bool materialise)
    : params_(spec.params),
      kernels_(spec.kernels),
      materialise_(materialise),
      activation_(spec.activation),
      phases_(spec.params) {
  if (spec.bias) bias_ = Buffer<float>::copy_of(spec.bias, params_.oc);
  for (const Phase& phase : phases_.all()) weights_.push_back(allocate(spec, phase));
  for (dim_t g = 0; g < params_.groups && !spec.source.filled(); ++g) {
    std::vector<PackedB*> bs;
    for (PhaseWeights& groups : weights_) bs.push_back(&groups[static_cast<size_t>(g)]);
    pack_group(spec, phases_.all(), g, bs);
  }
  for (dim_t g = 0; g < params_.groups; ++g)
    no_taps_.emplace_back(kernels_.gemm, 0, params_.oc / params_.groups);
}

PhaseWeights DensePacked::allocate(const ConvSpec& spec, const Phase& phase) const {
  const dim_t oc = params_.oc / params_.groups;
  const dim_t K = static_cast<dim_t>(phase.taps.size()) * (params_.ic / params_.groups);
  PhaseWeights groups;
  for (dim_t g = 0; g < params_.groups; ++g)
    groups.emplace_back(kernels_.gemm, K, oc,
                        spec.source.take<float>(PackedB::floats(kernels_.gemm, K, oc)));
  return groups;
}

dim_t DensePacked::bytes() const noexcept {
  dim_t total = bias_.bytes();
  for (const PhaseWeights& groups : weights_)
    for (const PackedB& b : groups) total += b.bytes();
  return total;
}

std::vector<PackedArray> DensePacked::arrays() const {
  std::vector<PackedArray> found;
  for (const PhaseWeights& groups : weights_)
    for (const PackedB& b : groups) found.push_back(b.data());
  return found;
}

class DenseBound final : public BoundPhases<ProductGroup> {
 public:
  DenseBound(std::shared_ptr<const PackedConv> owner, const DensePacked& packed, Staging staging,
             std::vector<Phase> bound, const std::vector<dim_t>& blocks)
      : BoundPhases(std::move(owner), packed.activation(), std::move(staging), std::move(bound),
                    blocks),
        materialise_(packed.materialise()) {
    if (materialise_)
      for (const Phase& p : phases())
        patch_floats_ = std::max(
            patch_floats_, checked_product({p.rows.M, static_cast<dim_t>(p.rows.tap_offset.size()),
                                            p.rows.k_run}));
  }

  dim_t workspace() const noexcept override {
    return staging().workspace() + patch_floats_ * static_cast<dim_t>(sizeof(float));
  }

  void run(const void* x, const float* residual, void* y,
           std::byte* workspace) const noexcept override {
    const Staging::Pointers<> at = staging().before(x, residual, y, workspace);
    float* const patches = reinterpret_cast<float*>(workspace + staging().workspace());
    for (const Phase& phase : phases()) {
      Product of_phase = product(phase);
      if (!materialise_) {
        multiply(of_phase, at.x, at.residual, at.y);
        continue;
      }
      for (const ProductGroup& group : phase.groups) {
        ProductGroup in_patches = group;
        in_patches.a_offset = 0;
        write_patches(phase, at.x + group.a_offset, patches);
        of_phase.groups = &in_patches;
        of_phase.group_count = 1;
        multiply(of_phase, patches, at.residual, at.y);
      }
    }
    staging().after(at, y);
  }

 private:
  Product product(const Phase& phase) const noexcept override {
    static constexpr dim_t kStart = 0;
    Product p = BoundPhases::product(phase);
    if (materialise_) {
      p.a_row = nullptr;
      p.lda = p.k_run = p.taps * p.k_run;
      p.tap_offset = &kStart;
      p.taps = 1;
    }
    return p;
  }
  // patches[m][tap][k_run]
  void write_patches(const Phase& phase, const float* x, float* patches) const noexcept {
    const dim_t taps = static_cast<dim_t>(phase.rows.tap_offset.size()), run = phase.rows.k_run,
                row = taps * run;
    parallel_for(phase.rows.M, 1 + 16384 / (row + 1), [&](dim_t begin, dim_t end) {
      for (dim_t m = begin; m < end; ++m) {
        const float* pixel =
            x + (phase.rows.a_row.empty() ? m * phase.rows.lda
                                          : phase.rows.a_row[static_cast<size_t>(m)]);
        for (dim_t t = 0; t < taps; ++t)
          std::memcpy(patches + m * row + t * run,
                      pixel + phase.rows.tap_offset[static_cast<size_t>(t)],
                      static_cast<size_t>(run) * sizeof(float));
      }
    });
  }

  bool materialise_;
  dim_t patch_floats_ = 0;
};

std::unique_ptr<const BoundConv> DensePacked::bind(const ConvShape& shape, const View& input,
                                                   const View& y, const View* residual,
                                                   const std::vector<dim_t>& blocks) const {
  ConvShape s = shape;
  View x = input;
  drop_skipped_rows(params_, s, x);
  Staging staging = staging_of(phases_, s, x, y, residual, [&](dim_t step) {
    return !materialise_ && rows_alias(kernels_.gemm, step);
  });
  std::vector<DenseBound::Phase> bound =
      bind_phases<ProductGroup>(phases_, params_, s, staging, weights_, no_taps_, bias(), 0);
  return std::make_unique<DenseBound>(shared_from_this(), *this, std::move(staging),
                                      std::move(bound), blocks);
}

}  // namespace

std::shared_ptr<const PackedConv> prepack_dense(const ConvSpec& spec, bool materialise) {
  return std::make_shared<DensePacked>(spec, materialise);
}

}  // namespace fastconv
