// L4 conv: Conv chooses the algorithm and packs the weights; see conv2d.h.
#include "conv/conv2d.h"

#include <mutex>

#include "conv/algo.h"
#include "core/check.h"
#include "core/float_mode.h"
#include "kernels/dispatch.h"

namespace fastconv {

std::string packing_id(Tier tier) {
  const KernelTable& table = kernels(tier);
  return message("fastconv ", FASTCONV_VERSION, ", packing ", kPackingVersion, ", ",
                 tier_name(tier), ", nr ", table.gemm.nr, ", lanes ", table.lanes);
}

Conv::Conv(const ConvParams& params, const float* w, const float* bias,
           const Activation& activation, const std::string& algorithm,
           const std::vector<dim_t>& x_shape, bool once, bool borrow,
           std::vector<StoredWeights> stored)
    : params_(params),
      activation_(activation),
      once_(once),
      borrow_(borrow),
      stored_(std::move(stored)),
      kernels_(&kernels()),
      tier_(active_tier()) {
  check_params(params_);
  const bool automatic = algorithm == "auto";
  int count = 0;
  const Algo* const* list = algo_list(&count);
  for (int i = 0; i < count; ++i) {
    if (!automatic && algorithm != list[i]->name) continue;
    const std::string reason = list[i]->reject(params_, *kernels_);
    FC_CHECK(automatic || reason.empty(), ArgumentError, "algorithm: '", algorithm,
             "' does not accept this convolution: ", reason);
    if (!reason.empty()) continue;
    candidates_.push_back({list[i], nullptr});
    if (!automatic || !list[i]->pays) break;  // nothing after it is ever reached
  }
  FC_CHECK(!candidates_.empty(), ArgumentError,
           "algorithm: expected 'auto' or one of fastconv.algorithms(), got '", algorithm, "'");
  if (!x_shape.empty())
    candidates_ = {{choose(shape(static_cast<int>(x_shape.size()), x_shape.data())), nullptr}};
  if (candidates_.size() == 1) {
    candidates_[0].packed = prepack(candidates_[0].algo, w, bias);
  } else {
    const dim_t taps = params_.kernel[0] * params_.kernel[1] * params_.kernel[2];
    const dim_t size = params_.oc * (params_.ic / params_.groups) * taps;
    FC_CHECK(w, ArgumentError, "w: expected a C-contiguous array");
    w_ = borrow_ ? Buffer<float>::borrowed(w, size) : Buffer<float>::copy_of(w, size);
    if (bias) bias_ = Buffer<float>::copy_of(bias, params_.oc);
  }
}

Conv::~Conv() = default;

const Algo* Conv::choose(const ConvShape& s) const {
  for (const Candidate& c : candidates_)
    if (candidates_.size() == 1 || !c.algo->pays || c.algo->pays(s, once_, *kernels_))
      return c.algo;
  return candidates_.back().algo;
}

std::shared_ptr<const PackedConv> Conv::prepack(const Algo* algo, const float* w,
                                                const float* bias) const {
  const FloatMode mode;  // Winograd's weights are computed
  BufferSource source;
  for (const StoredWeights& stored : stored_)
    if (stored.algorithm == algo->name) source = BufferSource(stored.data, stored.bytes);
  FC_CHECK(w || source.filled(), ArgumentError, "w: expected a C-contiguous array");
  const std::shared_ptr<const PackedConv> packed =
      algo->prepack({params_, w, bias, activation_, *kernels_, borrow_, source});
  FC_CHECK(!source.filled() || source.complete(), ShapeError, "stored weights of '", algo->name,
           "': expected ", source.taken(), " bytes, got ", source.bytes());
  return packed;
}

std::shared_ptr<const PackedConv> Conv::packed_for(const Algo* algo) const {
  const std::lock_guard<ForkMutex> lock(mutex_);
  for (Candidate& c : candidates_) {
    if (c.algo != algo) continue;
    if (!c.packed) c.packed = prepack(algo, w_.data(), bias_.size() ? bias_.data() : nullptr);
    return c.packed;
  }
  return nullptr;  // not reached: algo is a candidate's
}

std::unique_ptr<const BoundConv> Conv::bind(const View& x, const View& y, const View* residual,
                                            const std::vector<dim_t>& blocks) const {
  const ConvShape s = shape(x.rank, x.shape);
  return packed_for(choose(s))->bind(s, x, y, residual, blocks);
}

const char* Conv::algorithm(const ConvShape* s) const {
  if (candidates_.size() > 1 && !s) return "auto";
  return s ? choose(*s)->name : candidates_[0].algo->name;
}

std::string Conv::tile(const ConvShape& s) const { return packed_for(choose(s))->tile(); }

dim_t Conv::packed_bytes() const noexcept {
  const std::lock_guard<ForkMutex> lock(mutex_);
  dim_t total = 0;
  for (const Candidate& c : candidates_)
    if (c.packed) total += c.packed->bytes();
  return total;
}

std::vector<PackedWeights> Conv::packed() const {
  const std::lock_guard<ForkMutex> lock(mutex_);
  std::vector<PackedWeights> found;
  for (const Candidate& c : candidates_)
    if (c.packed) found.push_back({c.algo->name, c.packed->arrays()});
  return found;
}

std::vector<AlgoVerdict> Conv::verdicts(const ConvShape* s) const {
  const Algo* chosen = candidates_.size() == 1 ? candidates_[0].algo : s ? choose(*s) : nullptr;
  std::vector<AlgoVerdict> out;
  int count = 0;
  const Algo* const* list = algo_list(&count);
  bool taken = false;
  for (int i = 0; i < count; ++i) {
    std::string reason = list[i]->reject(params_, *kernels_);
    if (reason.empty() && list[i] != chosen) {
      if (!chosen)
        reason = "accepts; the choice waits for the input's size";
      else if (taken)
        reason = "accepts, comes after the one in use";
      else if (s && list[i]->pays && !list[i]->pays(*s, once_, *kernels_))
        reason = "accepts, but does not pay for this size";
      else
        reason = "accepts, another was asked for";
    }
    taken = taken || list[i] == chosen;
    out.push_back({list[i]->name, list[i] == chosen ? "" : reason});
  }
  return out;
}

std::vector<std::string> algorithm_names() {
  std::vector<std::string> names;
  int count = 0;
  const Algo* const* list = algo_list(&count);
  for (int i = 0; i < count; ++i) names.push_back(list[i]->name);
  return names;
}

}  // namespace fastconv
