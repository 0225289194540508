// L4 conv: every convolution of 8-bit integers as products of gemm/integer.h, the bytes of the image
// read in place. Start at DenseBound::run.
#include <algorithm>
#include <cstring>

#include "conv/integer_conv.h"
#include "conv/phases.h"
#include "conv/stage.h"
#include "core/division.h"
#include "core/parallel.h"
#include "gemm/integer.h"

namespace fastconv {
namespace {

class DensePacked final : public PackedIntegerConv {
 public:
  explicit DensePacked(const IntegerConvSpec& spec);
  std::unique_ptr<const BoundIntegerConv> bind(const ConvShape& s, const View& x,
                                               const View& y) const override;
  dim_t bytes() const noexcept override {
    dim_t total = 0;
    for (const auto& groups : weights_)
      for (const PackedWords& b : groups) total += b.bytes();
    return total;
  }
  std::string tile() const override {
    const PackedWords& b = weights_.front().front();
    const int width = b.width(0);
    return std::to_string(b.panel_kernels(width).mr) + "x" + std::to_string(width) +
           (b.wide()      ? " wide"
            : b.ordered() ? " ordered"
                          : "");
  }

  const ConvParams& params() const { return params_; }
  const std::vector<PackedWords>& weights(size_t phase) const { return weights_[phase]; }
  const std::vector<PackedWords>& no_taps() const { return no_taps_; }
  // Of the weights as they lie, negated, as a term of the product wants them; or null.
  const int32_t* minus_w_zero() const {
    return minus_w_zero_.empty() ? nullptr : minus_w_zero_.data();
  }

 private:
  std::vector<PackedWords> pack(const IntegerConvSpec& spec, const Phase& phase) const;

  ConvParams params_;
  const KernelTable& kernels_;
  Phases phases_;
  // A row of the kernel is one run of bytes: fewer of them are lost to whole words of four.
  bool rows_joined_;
  std::vector<std::vector<PackedWords>> weights_;  // by phase and group
  std::vector<PackedWords> no_taps_;
  std::vector<int32_t> minus_w_zero_;
};

DensePacked::DensePacked(const IntegerConvSpec& spec)
    : params_(spec.params), kernels_(spec.kernels), phases_(spec.params) {
  const ConvParams& p = params_;
  rows_joined_ =
      !p.transposed && p.groups == 1 && p.dilation[2] == 1 && p.kernel[2] > 1 && p.ic % 4 != 0;
  for (const Phase& phase : phases_.all()) weights_.push_back(pack(spec, phase));
  if (p.transposed)
    for (dim_t g = 0; g < p.groups; ++g)
      no_taps_.emplace_back(kernels_.integer, 1,
                            ByteMatrix{nullptr, 0, p.oc / p.groups, 0, 1, true});
  if (spec.w_zero) {
    minus_w_zero_.resize(static_cast<size_t>(p.oc + kFinishColumns));
    for (dim_t o = 0; o < p.oc; ++o) minus_w_zero_[static_cast<size_t>(o)] = -spec.w_zero[o];
  }
}

std::vector<PackedWords> DensePacked::pack(const IntegerConvSpec& spec, const Phase& phase) const {
  const ConvParams& p = params_;
  const dim_t all = p.kernel[0] * p.kernel[1] * p.kernel[2];
  const dim_t taps = static_cast<dim_t>(phase.taps.size());
  const dim_t ic = p.ic / p.groups, oc = p.oc / p.groups;
  std::vector<PackedWords> groups;
  Buffer<int8_t> matrix(taps * ic * oc);  // [tap][i][o]
  for (dim_t g = 0; g < p.groups; ++g) {
    // Weight of (o, i, tap): dense o-i-tap, transposed i-o-tap.
    const dim_t stride_i = p.transposed ? oc * all : all, stride_o = p.transposed ? all : ic * all;
    const int8_t* const w = spec.w + g * (p.transposed ? ic * oc * all : oc * ic * all);
    parallel_for(taps * ic, ceil_div(16384, 1 + oc), [&](dim_t begin, dim_t end) {
      for (dim_t r = begin; r < end; ++r) {
        const int8_t* const from =
            w + phase.taps[static_cast<size_t>(r / ic)].weight + r % ic * stride_i;
        int8_t* const to = matrix.data() + r * oc;
        for (dim_t o = 0; o < oc; ++o) to[o] = from[o * stride_o];
      }
    });
    const dim_t runs = rows_joined_ ? taps / p.kernel[2] : taps;
    groups.emplace_back(
        kernels_.integer, runs,
        ByteMatrix{reinterpret_cast<const uint8_t*>(matrix.data()), taps * ic, oc, oc, 1, true});
  }
  return groups;
}

struct BoundPhase {
  PhaseRows rows;
  const std::vector<PackedWords>* groups;
  bool has_taps;
};

class DenseBound final : public BoundIntegerConv {
 public:
  DenseBound(std::shared_ptr<const PackedIntegerConv> owner, const DensePacked& packed,
             Staging staging, std::vector<BoundPhase> phases, Element result)
      : owner_(std::move(owner)),
        packed_(packed),
        staging_(std::move(staging)),
        phases_(std::move(phases)),
        result_bytes_(element_size(result)) {
    for (const BoundPhase& phase : phases_) {
      rows_ = std::max(rows_, phase.rows.M);
      for (const PackedWords& b : *phase.groups)
        copies_bytes_ =
            std::max(copies_bytes_, copies_bytes(phase.rows.M, b, result_bytes_, threads_));
    }
  }
  dim_t workspace() const noexcept override {
    return staging_.workspace() + bias_bytes() + row_sum_bytes() + copies_bytes_;
  }
  void run(const IntegerConvRun& r) const noexcept override;

 private:
  dim_t bias_bytes() const noexcept {
    return round_up((packed_.params().oc + kFinishColumns) * 4, dim_t{kAlignment});
  }
  dim_t row_sum_bytes() const noexcept {
    return packed_.minus_w_zero() ? round_up(rows_ * 4, dim_t{kAlignment}) : 0;
  }
  void sum_rows(const PhaseRows& rows, const uint8_t* x, int32_t* sums) const noexcept;

  std::shared_ptr<const PackedIntegerConv> owner_;  // keeps the packed weights alive
  const DensePacked& packed_;
  Staging staging_;
  std::vector<BoundPhase> phases_;
  dim_t result_bytes_, rows_ = 0, copies_bytes_ = 0;
  int threads_ = get_num_threads();
};

// sums[m] = sum over taps and k of x: what a zero point of the weights multiplies.
void DenseBound::sum_rows(const PhaseRows& rows, const uint8_t* x, int32_t* sums) const noexcept {
  const dim_t taps = static_cast<dim_t>(rows.tap_offset.size());
  parallel_for(rows.M, ceil_div(65536, 1 + taps * rows.k_run), [&](dim_t begin, dim_t end) {
    for (dim_t m = begin; m < end; ++m) {
      const uint8_t* const pixel =
          x + (rows.a_row.empty() ? m * rows.lda : rows.a_row[static_cast<size_t>(m)]);
      uint32_t sum = 0;
      for (const dim_t offset : rows.tap_offset)
        for (dim_t k = 0; k < rows.k_run; ++k) sum += pixel[offset + k];
      sums[m] = static_cast<int32_t>(sum);
    }
  });
}

void DenseBound::run(const IntegerConvRun& r) const noexcept {
  const auto at = staging_.before<uint8_t, std::byte>(r.x, nullptr, r.y, r.workspace,
                                                      static_cast<uint8_t>(r.zero));
  int32_t* const bias = reinterpret_cast<int32_t*>(r.workspace + staging_.workspace());
  int32_t* const row_sums =
      reinterpret_cast<int32_t*>(r.workspace + staging_.workspace() + bias_bytes());
  std::byte* const copies = r.workspace + workspace() - copies_bytes_;
  const ConvParams& p = packed_.params();
  const dim_t ic = p.ic / p.groups, oc = p.oc / p.groups;
  for (const BoundPhase& phase : phases_) {
    const PhaseRows& rows = phase.rows;
    const dim_t taps = static_cast<dim_t>(rows.tap_offset.size());
    const bool terms = phase.has_taps && packed_.minus_w_zero();
    for (dim_t g = 0; g < p.groups; ++g) {
      const PackedWords& b = (*phase.groups)[static_cast<size_t>(g)];
      const uint8_t* const x = at.x + (phase.has_taps ? g * ic : 0);
      // (x - zx) (w - zw) = x w - zx w - zw x + zx zw, each summed over the taps of the phase.
      for (dim_t o = 0; o < oc; ++o) {
        int32_t sum = b.column_sums()[o];
        if (terms)
          sum = less_product(sum, -static_cast<int32_t>(taps * rows.k_run),
                             packed_.minus_w_zero()[g * oc + o]);
        bias[o] = less_product(r.centred_bias[g * oc + o], r.zero, sum);
      }
      IntegerProduct product;
      product.M = rows.M;
      product.a_row = rows.a_row.empty() ? nullptr : rows.a_row.data();
      product.c_row = rows.c_row.empty() ? nullptr : rows.c_row.data();
      product.lda = rows.lda;
      product.ldc = rows.ldc;
      product.tap_offset = rows.tap_offset.data();
      product.b = &b;
      product.finish = from_column(r.finish, g * oc);
      product.finish.bias = bias;
      product.threads = threads_;
      product.copies = copies;
      if (terms) {
        sum_rows(rows, x, row_sums);
        product.finish.term[product.finish.terms++] = {row_sums, packed_.minus_w_zero() + g * oc};
      }
      multiply(product, x, at.y + g * oc * result_bytes_);
    }
  }
  staging_.after(at, r.y);
}

std::unique_ptr<const BoundIntegerConv> DensePacked::bind(const ConvShape& shape, const View& input,
                                                          const View& y) const {
  ConvShape s = shape;
  View x = input;
  drop_skipped_rows(params_, s, x);
  const Reach reach = phases_.reach(s);
  Staging staging(x, y, nullptr, reach.before, reach.after);
  // Pixels side by side, as joined rows want them; or ones that do not fall on each other in L1.
  constexpr dim_t kGap = 64;
  const bool dense = s.in[2] == 1 || staging.x().stride[2] == params_.ic;
  const dim_t step = phases_.row_step(staging.x(), s);
  if (rows_joined_ ? !dense : step && bytes_alias(kernels_.integer.mr, step))
    staging = Staging(x, y, nullptr, reach.before, reach.after, ImageOrder::channels_last,
                      rows_joined_ ? 0 : kGap);
  const dim_t joined = rows_joined_ ? params_.kernel[2] : 1;
  std::vector<BoundPhase> bound;
  for (size_t i = 0; i < weights_.size(); ++i) {
    PhaseRows rows = phases_.rows(phases_.all()[i], s, staging.x(), staging.y(), joined);
    if (rows.M) bound.push_back({std::move(rows), &weights_[i], true});
  }
  PhaseRows untouched;
  untouched.c_row = phases_.untouched_pixels(s, staging.y());
  untouched.M = static_cast<dim_t>(untouched.c_row.size());
  untouched.a_row.resize(untouched.c_row.size());
  untouched.tap_offset = {0};
  if (untouched.M) bound.push_back({std::move(untouched), &no_taps_, false});
  return std::make_unique<DenseBound>(shared_from_this(), *this, std::move(staging),
                                      std::move(bound), y.element);
}

std::string reject_dense(const IntegerConvSpec&) { return ""; }
std::shared_ptr<const PackedIntegerConv> prepack_dense(const IntegerConvSpec& spec) {
  return std::make_shared<DensePacked>(spec);
}

}  // namespace

extern const IntegerAlgo integer_dense = {"dense", reject_dense, prepack_dense};

}  // namespace fastconv
