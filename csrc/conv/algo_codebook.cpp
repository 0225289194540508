// L4 conv: fully connected layers whose weights have few values, as weight sharing leaves them (Han, Mao
// and Dally, Deep Compression, 2015). They are kept as indices of 4 or 5 bits and looked up in registers
// (gemm/codebook.h): an eighth of the bytes, where reading the weights is what takes the time. The bits
// are those of the dense product.
#include "conv/algo.h"
#include "conv/bound_phases.h"
#include "conv/cost.h"
#include "core/check.h"
#include "gemm/codebook.h"

namespace fastconv {
namespace {

constexpr dim_t kNone[kMaxSpatial] = {};

class CodebookPacked final : public PackedConv {
 public:
  explicit CodebookPacked(const ConvSpec& spec)
      : params_(spec.params),
        activation_(spec.activation),
        phases_(params_),
        weights_(spec.kernels.codebook, params_.ic, params_.oc, spec.w, spec.source) {
    if (spec.bias) bias_ = Buffer<float>::copy_of(spec.bias, params_.oc);
  }
  std::unique_ptr<const BoundConv> bind(const ConvShape& s, const View& x, const View& y,
                                        const View* residual,
                                        const std::vector<dim_t>& blocks) const override;
  dim_t bytes() const noexcept override { return bias_.bytes() + weights_.bytes(); }
  std::vector<PackedArray> arrays() const override { return weights_.arrays(); }
  std::string tile() const override { return weights_.tile(); }

 private:
  ConvParams params_;
  Activation activation_;
  Phases phases_;
  Buffer<float> bias_;
  CodedB weights_;
};

using CodebookBound = BoundProducts<CodedGroup, multiply_coded>;

std::unique_ptr<const BoundConv> CodebookPacked::bind(const ConvShape& s, const View& x,
                                                      const View& y, const View* residual,
                                                      const std::vector<dim_t>& blocks) const {
  Staging staging(x, y, residual, kNone, kNone);
  PhaseRows rows = phases_.rows(phases_.all().front(), s, staging.x(), staging.y());
  std::vector<CodebookBound::Phase> bound;
  if (rows.M)
    bound.push_back({std::move(rows), {{&weights_, 0, 0, bias_.size() ? bias_.data() : nullptr}}});
  return std::make_unique<CodebookBound>(shared_from_this(), activation_, std::move(staging),
                                         std::move(bound), blocks);
}

std::string reject(const ConvParams& p, const KernelTable&) {
  if (p.spatial != 0) return "not a fully connected layer";
  if (p.transposed) return "transposed";
  if (p.groups > 1) return "groups";
  if (!p.values) return message("its weights have more than ", kMostCodes, " values");
  return "";
}

std::string unsuited(const ConvParams& p, const KernelTable& kernels) {
  if (p.oc * p.ic * dim_t{sizeof(float)} <= caches().l3)
    return "its weights are no larger than the last-level cache";
  if (codebook_of(p, kernels).lookups == 0)
    return message("this tier reads floats faster than it looks up one of ", p.values);
  return "";
}

bool pays(const ConvParams& p, const ConvShape& s, bool once, const KernelTable& kernels) {
  return !once && codebook_cycles(p, s, kernels) < dense_cycles(p, s, kernels);
}

}  // namespace

extern const Algo algo_codebook;
const Algo algo_codebook = {"codebook", reject,
                            [](const ConvSpec& spec) -> std::shared_ptr<const PackedConv> {
                              return std::make_shared<CodebookPacked>(spec);
                            },
                            pays, unsuited};

}  // namespace fastconv
