// L4 conv: IntegerConv chooses the algorithm and packs the weights; see integer_conv.h.
#include "conv/integer_conv.h"

#include <algorithm>

#include "conv/choice.h"
#include "core/check.h"
#include "core/parallel.h"
#include "gemm/integer.h"
#include "kernels/dispatch.h"
#include "nn/layout.h"

namespace fastconv {

extern const IntegerAlgo integer_depthwise, integer_winograd_f4, integer_winograd_f2, integer_dense;

const IntegerAlgo* const* integer_algo_list(int* count) {
  static const IntegerAlgo* const list[] = {
      &integer_depthwise,    // one input channel for each output channel
      &integer_winograd_f4,  // 3x3, stride 1, where it pays: a quarter of the products
      &integer_winograd_f2,  // the same, with fewer tiles' worth of waste, and for larger sums
      &integer_dense,        // everything: a product that reads the image in place
  };
  *count = sizeof(list) / sizeof(list[0]);
  return list;
}

namespace {

// [n] of an array, or of none, and zeros to where a kernel may read.
template <class T>
std::vector<T> padded(const T* values, dim_t n) {
  std::vector<T> result(static_cast<size_t>(n + kFinishColumns));
  if (values) std::copy_n(values, n, result.begin());
  return result;
}

}  // namespace

IntegerConv::~IntegerConv() = default;

IntegerConv::IntegerConv(const ConvParams& params, const IntegerWeights& w, bool x_signed,
                         const int32_t* x_zero, const IntegerResult& result,
                         const std::string& algorithm)
    : params_(params), kernels_(&kernels()), x_signed_(x_signed) {
  check_params(params_);
  x_zero_ = x_zero ? *x_zero + (x_signed ? 128 : 0) : -1;
  FC_CHECK(!x_zero || (0 <= x_zero_ && x_zero_ <= 255), ArgumentError,
           "x_zero_point: expected a number of x's type, got ", x_zero ? *x_zero : 0);
  const dim_t taps = params_.kernel[0] * params_.kernel[1] * params_.kernel[2];
  const dim_t oc = params_.oc, depth = params_.ic / params_.groups * taps, size = oc * depth;
  w_ = Buffer<int8_t>(size);
  const uint8_t flip = w.is_signed ? 0 : 0x80;
  for (dim_t i = 0; i < size; ++i) w_.data()[i] = static_cast<int8_t>(w.data[i] ^ flip);
  if (w.zero) {
    w_zero_ = padded<int32_t>(nullptr, oc);
    for (dim_t o = 0; o < oc; ++o)
      w_zero_[static_cast<size_t>(o)] = w.zero[w.zeros == 1 ? 0 : o] - (w.is_signed ? 0 : 128);
    if (std::all_of(w_zero_.begin(), w_zero_.end(), [](int32_t z) { return z == 0; }))
      w_zero_.clear();
  }

  // Sums over all of a kernel: of no use where a phase of a transposed one sees only some taps, and
  // there dense, which makes its own, is the only algorithm.
  sums_ = padded<int32_t>(nullptr, oc);
  if (!params_.transposed)
    for (dim_t o = 0; o < oc; ++o)
      for (dim_t i = 0; i < depth; ++i) sums_[static_cast<size_t>(o)] += w_.data()[o * depth + i];
  centred_bias_ = padded(result.bias, oc);
  bias_ = padded<int32_t>(nullptr, oc);
  if (x_zero_ >= 0) write_bias(x_zero_, bias_.data());
  if (result.scale) scale_ = padded(result.scale, oc);
  if (result.shift) shift_ = padded(result.shift, oc);
  finish_.type = result.type;
  finish_.bias = bias_.data();
  finish_.scale = result.scale ? scale_.data() : nullptr;
  finish_.shift = result.shift ? shift_.data() : nullptr;
  set_limits(finish_, result.low, result.high);
  finish_.zero = result.zero;
  finish_.fits = fits(result.scale, result.shift, oc);
  FC_CHECK(result.scale || result.type == StoreAs::s32, ArgumentError,
           "scale: expected one for each output channel, got none");

  int count = 0;
  const IntegerAlgo* const* list = integer_algo_list(&count);
  std::string names = "one of";
  for (int i = 0; i < count; ++i) {
    reasons_.push_back(list[i]->reject(spec()));
    names += std::string(i == 0 ? " " : ", ") + list[i]->name;
  }
  choice_ = std::make_unique<Choice<IntegerAlgo, PackedIntegerConv>>(
      list, count, algorithm, names.c_str(),
      [&](int i) { return reasons_[static_cast<size_t>(i)]; });
  if (const IntegerAlgo* const algo = choice_->only()) {
    packed_for(algo);
    w_ = {};  // what else would be packed
  }
}

// Of the sums of x * w: sum (x - zero) * w = sum x * w - zero * sum w.
void IntegerConv::write_bias(int32_t x_zero, int32_t* bias) const noexcept {
  for (size_t o = 0; o < centred_bias_.size(); ++o)
    bias[o] = less_product(centred_bias_[o], x_zero, sums_[o]);
}

const IntegerAlgo* IntegerConv::choose(const ConvShape& s) const {
  return choice_->first_that([&](const IntegerAlgo& a) { return a.pays(s, *kernels_); });
}

std::shared_ptr<const PackedIntegerConv> IntegerConv::packed_for(const IntegerAlgo* algo) const {
  return choice_->packed(algo, [&](const IntegerAlgo& a) { return a.prepack(spec()); });
}

std::unique_ptr<const IntegerConvPlan> IntegerConv::bind(const View& x, const View& y) const {
  return std::unique_ptr<const IntegerConvPlan>(
      new IntegerConvPlan(*this, shape(x.rank, x.shape), x, y));
}

const char* IntegerConv::algorithm(const ConvShape* s) const {
  const IntegerAlgo* const algo = s ? choose(*s) : choice_->only();
  return algo ? algo->name : "auto";
}

std::string IntegerConv::tile(const ConvShape& s) const { return packed_for(choose(s))->tile(); }

std::vector<AlgoVerdict> IntegerConv::verdicts(const ConvShape* s) const {
  return choice_->verdicts(
      s ? choose(*s) : choice_->only(),
      [&](const IntegerAlgo& a) { return !s || a.pays(*s, *kernels_); },
      [&](int i) { return reasons_[static_cast<size_t>(i)]; });
}

dim_t IntegerConv::packed_bytes() const noexcept {
  dim_t total = w_.bytes();
  choice_->each_packed(
      [&](const IntegerAlgo&, const PackedIntegerConv& packed) { total += packed.bytes(); });
  return total;
}

IntegerConvPlan::IntegerConvPlan(const IntegerConv& conv, const ConvShape& s, const View& x,
                                 const View& y)
    : conv_(conv), x_(x), flipped_(x), y_element_(y.element) {
  x_.element = flipped_.element = Element::u8;  // as which bytes of either are moved
  if (conv.x_signed()) {
    flipped_ = channels_last<uint8_t>(nullptr, x.rank, x.shape);
    flipped_bytes_ = round_up(flipped_.size(), dim_t{kAlignment});
  }
  if (!conv.knows_x_zero())
    bias_bytes_ =
        round_up(static_cast<dim_t>(conv.bias_.size() * sizeof(int32_t)), dim_t{kAlignment});
  bound_ = conv.packed_for(conv.choose(s))->bind(s, flipped_, y);
}

Element IntegerConvPlan::x_element() const noexcept {
  return conv_.x_signed() ? Element::s8 : Element::u8;
}
bool IntegerConvPlan::knows_x_zero() const noexcept { return conv_.knows_x_zero(); }

void IntegerConvPlan::run(const void* x, const int32_t* x_zero, void* y,
                          std::byte* workspace) const noexcept {
  IntegerConvRun r{static_cast<const uint8_t*>(x),
                   conv_.x_zero_,
                   conv_.finish_,
                   conv_.centred_bias_.data(),
                   y,
                   workspace + flipped_bytes_ + bias_bytes_};
  if (!conv_.knows_x_zero()) {
    r.zero = *x_zero + (conv_.x_signed() ? 128 : 0);
    int32_t* const bias = reinterpret_cast<int32_t*>(workspace + flipped_bytes_);
    conv_.write_bias(r.zero, bias);
    r.finish.bias = bias;
  }
  if (conv_.x_signed()) {
    View from = x_, to = flipped_;
    uint8_t* const bytes = reinterpret_cast<uint8_t*>(workspace);
    from.data = const_cast<void*>(x);
    to.data = bytes;
    copy(from, to);
    parallel_for(to.size(), 65536, [&](dim_t begin, dim_t end) {
      for (dim_t i = begin; i < end; ++i) bytes[i] ^= 0x80;
    });
    r.x = bytes;
  }
  bound_->run(r);
}

std::vector<std::string> integer_algorithm_names() {
  int count = 0;
  const IntegerAlgo* const* list = integer_algo_list(&count);
  return names_of(list, count);
}

}  // namespace fastconv
