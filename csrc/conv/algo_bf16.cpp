// L4 conv: the implicit product of dense.cpp with x and w rounded to bf16 and summed in f32, where
// that is asked for. Weights take half the memory, and where the processor multiplies pairs of bf16
// in one instruction, products half the time or less. x is rounded into a padded channels-last image
// of whole words or registers of channels, or is such an image already: one of bf16 that needs neither
// padding nor more channels is read in place. Bias and residual are f32, and so is the result where
// it is not asked for as bf16.
#include <algorithm>

#include "conv/bound_phases.h"
#include "conv/cost.h"
#include "conv/weights.h"
#include "core/check.h"
#include "core/division.h"
#include "core/parallel.h"
#include "gemm/bf16.h"

namespace fastconv {
namespace {

constexpr dim_t kNone[kMaxSpatial] = {};

ConvParams with_channels(ConvParams p, dim_t multiple_of) {
  p.ic = round_up(p.ic, multiple_of);
  return p;
}

// Copies of x as bf16, with zeros around each image and after the channels of each pixel; or x itself,
// where that is bf16 and such a copy would be equal.
class Bf16Image {
 public:
  // x: channels-last. channels: of a copy's pixel. gap: numbers between pixels besides.
  Bf16Image(const Image& x, Element element, const Reach& reach, const Bf16Kernels& kernels,
            dim_t channels, dim_t gap)
      : round_(kernels.round),
        x_(x),
        is_bf16_(element == Element::bf16),
        in_place_(is_bf16_ && x.c == channels && !gap && !reach.any()),
        padded_(padded_image(x.n, channels, x.size, reach.before, reach.after,
                             ImageOrder::channels_last, gap)) {
    std::copy_n(reach.before, kMaxSpatial, before_);
  }

  const Image& image() const noexcept { return in_place_ ? x_ : padded_.inside; }
  dim_t bytes() const noexcept {
    if (in_place_) return 0;
    const Image& whole = padded_.whole;
    return round_up(whole.n * whole.n_stride * dim_t{sizeof(uint16_t)}, dim_t{kAlignment});
  }
  // Its first pixel; `to` has room for bytes().
  const uint16_t* fill(const void* x, std::byte* room) const noexcept {
    if (in_place_) return static_cast<const uint16_t*>(x);
    uint16_t* const to = reinterpret_cast<uint16_t*>(room);
    if (is_bf16_)
      fill_rows(static_cast<const uint16_t*>(x), to);
    else
      fill_rows(static_cast<const float*>(x), to);
    return to + padded_.origin;
  }

 private:
  void put(const float* from, dim_t n, uint16_t* to) const noexcept { round_(from, n, to); }
  void put(const uint16_t* from, dim_t n, uint16_t* to) const noexcept { std::copy_n(from, n, to); }
  template <class T>
  void fill_rows(const T* x, uint16_t* to) const noexcept {
    const Image& whole = padded_.whole;
    const dim_t rows = whole.n * whole.size[0] * whole.size[1];
    parallel_for(rows, 1 + 16384 / (whole.stride[1] + 1), [&](dim_t begin, dim_t end) {
      for (dim_t r = begin; r < end; ++r) fill_row(x, r, to + r * whole.stride[1]);
    });
  }
  template <class T>
  void fill_row(const T* x, dim_t r, uint16_t* to) const noexcept {
    const Image& whole = padded_.whole;
    const dim_t h = r % whole.size[1] - before_[1],
                d = r / whole.size[1] % whole.size[0] - before_[0],
                n = r / whole.size[1] / whole.size[0];
    const dim_t pixel = whole.stride[2];
    uint16_t* const end = to + whole.stride[1];
    if (h < 0 || h >= x_.size[1] || d < 0 || d >= x_.size[0]) {
      std::fill(to, end, uint16_t{0});
      return;
    }
    const T* from = x + n * x_.n_stride + d * x_.stride[0] + h * x_.stride[1];
    std::fill_n(to, before_[2] * pixel, uint16_t{0});
    to += before_[2] * pixel;
    if (x_.stride[2] == pixel && x_.c == pixel) {
      put(from, x_.size[2] * pixel, to);
      to += x_.size[2] * pixel;
    } else {
      for (dim_t w = 0; w < x_.size[2]; ++w, from += x_.stride[2], to += pixel) {
        put(from, x_.c, to);
        std::fill(to + x_.c, to + pixel, uint16_t{0});
      }
    }
    std::fill(to, end, uint16_t{0});
  }

  decltype(Bf16Kernels::round) round_;
  Image x_;
  bool is_bf16_, in_place_;
  PaddedImage padded_;
  dim_t before_[kMaxSpatial];
};

class Bf16Packed final : public PackedConv {
 public:
  explicit Bf16Packed(const ConvSpec& spec);
  std::unique_ptr<const BoundConv> bind(const ConvShape& s, const View& x, const View& y,
                                        const View* residual,
                                        const std::vector<dim_t>& blocks) const override;
  dim_t bytes() const noexcept override { return bias_.bytes() + weights_.front().bytes(); }
  std::vector<PackedArray> arrays() const override { return {weights_.front().data()}; }
  std::string tile() const override { return weights_.front().tile(); }
  const Activation& activation() const { return activation_; }

 private:
  Bf16Form form_;
  Activation activation_;
  ConvParams given_, params_;  // params_: of as many channels as form_ multiplies
  Phases phases_;
  Buffer<float> bias_;
  std::vector<PackedBf16> weights_;  // one
};

Bf16Packed::Bf16Packed(const ConvSpec& spec)
    : form_(bf16_form(spec.kernels, spec.params.ic)),
      activation_(spec.activation),
      given_(spec.params),
      params_(with_channels(spec.params, form_.depth)),
      phases_(params_) {
  if (spec.bias) bias_ = Buffer<float>::copy_of(spec.bias, params_.oc);
  const Phase& phase = phases_.all().front();
  const dim_t taps = static_cast<dim_t>(phase.taps.size()), K = taps * params_.ic, oc = params_.oc;
  weights_.emplace_back(form_, K, oc,
                        spec.source.take<uint16_t>(PackedBf16::numbers(form_, K, oc)));
  if (spec.source.filled()) return;
  PackedB rows(spec.kernels.gemm, taps * given_.ic, oc);
  pack_group(spec, phases_.all(), 0, {&rows});
  weights_.front().pack(rows, taps, given_.ic);
}

class Bf16Bound final : public BoundPhases<Bf16Group> {
 public:
  Bf16Bound(std::shared_ptr<const PackedConv> owner, const Activation& activation, Staging staging,
            Bf16Image image, std::vector<Phase> phases, const std::vector<dim_t>& blocks)
      : BoundPhases(std::move(owner), activation, std::move(staging), std::move(phases), blocks),
        image_(std::move(image)) {}

  dim_t workspace() const noexcept override { return staging().workspace() + image_.bytes(); }
  void run(const void* x, const float* residual, void* y,
           std::byte* workspace) const noexcept override {
    const auto at = staging().before<void, void>(x, residual, y, workspace);
    const uint16_t* const image = image_.fill(at.x, workspace + staging().workspace());
    for (const Phase& phase : phases())
      if (staging().y_element() == Element::bf16)
        multiply(product(phase), image, static_cast<uint16_t*>(at.y));
      else
        multiply(product(phase), image, at.residual, static_cast<float*>(at.y));
    staging().after(at, y);
  }

 private:
  Bf16Image image_;
};

std::unique_ptr<const BoundConv> Bf16Packed::bind(const ConvShape& shape, const View& input,
                                                  const View& y, const View* residual,
                                                  const std::vector<dim_t>& blocks) const {
  ConvShape s = shape;
  View x = input;
  drop_skipped_rows(given_, s, x);
  Staging staging(x, y, residual, kNone, kNone);
  s.ic = params_.ic;
  const Reach reach = phases_.reach(s);
  const auto with_gap = [&](dim_t gap) {
    return Bf16Image(staging.x(), staging.x_element(), reach, *form_.kernels, s.ic, gap);
  };
  Bf16Image image = with_gap(0);
  const dim_t step = phases_.row_step(image.image(), s);
  if (step && bytes_alias(form_.kernels->mr, step * dim_t{sizeof(uint16_t)}))
    image = with_gap(2 * kRowGap);
  PhaseRows rows = phases_.rows(phases_.all().front(), s, image.image(), staging.y());
  std::vector<Bf16Bound::Phase> bound;
  if (rows.M)
    bound.push_back(
        {std::move(rows), {{&weights_.front(), 0, 0, bias_.size() ? bias_.data() : nullptr}}});
  return std::make_unique<Bf16Bound>(shared_from_this(), activation_, std::move(staging),
                                     std::move(image), std::move(bound), blocks);
}

std::string reject(const ConvParams& p, const KernelTable&) {
  if (!p.bf16) return "precision is not bf16";
  if (p.transposed) return "transposed";
  if (p.groups > 1) return "groups";
  return "";
}

constexpr double kLeastGain = 1.3;

// Fully connected layers whose weights come from beyond L2 for every image: half the bytes are worth
// it on every processor.
bool reads_memory(const ConvParams& p) {
  return p.spatial == 0 && p.oc * p.ic * dim_t{sizeof(float)} > caches().l2;
}

std::string unsuited(const ConvParams& p, const KernelTable& table) {
  if (reads_memory(p)) return "";
  const Bf16Kernels& kernels = *bf16_form(table, p.ic).kernels;
  const double gain = bf16_gain(table, kernels);
  if (gain == 0) return "no instruction of this tier multiplies bf16";
  if (gain < kLeastGain)
    return message(kernels.peak.instruction, " does ", static_cast<int>(100 * gain),
                   " % of the products of f32 a second, it takes ",
                   static_cast<int>(100 * kLeastGain), " %");
  return "";
}

bool pays(const ConvParams& p, const ConvShape& s, bool, const KernelTable& table) {
  if (reads_memory(p)) return true;
  const Bf16Form form = bf16_form(table, p.ic);
  ConvShape whole = s;
  whole.ic = round_up(s.ic, form.depth);
  return bf16_cycles(p, whole, table, bf16_gain(table, *form.kernels)) < dense_cycles(p, s, table);
}

}  // namespace

extern const Algo algo_bf16;
const Algo algo_bf16 = {"bf16",
                        reject,
                        [](const ConvSpec& spec) -> std::shared_ptr<const PackedConv> {
                          return std::make_shared<Bf16Packed>(spec);
                        },
                        pays,
                        unsuited,
                        [](const ConvShape&, const KernelTable&) { return true; },
                        true};

}  // namespace fastconv
