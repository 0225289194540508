// L4 conv: the phases of a convolution as products for given shapes and strides, whatever their B
// is. Used by dense.cpp, algo_sparse_panels.cpp, algo_codebook.cpp, algo_bf16.cpp and algo_xnor.cpp.
#pragma once
#include <memory>
#include <utility>
#include <vector>

#include "conv/algo.h"
#include "conv/phases.h"
#include "conv/stage.h"
#include "core/division.h"
#include "gemm/blocks.h"
#include "gemm/gemm.h"

namespace fastconv {

template <class Group>
struct BoundPhase {
  PhaseRows rows;
  std::vector<Group> groups;
};

// One B and its place in A, C and bias for each group of channels.
template <class Group, class B>
std::vector<Group> product_groups(const std::vector<B>& b, const ConvParams& p, const float* bias) {
  const dim_t ic = p.ic / p.groups, oc = p.oc / p.groups;
  std::vector<Group> groups;
  for (dim_t g = 0; g < p.groups; ++g)
    groups.push_back({&b[static_cast<size_t>(g)], g * ic, g * oc, bias ? bias + g * oc : nullptr});
  return groups;
}

// Copies of the input and the result where they are needed; with gaps between pixels where
// aliases(step), for consecutive rows of A that fall on each other in L1: then a copy always pays.
template <class Aliases>
Staging staging_of(const Phases& phases, const ConvShape& s, const View& x, const View& y,
                   const View* residual, Aliases aliases) {
  const Reach reach = phases.reach(s);
  Staging staging(x, y, residual, reach.before, reach.after);
  const dim_t step = phases.row_step(staging.x(), s);
  if (step && aliases(step))
    staging =
        Staging(x, y, residual, reach.before, reach.after, ImageOrder::channels_last, kRowGap);
  return staging;
}

// The phases that have pixels, and last the pixels that no tap reaches, with a B of no rows. weights:
// those of each phase. joined: as Phases::rows() has it.
template <class Group, class B>
std::vector<BoundPhase<Group>> bind_phases(const Phases& phases, const ConvParams& p,
                                           const ConvShape& s, const Staging& staging,
                                           const std::vector<std::vector<B>>& weights,
                                           const std::vector<B>& no_taps, const float* bias,
                                           dim_t joined) {
  std::vector<BoundPhase<Group>> bound;
  for (size_t i = 0; i < weights.size(); ++i) {
    PhaseRows rows = phases.rows(phases.all()[i], s, staging.x(), staging.y(), joined);
    if (rows.M) bound.push_back({std::move(rows), product_groups<Group>(weights[i], p, bias)});
  }
  PhaseRows untouched;
  untouched.c_row = phases.untouched_pixels(s, staging.y());
  untouched.M = static_cast<dim_t>(untouched.c_row.size());
  untouched.a_row.resize(untouched.c_row.size());
  if (untouched.M) bound.push_back({std::move(untouched), product_groups<Group>(no_taps, p, bias)});
  return bound;
}

template <class Group>
GroupedProduct<Group> product_of(const BoundPhase<Group>& phase, const Activation& activation,
                                 dim_t block_rows) noexcept {
  const PhaseRows& rows = phase.rows;
  GroupedProduct<Group> p;
  p.M = rows.M;
  p.a_row = rows.a_row.empty() ? nullptr : rows.a_row.data();
  p.lda = rows.lda;
  p.tap_offset = rows.tap_offset.data();
  p.taps = static_cast<dim_t>(rows.tap_offset.size());
  p.k_run = rows.k_run;
  p.c_row = rows.c_row.empty() ? nullptr : rows.c_row.data();
  p.ldc = rows.ldc;
  p.groups = phase.groups.data();
  p.group_count = static_cast<dim_t>(phase.groups.size());
  p.activation = activation;
  p.block_rows = block_rows;
  return p;
}

// What BoundConv::blocks() says of a product: the rows of A that are taken together.
template <class Group>
std::vector<BlockSize> pixel_blocks(const GroupedProduct<Group>& p) {
  const dim_t mr = p.groups[0].b->kernels().mr, most = round_up(p.M, mr);
  const dim_t rows = p.block_rows ? p.block_rows : block_rows_of(p);
  return {{"pixels", std::min(rows, most), mr, most}};
}

// What every bound convolution of phases keeps; how they run, its heirs say.
template <class Group>
class BoundPhases : public BoundConv {
 public:
  using Phase = BoundPhase<Group>;

  // `blocks`: empty, or the rows of A that are taken together.
  BoundPhases(std::shared_ptr<const PackedConv> owner, const Activation& activation,
              Staging staging, std::vector<Phase> phases, const std::vector<dim_t>& blocks)
      : owner_(std::move(owner)),
        activation_(activation),
        staging_(std::move(staging)),
        phases_(std::move(phases)),
        block_rows_(blocks.empty() ? 0 : blocks[0]) {}

  // Of the first phase; what is asked for is for all of them.
  std::vector<BlockSize> blocks() const override {
    if (phases_.empty()) return {};
    return pixel_blocks(product(phases_.front()));
  }

 protected:
  virtual GroupedProduct<Group> product(const Phase& phase) const noexcept {
    return product_of(phase, activation_, block_rows_);
  }
  const Staging& staging() const noexcept { return staging_; }
  const std::vector<Phase>& phases() const noexcept { return phases_; }

 private:
  std::shared_ptr<const PackedConv> owner_;  // keeps the packed weights alive
  Activation activation_;
  Staging staging_;
  std::vector<Phase> phases_;
  dim_t block_rows_;
};

// Those whose products read the staged input as it is.
template <class Group, void (*multiply)(const GroupedProduct<Group>&, const float* a,
                                        const float* residual, float* c) noexcept>
class BoundProducts final : public BoundPhases<Group> {
 public:
  using BoundPhases<Group>::BoundPhases;

  dim_t workspace() const noexcept override { return this->staging().workspace(); }
  void run(const void* x, const float* residual, void* y,
           std::byte* workspace) const noexcept override {
    const Staging::Pointers<> at = this->staging().before(x, residual, y, workspace);
    for (const auto& phase : this->phases())
      multiply(this->product(phase), at.x, at.residual, at.y);
    this->staging().after(at, y);
  }
};

}  // namespace fastconv
