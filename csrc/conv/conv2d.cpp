// L4 conv: Conv chooses the algorithm and packs the weights; see conv2d.h.
#include "conv/conv2d.h"

#include "conv/algo.h"
#include "core/check.h"
#include "kernels/dispatch.h"

namespace fastconv {

Conv::Conv(const ConvParams& params, const float* w, const float* bias,
           const Activation& activation, const std::string& algorithm)
    : params_(params) {
  check_params(params_);
  const KernelTable& table = kernels();
  int count = 0;
  const Algo* const* list = algo_list(&count);
  for (int i = 0; i < count && !algo_; ++i) {
    if (algorithm != "auto" && algorithm != list[i]->name) continue;
    const std::string reason = list[i]->reject(params_, table);
    if (reason.empty()) algo_ = list[i];
    FC_CHECK(algorithm == "auto" || algo_, ArgumentError, "algorithm: '", algorithm,
             "' does not accept this convolution: ", reason);
  }
  FC_CHECK(algo_, ArgumentError,
           "algorithm: expected 'auto' or one of fastconv.algorithms(), got '", algorithm, "'");
  packed_ = algo_->prepack({params_, w, bias, activation, table});
}

Conv::~Conv() = default;

std::unique_ptr<const BoundConv> Conv::bind(const View& x, const View& y,
                                            const View* residual) const {
  return packed_->bind(shape(x.rank, x.shape), x, y, residual);
}

const char* Conv::algorithm() const noexcept { return algo_->name; }
std::string Conv::tile() const { return packed_->tile(); }
dim_t Conv::packed_bytes() const noexcept { return packed_->bytes(); }

std::vector<AlgoVerdict> Conv::verdicts() const {
  std::vector<AlgoVerdict> out;
  int count = 0;
  const Algo* const* list = algo_list(&count);
  bool taken = false;
  for (int i = 0; i < count; ++i) {
    std::string reason = list[i]->reject(params_, kernels());
    if (reason.empty() && list[i] != algo_)
      reason = taken ? "accepts, comes after the one in use" : "accepts, another was asked for";
    taken = taken || list[i] == algo_;
    out.push_back({list[i]->name, list[i] == algo_ ? "" : reason});
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
