// L4 conv: convolutions of 8-bit integers with one input channel for each output channel, by bands
// of rows. The kernels are kernels/depthwise_u8.inl.h; it is built like grouped.cpp's bands. Start
// at DepthwiseBound::run.
#include <algorithm>

#include "conv/integer_conv.h"
#include "conv/stage.h"
#include "core/buffer.h"
#include "core/check.h"
#include "core/cpu.h"
#include "core/division.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "gemm/integer.h"

namespace fastconv {
namespace {

constexpr dim_t kNone[kMaxSpatial] = {};

class DepthwisePacked final : public PackedIntegerConv {
 public:
  explicit DepthwisePacked(const IntegerConvSpec& spec);
  std::unique_ptr<const BoundIntegerConv> bind(const ConvShape& s, const View& x,
                                               const View& y) const override;
  dim_t bytes() const noexcept override {
    return w_.bytes() + static_cast<dim_t>((channel_.size() + sums_.size()) * sizeof(int32_t));
  }
  std::string tile() const override {
    return message("8x", lanes_, kernels_.rows == 2 ? " pairs of rows" : " four rows");
  }

  const IntegerDepthwiseKernels& kernels() const { return kernels_; }
  int lanes() const { return lanes_; }
  dim_t groups() const { return ceil_div(params_.kernel[1] + shifts_ - 1, dim_t{kernels_.rows}); }
  const ConvParams& params() const { return params_; }
  IntegerDepthwiseWeights weights() const {
    return {w_.data(),
            shifts_,
            params_.kernel[1],
            params_.kernel[2],
            channel_.empty() ? nullptr : channel_.data(),
            params_.oc};
  }
  // Of the packed weights, where they have zero points; else null.
  const int32_t* sums() const { return sums_.empty() ? nullptr : sums_.data(); }

 private:
  ConvParams params_;
  const IntegerDepthwiseKernels& kernels_;
  int lanes_;
  dim_t shifts_ = 1;
  Buffer<std::byte> w_;
  std::vector<int32_t> channel_, sums_;
};

// A weight less its zero point has nine bits. At stride 2 each row of outputs would have a group of
// four rows of its own.
const IntegerDepthwiseKernels& kernels_for(const IntegerConvSpec& spec) {
  const KernelTable& table = spec.kernels;
  const bool bytes = table.depthwise_bytes.any && !spec.w_zero && spec.params.stride[1] == 1;
  return bytes ? table.depthwise_bytes : table.depthwise_pairs;
}

template <class Weight>
void put(std::byte* array, dim_t i, int w) {
  reinterpret_cast<Weight*>(array)[i] = static_cast<Weight>(w);
}

DepthwisePacked::DepthwisePacked(const IntegerConvSpec& spec)
    : params_(spec.params), kernels_(kernels_for(spec)), lanes_(spec.kernels.lanes) {
  const ConvParams& p = params_;
  const dim_t lanes = lanes_, rows = kernels_.rows, blocks = ceil_div(p.oc, lanes);
  const dim_t multiplier = p.oc / p.ic;
  const dim_t kh = p.kernel[1], kw = p.kernel[2];
  if (p.stride[1] == 1 && p.dilation[1] == 1)
    while (2 * shifts_ <= rows && ceil_div(kh + 2 * shifts_ - 1, rows) == ceil_div(kh, rows))
      shifts_ *= 2;
  const dim_t groups = this->groups(), above = groups * rows - (kh + shifts_ - 1);
  if (multiplier > 1)
    for (dim_t o = 0; o < p.oc; ++o) channel_.push_back(static_cast<int32_t>(o / multiplier));
  if (spec.w_zero) sums_.resize(static_cast<size_t>(p.oc));
  w_ = Buffer<std::byte>(blocks * shifts_ * groups * kw * lanes * 4);
  std::fill_n(w_.data(), w_.size(), std::byte{0});
  for (dim_t o = 0; o < p.oc; ++o)
    for (dim_t ky = 0; ky < kh; ++ky)
      for (dim_t kx = 0; kx < kw; ++kx) {
        const int w = spec.w[(o * kh + ky) * kw + kx] - (spec.w_zero ? spec.w_zero[o] : 0);
        const auto write = rows == 2 ? put<int16_t> : put<int8_t>;
        for (dim_t shift = 0; shift < shifts_; ++shift) {
          const dim_t row = ky + above + shift;  // in the groups
          const dim_t group = (o / lanes * shifts_ + shift) * groups + row / rows;
          write(w_.data(), ((group * kw + kx) * lanes + o % lanes) * rows + row % rows, w);
        }
        if (spec.w_zero) sums_[static_cast<size_t>(o)] += w;
      }
}

class DepthwiseBound final : public BoundIntegerConv {
 public:
  DepthwiseBound(std::shared_ptr<const PackedIntegerConv> owner, const DepthwisePacked& packed,
                 const ConvShape& s, Staging staging, Element result);
  dim_t workspace() const noexcept override {
    return staging_.workspace() + bias_bytes() + threads_ * ring_bytes();
  }
  void run(const IntegerConvRun& r) const noexcept override;

 private:
  using Kernel = void (*)(const IntegerDepthwiseBand&);

  dim_t bias_bytes() const noexcept {
    return packed_.sums() ? round_up((shape_.oc + kFinishColumns) * 4, dim_t{kAlignment}) : 0;
  }
  dim_t slots() const noexcept {
    const dim_t rows = packed_.kernels().rows;
    return rows * (packed_.groups() - 1) * shape_.dilation[1] + 1;
  }
  dim_t columns(dim_t pixels) const noexcept {
    return (pixels - 1) * shape_.stride[2] + (shape_.kernel[2] - 1) * col_dilation_ + 1;
  }
  dim_t ring_bytes() const noexcept {
    const dim_t pixels = packed_.kernels().rows * slots() * ring_pairs_ * columns(segment_);
    return round_up(2 * packed_.lanes() * (pixels + 4 * segment_) + 8 * slots(), dim_t{kAlignment});
  }
  void run_band(const IntegerConvRun& r, const uint8_t* x, std::byte* y, dim_t slice, Range rows,
                Range pairs, std::byte* ring) const noexcept;

  std::shared_ptr<const PackedIntegerConv> owner_;  // keeps the packed weights alive
  const DepthwisePacked& packed_;
  ConvShape shape_;
  Staging staging_;
  dim_t result_bytes_;
  int threads_ = get_num_threads();
  Kernel kernel_;
  // Columns of a dilated kernel are dense ones of that many images on interleaved columns.
  dim_t phases_ = 1, col_dilation_;
  dim_t segment_, pairs_, ring_pairs_;
};

DepthwiseBound::DepthwiseBound(std::shared_ptr<const PackedIntegerConv> owner,
                               const DepthwisePacked& packed, const ConvShape& s, Staging staging,
                               Element result)
    : owner_(std::move(owner)),
      packed_(packed),
      shape_(s),
      staging_(std::move(staging)),
      result_bytes_(element_size(result)),
      col_dilation_(s.dilation[2]) {
  const IntegerDepthwiseKernels& kernels = packed.kernels();
  kernel_ = kernels.any;
  if (s.stride[2] == 1) phases_ = std::min(col_dilation_, s.out[2]), col_dilation_ = 1;
  if (col_dilation_ == 1 && s.stride[2] <= 2 && s.kernel[2] <= kMaxBandKernel &&
      kernels.band[s.kernel[2]][s.stride[2]])
    kernel_ = kernels.band[s.kernel[2]][s.stride[2]];
  pairs_ = ceil_div(s.oc, 2 * packed.lanes());
  const dim_t together = ceil_div(pairs_, kMaxRingPairs);
  ring_pairs_ = ceil_div(pairs_, together);
  // Whole rows, where the ring leaves most of L2 to what is read and written: each piece of a row
  // is a start anew.
  segment_ = ceil_div(s.out[2], phases_);
  while (segment_ > 8 && ring_bytes() > caches().l2 / 4) segment_ = ceil_div(segment_, 2);
}

void DepthwiseBound::run(const IntegerConvRun& given) const noexcept {
  IntegerConvRun r = given;
  const ConvShape& s = shape_;
  const auto at = staging_.before<uint8_t, std::byte>(r.x, nullptr, r.y, r.workspace,
                                                      static_cast<uint8_t>(r.zero));
  if (packed_.sums()) {
    int32_t* const bias = reinterpret_cast<int32_t*>(r.workspace + staging_.workspace());
    for (dim_t o = 0; o < s.oc; ++o)
      bias[o] = less_product(r.centred_bias[o], r.zero, packed_.sums()[o]);
    r.finish.bias = bias;
  }
  const dim_t slices = s.n * s.out[0];
  const dim_t work = slices * s.out[1] * s.out[2] * s.oc * s.taps();
  const dim_t threads =
      std::min<dim_t>({dim_t{threads_}, dim_t{get_num_threads()}, 1 + work / 40000});
  // As grouped.cpp shares them: rows, where each thread gets 28 at least, else channels.
  const dim_t wanted = ceil_div(threads, slices);
  const int bands = static_cast<int>(std::clamp<dim_t>(s.out[1] / 28, 1, wanted));
  const int parts = static_cast<int>(std::min(pairs_, ceil_div(wanted, bands)));
  const dim_t tasks = slices * bands * parts;
  const int workers = static_cast<int>(std::min(threads, tasks));
  std::byte* const rings = r.workspace + staging_.workspace() + bias_bytes();
  parallel_run(workers, [&](int tid) {
    const Range mine = partition(tasks, workers, tid);
    for (dim_t task = mine.begin; task < mine.end; ++task) {
      if (task > mine.begin && interrupted()) return;
      run_band(r, at.x, at.y, task / parts / bands,
               partition(s.out[1], bands, static_cast<int>(task / parts % bands)),
               partition(pairs_, parts, static_cast<int>(task % parts)),
               rings + tid * ring_bytes());
    }
  });
  staging_.after(at, r.y);
}

void DepthwiseBound::run_band(const IntegerConvRun& r, const uint8_t* x, std::byte* y, dim_t slice,
                              Range rows, Range pairs, std::byte* ring) const noexcept {
  const ConvShape& s = shape_;
  const Image &xi = staging_.x(), &yi = staging_.y();
  const dim_t n = slice / s.out[0], d = slice % s.out[0];
  const dim_t x_offset = n * xi.n_stride + d * xi.stride[0];
  const dim_t y_offset = n * yi.n_stride + d * yi.stride[0] + rows.begin * yi.stride[1];

  IntegerDepthwiseBand t = {};
  t.x_row = xi.stride[1];
  t.rows_in = s.in[1];
  t.row_first = rows.begin * s.stride[1] - s.pad_lo[1];
  t.row_stride = s.stride[1];
  t.row_dilation = s.dilation[1];
  t.col_stride = s.stride[2];
  t.col_dilation = col_dilation_;
  t.zero = static_cast<uint8_t>(r.zero);
  t.weights = packed_.weights();
  t.block_begin = 2 * pairs.begin;
  t.block_end = std::min(2 * pairs.end, ceil_div(s.oc, dim_t{packed_.lanes()}));
  t.y_row = yi.stride[1];
  t.rows = rows.end - rows.begin;
  t.ring = ring;
  t.segment = segment_;
  t.ring_pairs = ring_pairs_;
  t.finish = r.finish;
  const dim_t step = s.stride[2] == 1 ? s.dilation[2] : 1;
  t.x_col = step * xi.stride[2];
  t.y_col = step * yi.stride[2];
  for (dim_t phase = 0; phase < phases_; ++phase) {
    // Output columns phase, phase + step, ... read input columns of one residue modulo step.
    const dim_t first = phase - s.pad_lo[2], residue = first - floor_div(first, step) * step;
    t.x = x + x_offset + residue * xi.stride[2];
    t.col_first = (first - residue) / step;
    t.cols_in = std::max<dim_t>(0, ceil_div(s.in[2] - residue, step));
    t.pixels = ceil_div(s.out[2] - phase, step);
    t.y = y + (y_offset + phase * yi.stride[2]) * result_bytes_;
    kernel_(t);
  }
}

std::unique_ptr<const BoundIntegerConv> DepthwisePacked::bind(const ConvShape& s, const View& x,
                                                              const View& y) const {
  return std::make_unique<DepthwiseBound>(shared_from_this(), *this, s,
                                          Staging(x, y, nullptr, kNone, kNone), y.element);
}

std::string reject(const IntegerConvSpec& spec) {
  const ConvParams& p = spec.params;
  if (p.transposed) return "transposed";
  if (p.ic != p.groups || (p.groups == 1 && p.oc > 1))
    return message("not depthwise: ", p.ic, " and ", p.oc, " channels in ", p.groups, " group(s)");
  if (p.kernel[0] != 1 || p.stride[0] != 1 || p.pad_lo[0] || p.pad_hi[0])
    return message("more than one slice: a kernel ", p.kernel[0], " deep, stride ", p.stride[0],
                   ", padding ", p.pad_lo[0], " and ", p.pad_hi[0]);
  return "";
}
std::shared_ptr<const PackedIntegerConv> prepack(const IntegerConvSpec& spec) {
  return std::make_shared<DepthwisePacked>(spec);
}

}  // namespace

extern const IntegerAlgo integer_depthwise = {"depthwise", reject, prepack};

}  // namespace fastconv
