// L4 conv: convolutions of the signs of an input, by weights that have one magnitude in each filter
// (XNOR-Net: Rastegari et al. 2016, arXiv:1603.05279). The implicit product of dense.cpp, on words of
// 32 channels: an image of bits is made of the input, with its padding, and a group of channels begins
// with a word of its own. Any kernel, stride, dilation, padding and grouping.
//
// There is no bit for 0. The padding is 0 all the same: its bits are those of -1, and the total that
// bits which differ are taken from makes up for it, by the taps that are outside the image. An input
// with signs of 0 among it, or of NaN, takes two planes of bits (kernels/binary.h): a bit of the first
// alone is NaN, and each result that sees one is NaN.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>

#include "conv/algo.h"
#include "conv/bound_phases.h"
#include "core/division.h"
#include "core/parallel.h"
#include "gemm/binary.h"

namespace fastconv {
namespace {

// A convolution whose channels are words.
ConvParams of_words(const ConvParams& params) {
  ConvParams p = params;
  p.ic = p.groups * ceil_div(params.ic / params.groups, kSignsPerWord);
  return p;
}

class XnorPacked final : public PackedConv {
 public:
  explicit XnorPacked(const ConvSpec& spec);
  std::unique_ptr<const BoundConv> bind(const ConvShape& s, const View& x, const View& y,
                                        const View* residual,
                                        const std::vector<dim_t>& blocks) const override;
  dim_t bytes() const noexcept override {
    dim_t total = bias_.bytes();
    for (const PackedSigns& b : weights_) total += b.bytes();
    return total;
  }
  std::vector<PackedArray> arrays() const override {
    std::vector<PackedArray> found;
    for (const PackedSigns& b : weights_)
      for (const PackedArray& array : b.arrays()) found.push_back(array);
    return found;
  }
  std::string tile() const override { return weights_.front().tile(); }
  const ConvParams& params() const noexcept { return params_; }
  const BinaryKernels& kernels() const noexcept { return kernels_; }
  const Activation& activation() const noexcept { return activation_; }
  const float* bias() const noexcept { return bias_.size() ? bias_.data() : nullptr; }
  const std::vector<PackedSigns>& weights() const noexcept { return weights_; }

 private:
  ConvParams params_;
  const BinaryKernels& kernels_;
  Activation activation_;
  Buffer<float> bias_;
  Phases phases_;                     // of words
  std::vector<PackedSigns> weights_;  // of each group
};

XnorPacked::XnorPacked(const ConvSpec& spec)
    : params_(spec.params),
      kernels_(spec.kernels.binary),
      activation_(spec.activation),
      phases_(of_words(spec.params)) {
  const ConvParams& p = params_;
  const dim_t all_taps = p.kernel[0] * p.kernel[1] * p.kernel[2];
  const dim_t ic = p.ic / p.groups, oc = p.oc / p.groups;
  if (spec.bias) bias_ = Buffer<float>::copy_of(spec.bias, p.oc);
  std::vector<dim_t> taps;
  for (const Tap& tap : phases_.all().front().taps) taps.push_back(tap.weight);
  for (dim_t g = 0; g < p.groups; ++g) {
    const float* const w = spec.source.filled() ? nullptr : spec.w + g * ic * oc * all_taps;
    weights_.emplace_back(kernels_, taps, ic, oc, w, all_taps, ic * all_taps, spec.source);
  }
}

// What results are the sums of: rows of each group's columns, and for each result which row it is.
// Results that have the same taps outside the image share one.
struct Totals {
  std::vector<dim_t> row;                // [M], empty: 0 for all
  std::vector<std::vector<int32_t>> of;  // [groups]
};

// Of each position along an axis: the number of its set of taps that are outside.
struct AxisSets {
  std::vector<std::vector<bool>> sets;
  std::vector<dim_t> of;
};
AxisSets sets_along(const ConvShape& s, int i) {
  AxisSets axis;
  std::map<std::vector<bool>, dim_t> known;
  for (dim_t o = 0; o < s.out[i]; ++o) {
    std::vector<bool> outside;
    for (dim_t k = 0; k < s.kernel[i]; ++k) {
      const dim_t at = o * s.stride[i] - s.pad_lo[i] + k * s.dilation[i];
      outside.push_back(at < 0 || at >= s.in[i]);
    }
    const auto [found, is_new] = known.insert({outside, static_cast<dim_t>(known.size())});
    if (is_new) axis.sets.push_back(outside);
    axis.of.push_back(found->second);
  }
  return axis;
}

Totals totals_of(const std::vector<PackedSigns>& weights, const ConvShape& s) {
  const AxisSets d = sets_along(s, 0), h = sets_along(s, 1), w = sets_along(s, 2);
  const dim_t hs = static_cast<dim_t>(h.sets.size()), ws = static_cast<dim_t>(w.sets.size());
  Totals totals;
  for (const PackedSigns& b : weights) {
    std::vector<int32_t> rows;
    for (const std::vector<bool>& outside_d : d.sets)
      for (const std::vector<bool>& outside_h : h.sets)
        for (const std::vector<bool>& outside_w : w.sets) {
          const size_t start = rows.size();
          rows.resize(start + static_cast<size_t>(b.columns()), static_cast<int32_t>(b.K()));
          const int32_t* sums = b.tap_sums();
          for (const bool out_d : outside_d)
            for (const bool out_h : outside_h)
              for (const bool out_w : outside_w) {
                if (out_d || out_h || out_w)
                  for (dim_t n = 0; n < b.columns(); ++n)
                    rows[start + static_cast<size_t>(n)] += sums[n];
                sums += b.columns();
              }
        }
    totals.of.push_back(std::move(rows));
  }
  if (d.sets.size() * h.sets.size() * w.sets.size() <= 1) return totals;
  for (dim_t n = 0; n < s.n; ++n)
    for (const dim_t in_d : d.of)
      for (const dim_t in_h : h.of)
        for (const dim_t in_w : w.of)
          totals.row.push_back(((in_d * hs + in_h) * ws + in_w) * weights.front().columns());
  return totals;
}

class XnorBound final : public BoundConv {
 public:
  XnorBound(std::shared_ptr<const PackedConv> owner, const XnorPacked& packed, Staging staging,
            const ConvShape& s, const Phases& phases)
      : owner_(std::move(owner)),
        packed_(packed),
        staging_(std::move(staging)),
        totals_(totals_of(packed.weights(), s)) {
    const Reach reach = phases.reach(s);
    const dim_t words = of_words(packed.params()).ic;
    const PaddedImage image = padded_image(s.n, words, s.in, reach.before, reach.after);
    bits_ = image.inside;
    origin_ = image.origin;
    plane_ = round_up(s.n * bits_.n_stride, dim_t{kAlignment} / dim_t{sizeof(uint32_t)});
    phase_.rows = phases.rows(phases.all().front(), s, bits_, staging_.y(), 1);
    for (const dim_t tap : phase_.rows.tap_offset)
      for (dim_t word = 0; word < phase_.rows.k_run; ++word) offsets_.push_back(tap + word);
    const ConvParams& p = packed.params();
    // Rows of C that stay in L2 while all panels pass over them, for A is small beside it.
    const dim_t mr = packed.kernels().panel.mr;
    block_rows_ = round_up(caches().l2 / 4 / (p.oc * dim_t{sizeof(float)}) + 1, mr);
    for (dim_t g = 0; g < p.groups; ++g) {
      const auto i = static_cast<size_t>(g);
      const dim_t c = g * (p.oc / p.groups);
      phase_.groups.push_back({&packed.weights()[i], g * (words / p.groups), c,
                               packed.bias() ? packed.bias() + c : nullptr, totals_.of[i].data()});
    }
  }

  dim_t workspace() const noexcept override {
    return staging_.workspace() + 2 * plane_ * dim_t{sizeof(uint32_t)} +
           round_up(nan_rows() * dim_t{sizeof(float)}, dim_t{kAlignment});
  }
  void run(const void* x, const float* residual, void* y,
           std::byte* workspace) const noexcept override;

 private:
  dim_t nan_rows() const noexcept {
    return std::isnan(packed_.params().signs.of_nan) ? phase_.rows.M * packed_.params().groups : 0;
  }
  uint32_t pack(const float* x, SignRule rule, uint32_t* bits) const noexcept;
  void find_nan(const uint32_t* bits, float* row_bias) const noexcept;

  std::shared_ptr<const PackedConv> owner_;  // keeps the packed weights alive
  const XnorPacked& packed_;
  Staging staging_;
  Totals totals_;
  Image bits_;                    // of words
  dim_t plane_ = 0, origin_ = 0;  // of the bits, in words
  BoundPhase<SignGroup> phase_;
  std::vector<dim_t> offsets_;  // of each word of a window
  dim_t block_rows_ = 0;
};

// One plane of the input's bits, and of the padding, which has none.
uint32_t XnorBound::pack(const float* x, SignRule rule, uint32_t* bits) const noexcept {
  std::memset(bits, 0, static_cast<size_t>(plane_) * sizeof(uint32_t));
  const Image& from = staging_.x();
  const dim_t groups = packed_.params().groups, ic = from.c / groups, words = bits_.c / groups;
  std::atomic<uint32_t> seen{0};
  parallel_for(
      from.n * from.size[0] * from.size[1], 1 + 16384 / (1 + from.size[2] * from.c),
      [&](dim_t begin, dim_t end) {
        uint32_t mine = 0;
        for (dim_t r = begin; r < end; ++r) {
          const dim_t h = r % from.size[1], d = r / from.size[1] % from.size[0],
                      n = r / from.size[1] / from.size[0];
          const float* pixel = x + n * from.n_stride + d * from.stride[0] + h * from.stride[1];
          uint32_t* to =
              bits + origin_ + n * bits_.n_stride + d * bits_.stride[0] + h * bits_.stride[1];
          for (dim_t w = 0; w < from.size[2]; ++w, pixel += from.stride[2], to += bits_.stride[2])
            for (dim_t g = 0; g < groups; ++g)
              mine |= packed_.kernels().sign_bits(pixel + g * ic, ic, rule, to + g * words);
        }
        seen.fetch_or(mine, std::memory_order_relaxed);
      });
  return seen;
}

// NaN for rows whose window has one, else 0.
void XnorBound::find_nan(const uint32_t* bits, float* row_bias) const noexcept {
  const auto& [rows, groups] = phase_;
  parallel_for(rows.M, 1 + 16384 / (1 + static_cast<dim_t>(offsets_.size())),
               [&](dim_t begin, dim_t end) {
                 for (dim_t m = begin; m < end; ++m)
                   for (size_t g = 0; g < groups.size(); ++g) {
                     const uint32_t* const window =
                         bits + groups[g].a_offset +
                         (rows.a_row.empty() ? m * rows.lda : rows.a_row[static_cast<size_t>(m)]);
                     uint32_t found = 0;
                     for (const dim_t offset : offsets_)
                       found |= window[offset] & ~window[offset + plane_];
                     row_bias[static_cast<dim_t>(g) * rows.M + m] =
                         found ? std::numeric_limits<float>::quiet_NaN() : 0.0f;
                   }
               });
}

void XnorBound::run(const void* x, const float* residual, void* y,
                    std::byte* workspace) const noexcept {
  const Staging::Pointers<> at = staging_.before(x, residual, y, workspace);
  uint32_t* const bits = reinterpret_cast<uint32_t*>(workspace + staging_.workspace());
  float* const row_bias = reinterpret_cast<float*>(bits + 2 * plane_);
  // What is 1, and what is not -1; a NaN that stays is the first without being the second.
  const Signs& signs = packed_.params().signs;
  const SignRule one{signs.of_zero == 1, !(signs.of_nan < 1)},
      not_less{signs.of_zero >= 0, signs.of_nan >= 0};
  const uint32_t seen = pack(at.x, one, bits);
  const bool differ = (seen & kZeroSeen && one.zero != not_less.zero) ||
                      (seen & kNanSeen && one.nan != not_less.nan);
  if (differ) pack(at.x, not_less, bits + plane_);
  const bool nan_stays = seen & kNanSeen && nan_rows();
  if (nan_stays) find_nan(bits + origin_, row_bias);

  SignProduct product{product_of(phase_, packed_.activation(), block_rows_)};
  product.tap_offset = offsets_.data();  // each word is a tap
  product.taps = static_cast<dim_t>(offsets_.size());
  product.k_run = 1;
  product.plane = differ ? plane_ : 0;
  product.total_row = totals_.row.empty() ? nullptr : totals_.row.data();
  product.row_bias = nan_stays ? row_bias : nullptr;
  multiply_signs(product, bits + origin_, at.residual, at.y);
  staging_.after(at, y);
}

std::unique_ptr<const BoundConv> XnorPacked::bind(const ConvShape& shape, const View& input,
                                                  const View& y, const View* residual,
                                                  const std::vector<dim_t>&) const {
  ConvShape s = shape;
  View x = input;
  drop_skipped_rows(params_, s, x);
  constexpr dim_t kNone[kMaxSpatial] = {};
  Staging staging(x, y, residual, kNone, kNone);
  return std::make_unique<XnorBound>(shared_from_this(), *this, std::move(staging), s, phases_);
}

}  // namespace

extern const Algo algo_xnor;
const Algo algo_xnor = {
    "xnor",
    [](const ConvParams&, const KernelTable&) { return std::string(); },
    [](const ConvSpec& spec) -> std::shared_ptr<const PackedConv> {
      return std::make_shared<XnorPacked>(spec);
    },
};

}  // namespace fastconv
