// L4 conv: Conv chooses the algorithm and packs the weights; see conv2d.h.
#include "conv/conv2d.h"

#include "conv/algo.h"
#include "conv/choice.h"
#include "conv/cost.h"
#include "core/check.h"
#include "core/float_mode.h"
#include "gemm/bf16.h"
#include "gemm/codebook.h"
#include "kernels/dispatch.h"

namespace fastconv {

std::string packing_id(Tier tier) {
  const KernelTable& table = kernels(tier);
  return message("fastconv ", FASTCONV_VERSION, ", packing ", kPackingVersion, ", ",
                 tier_name(tier), ", nr ", table.gemm.nr, ", lanes ", table.lanes, ", ",
                 bf16_packing(table));
}

// The algorithms that are for a convolution's kind of input.
static const Algo* const* list_for(const ConvParams& params, int* count) {
  return params.signs.taken ? sign_algo_list(count) : algo_list(count);
}

// The first of the stored weights whose algorithm's name starts so, or null.
static const StoredWeights* stored_of(const std::vector<StoredWeights>& stored, const char* start) {
  for (const StoredWeights& weights : stored)
    if (weights.algorithm.rfind(start, 0) == 0) return &weights;
  return nullptr;
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
  FC_CHECK(!(params_.signs.taken && params_.transposed), ArgumentError,
           "signs: expected a convolution that is not transposed");
  // Where packed weights are stored, zeros and few values are looked for if an equal plan found some.
  // Where these are all that there is, or those rounded to bf16, their algorithm serves every size.
  const StoredWeights* const sparse = stored_of(stored_, "sparse_");
  const StoredWeights* const codes = stored_of(stored_, "codebook");
  const StoredWeights* const found = sparse ? sparse : codes ? codes : stored_of(stored_, "bf16");
  const bool automatic = algorithm == "auto";
  if (automatic && !once && w && !params_.signs.taken && (sparse || stored_.empty()))
    params_.zeros = count_zeros(params_, w);
  if (params_.spatial == 0 && !params_.signs.taken) {
    if (codes)
      params_.values = CodedB::stored_values(codes->data, codes->bytes);
    else if (w && (algorithm == "codebook" || (automatic && !once && stored_.empty())))
      params_.values = count_values(params_, w);
  }
  const std::string& asked = automatic && !w && found ? found->algorithm : algorithm;
  int count = 0;
  const Algo* const* list = list_for(params_, &count);
  choice_ = std::make_unique<Choice<Algo, PackedConv>>(
      list, count, asked, "one of fastconv.algorithms()",
      [&](int i) { return reason_against(*list[i], asked == "auto"); });
  // A fully connected layer's input has no size.
  const std::vector<dim_t> size =
      params_.spatial == 0 ? std::vector<dim_t>{1, params_.ic} : x_shape;
  if (!size.empty()) choice_->settle(choose(shape(static_cast<int>(size.size()), size.data())));
  if (const Algo* const algo = choice_->only()) {
    choice_->packed(algo, [&](const Algo& a) { return prepack(&a, w, bias); });
  } else {
    const dim_t taps = params_.kernel[0] * params_.kernel[1] * params_.kernel[2];
    const dim_t size = params_.oc * (params_.ic / params_.groups) * taps;
    FC_CHECK(w, ArgumentError, "w: expected a C-contiguous array");
    w_ = borrow_ ? Buffer<float>::borrowed(w, size) : Buffer<float>::copy_of(w, size);
    if (bias) bias_ = Buffer<float>::copy_of(bias, params_.oc);
  }
}

Conv::~Conv() = default;

std::string Conv::reason_against(const Algo& algo, bool automatic) const {
  std::string reason = algo.reject(params_, *kernels_);
  if (reason.empty() && automatic && algo.unsuited) reason = algo.unsuited(params_, *kernels_);
  return reason;
}

bool Conv::pays(const Algo& algo, const ConvShape& s) const {
  return algo.pays(params_, s, once_, *kernels_);
}

const Algo* Conv::choose(const ConvShape& s) const {
  return choice_->first_that([&](const Algo& a) { return pays(a, s); });
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
  return choice_->packed(algo, [&](const Algo& a) {
    return prepack(&a, w_.data(), bias_.size() ? bias_.data() : nullptr);
  });
}

std::unique_ptr<const BoundConv> Conv::bind(const View& x, const View& y, const View* residual,
                                            const std::vector<dim_t>& blocks) const {
  const ConvShape s = shape(x.rank, x.shape);
  const Algo* const algo = choose(s);
  const auto check = [&](const char* name, Element element, bool takes_bf16) {
    FC_CHECK(element == Element::f32 || (element == Element::bf16 && takes_bf16), ArgumentError,
             name, ": expected f32", takes_bf16 ? " or bf16" : "", " of algorithm '", algo->name,
             "', got ", element_name(element));
  };
  check("x", x.element, reads_bf16(s));
  check("y", y.element, stores_bf16(s));
  FC_CHECK(!residual || y.element == Element::f32, ArgumentError,
           "residual: expected none where y is bf16");
  return packed_for(algo)->bind(s, x, y, residual, blocks);
}

bool Conv::reads_bf16(const ConvShape& s) const { return choose(s)->reads_bf16; }

// An activation that has a pass over what is stored has it over f32, and what is rounded after that is
// read once more, as the next layer would.
bool Conv::stores_bf16(const ConvShape& s) const {
  const Algo* const algo = choose(s);
  return !activation_.afterwards() && algo->stores_bf16 && algo->stores_bf16(s, *kernels_);
}

const char* Conv::algorithm(const ConvShape* s) const {
  const Algo* const algo = s ? choose(*s) : choice_->only();
  return algo ? algo->name : "auto";
}

std::string Conv::tile(const ConvShape& s) const { return packed_for(choose(s))->tile(); }

dim_t Conv::kept_weights(const ConvShape& s) const { return packed_for(choose(s))->kept_weights(); }

dim_t Conv::packed_bytes() const noexcept {
  dim_t total = 0;
  choice_->each_packed([&](const Algo&, const PackedConv& packed) { total += packed.bytes(); });
  return total;
}

std::vector<PackedWeights> Conv::packed() const {
  std::vector<PackedWeights> found;
  choice_->each_packed(
      [&](const Algo& a, const PackedConv& packed) { found.push_back({a.name, packed.arrays()}); });
  return found;
}

std::vector<AlgoVerdict> Conv::verdicts(const ConvShape* s) const {
  int count = 0;
  const Algo* const* list = list_for(params_, &count);
  return choice_->verdicts(
      s ? choose(*s) : choice_->only(), [&](const Algo& a) { return !s || pays(a, *s); },
      [&](int i) { return reason_against(*list[i], true); });
}

std::vector<std::string> algorithm_names() {
  int count = 0;
  const Algo* const* list = algo_list(&count);
  return names_of(list, count);
}

}  // namespace fastconv
