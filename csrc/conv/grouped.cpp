// L4 conv: see grouped.h. Start reading at GroupedBound::run.
#include "conv/grouped.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "conv/rows.h"
#include "conv/weights.h"
#include "core/buffer.h"
#include "core/check.h"
#include "core/cpu.h"
#include "core/division.h"
#include "core/interrupt.h"

namespace fastconv {
namespace {

constexpr dim_t kNone[kMaxSpatial] = {};

class GroupedPacked final : public PackedConv {
 public:
  explicit GroupedPacked(const ConvSpec& spec);
  std::unique_ptr<const BoundConv> bind(const ConvShape& s, const View& x, const View& y,
                                        const View* residual,
                                        const std::vector<dim_t>& blocks) const override;
  dim_t bytes() const noexcept override {
    return w_.bytes() + bias_.bytes() + static_cast<dim_t>(index_.size() * sizeof(int32_t));
  }
  std::vector<PackedArray> arrays() const override { return {w_}; }
  std::string tile() const override { return message("8x", kernels_.lanes); }

  const ConvKernels& kernels() const { return kernels_.conv; }
  dim_t lanes() const { return kernels_.lanes; }
  GroupedWeights weights() const {
    const ConvParams& p = params_;
    return {w_.data(),
            p.kernel[0] * p.kernel[1] * p.kernel[2],
            p.ic / p.groups,
            base_.data(),
            span_.data(),
            index_.empty() ? nullptr : index_.data(),
            p.oc};
  }
  Epilogue epilogue() const {
    Epilogue e;
    e.bias = bias_.size() ? bias_.data() : nullptr;
    e.activation = activation_;
    return e;
  }

 private:
  ConvParams params_;
  Activation activation_;
  const KernelTable& kernels_;
  Buffer<float> w_, bias_;
  std::vector<dim_t> base_;
  std::vector<int32_t> span_, index_;
};

GroupedPacked::GroupedPacked(const ConvSpec& spec)
    : params_(spec.params), activation_(spec.activation), kernels_(spec.kernels) {
  const ConvParams& p = params_;
  const dim_t lanes = kernels_.lanes, blocks = ceil_div(p.oc, lanes);
  const dim_t taps = p.kernel[0] * p.kernel[1] * p.kernel[2], ic = p.ic / p.groups,
              oc = p.oc / p.groups;
  const bool permuted = !(ic == 1 && oc == 1) && !fills_vectors(p, lanes);
  if (spec.bias) bias_ = Buffer<float>::copy_of(spec.bias, p.oc);
  w_ = spec.source.take<float>(blocks * taps * ic * lanes);
  if (permuted) index_.assign(static_cast<size_t>(blocks * ic * lanes), 0);
  std::vector<ChannelPanel> panels;
  for (dim_t b = 0; b < blocks; ++b) {
    const dim_t channel = b * lanes;
    panels.push_back(
        {channel, std::min(lanes, p.oc - channel), lanes, w_.data() + b * taps * ic * lanes});
    const dim_t first = permuted ? channel_span(p, b, lanes).first : b * lanes;
    base_.push_back(first);
    // As many whole channels of the pixel as a vector holds: a full load where the pixel goes on.
    span_.push_back(static_cast<int32_t>(std::min(lanes, p.ic - first)));
    for (dim_t i = 0; i < ic && permuted; ++i)
      for (dim_t o = channel; o < std::min(channel + lanes, p.oc); ++o)
        index_[static_cast<size_t>((b * ic + i) * lanes + o - channel)] =
            static_cast<int32_t>(o / oc * ic + i - first);
  }
  if (!spec.source.filled()) pack_taps(kernels_, spec.w, ic, taps, panels);
}

// Blocks of channels, and bands of rows, for kernels of one slice that have an instance; a dilated
// one is that many dense ones on interleaved columns.
class BandBound final : public BoundConv {
 public:
  BandBound(std::shared_ptr<const PackedConv> owner, const GroupedPacked& packed,
            const ConvShape& s, Staging staging, const View* residual,
            const std::vector<dim_t>& blocks)
      : owner_(std::move(owner)), packed_(packed), shape_(s), staging_(std::move(staging)) {
    // The ring of input rows in two thirds of L1, where they are not too wide for that.
    const dim_t column = ring_rows() * packed.lanes() * static_cast<dim_t>(sizeof(float));
    const dim_t columns = caches().l1d * 2 / 3 / column - s.kernel[2];
    segment_ = std::clamp<dim_t>(columns / s.stride[2] / 8 * 8, 8, std::max<dim_t>(8, s.out[2]));
    // Two to four pairs of blocks together: the cache lines of a pixel that lie side by side are
    // read together, which is worth more than that the rings stay in L1. But the weights of all of
    // them are read for each tile, and have to stay in L1.
    pairs_ = (s.oc + 2 * packed.lanes() - 1) / (2 * packed.lanes());
    const dim_t in_l1 = caches().l1d / static_cast<dim_t>(sizeof(float));
    const dim_t weights = 2 * packed.lanes() * s.taps() * s.group_ic();
    const dim_t most = std::clamp<dim_t>(in_l1 / weights, 1, 4);
    ring_pairs_ =
        std::min(pairs_, std::clamp<dim_t>(in_l1 / ring_floats(), std::min<dim_t>(2, most), most));
    // Without a ring, so many pairs that the pixels and the weights of a tile stay in L1.
    const dim_t pixels = tile_rows() * (7 * s.stride[2] + s.kernel[2]);
    tile_pairs_ =
        std::clamp<dim_t>(in_l1 * 2 / 3 / ((pixels + s.taps()) * 2 * packed.lanes()), 1, pairs_);
    whole_blocks_ = reads_in_place(residual) ? s.oc / packed.lanes() : 0;
    crowded_ = lines_of_a_set() > 16;
    if (!blocks.empty()) {
      segment_ = blocks[0];
      ring_pairs_ = tile_pairs_ = ceil_div(blocks[1], 2 * packed_.lanes());
    }
  }
  std::vector<BlockSize> blocks() const override {
    const dim_t pair = 2 * packed_.lanes();
    return {{"columns", segment_, 8, std::max<dim_t>(8, shape_.out[2])},
            {"channels", (whole_blocks_ ? tile_pairs_ : ring_pairs_) * pair, pair, pairs_ * pair}};
  }
  dim_t workspace() const noexcept override {
    return staging_.workspace() + threads_ * scratch_floats() * static_cast<dim_t>(sizeof(float));
  }
  void run(const void* x, const float* residual, void* y,
           std::byte* workspace) const noexcept override;

 private:
  dim_t tile_rows() const {  // of x
    return shape_.kernel[1] + (shape_.stride[1] == 1 ? packed_.kernels().depthwise_rows - 1 : 0);
  }
  // Cache lines of a tile's pixels that share a set of L1, where pixels are apart by what has a high
  // power of two in it. A ring has none of that.
  dim_t lines_of_a_set() const {
    const dim_t places =
        1024 / std::gcd(staging_.x().stride[2], dim_t{1024});  // in 4 KiB of floats
    return ceil_div(7 * shape_.stride[2] + shape_.kernel[2], places) * tile_rows();
  }
  // Depthwise with a small square kernel. Where a vector is half a cache line, that has to stay in L1
  // for the other half.
  bool reads_in_place(const View* residual) const {
    const ConvShape& s = shape_;
    const dim_t kernel = s.kernel[1], stride = s.stride[1];
    const ConvKernels& kernels = packed_.kernels();
    if (residual || s.group_ic() > 1 || s.group_oc() > 1 || s.kernel[2] != kernel ||
        s.stride[2] != stride || s.dilation[1] > 1 || s.dilation[2] > 1 ||
        !kernels.depthwise_band[kernel][stride])
      return false;
    const dim_t side =
        std::max(s.pad_lo[2], s.out[2] * stride - stride + kernel - s.pad_lo[2] - s.in[2]);
    if (side > kernel / 2 || s.out[1] < kernels.depthwise_rows || s.out[2] < kMinDepthwisePixels)
      return false;
    const bool halves = packed_.lanes() * static_cast<dim_t>(sizeof(float)) < dim_t{kAlignment};
    return lines_of_a_set() <= (halves && kernel > 3 ? 16 : 36);
  }
  // A vector in two lines doubles them, where there are too many already.
  dim_t blocks_in_place(const float* x, const void* y) const {
    const auto at = reinterpret_cast<uintptr_t>(x) | reinterpret_cast<uintptr_t>(y);
    return crowded_ && at % kAlignment != 0 ? 0 : whole_blocks_;
  }
  dim_t ring_rows() const { return (shape_.kernel[1] - 1) * shape_.dilation[1] + 1; }
  dim_t ring_floats() const {  // of a pair of blocks
    return ring_rows() * ((segment_ - 1) * shape_.stride[2] + shape_.kernel[2]) * 2 *
           packed_.lanes();
  }
  dim_t scratch_floats() const {  // of a thread
    const dim_t zeros =
        (7 * shape_.stride[2] + shape_.kernel[2]) * std::abs(staging_.x().stride[2]) +
        2 * tile_pairs_ * packed_.lanes();
    return round_up(std::max(whole_blocks_ ? zeros : 0, ring_pairs_ * ring_floats()),
                    dim_t{kAlignment});
  }
  void run_band(const Staging::Pointers<float, void>& at, dim_t slice, Range rows, Range pairs,
                float* ring) const noexcept;

  std::shared_ptr<const PackedConv> owner_;
  const GroupedPacked& packed_;
  ConvShape shape_;
  Staging staging_;
  int threads_ = get_num_threads();
  dim_t segment_, pairs_, ring_pairs_, tile_pairs_;
  dim_t whole_blocks_;  // that are read in place
  bool crowded_;        // few sets of L1 for them
};

void BandBound::run(const void* x, const float* residual, void* y,
                    std::byte* workspace) const noexcept {
  const auto at = staging_.before<float, void>(x, residual, y, workspace);
  const ConvShape& s = shape_;
  const dim_t slices = s.n * s.out[0];
  const dim_t work = slices * s.out_pixels() / s.out[0] * s.oc * s.group_ic() * s.taps();
  const dim_t threads =
      std::min<dim_t>({dim_t{threads_}, dim_t{get_num_threads()}, 1 + work / kFmasWorthAThread});
  // Threads share the rows, at the price of copying the rows that two bands see twice, where they
  // get 28 at least; else the pairs of blocks, which are best done together.
  const dim_t wanted = ceil_div(threads, slices);
  const int bands = static_cast<int>(std::clamp<dim_t>(s.out[1] / 28, 1, wanted));
  const int parts = static_cast<int>(std::min(pairs_, ceil_div(wanted, bands)));
  const dim_t tasks = slices * bands * parts;
  const int workers = static_cast<int>(std::min(threads, tasks));
  float* const rings = reinterpret_cast<float*>(workspace + staging_.workspace());
  parallel_run(workers, [&](int tid) {
    const Range mine = partition(tasks, workers, tid);
    for (dim_t task = mine.begin; task < mine.end; ++task) {
      if (task > mine.begin && interrupted()) return;
      run_band(at, task / parts / bands,
               partition(s.out[1], bands, static_cast<int>(task / parts % bands)),
               partition(pairs_, parts, static_cast<int>(task % parts)),
               rings + tid * scratch_floats());
    }
  });
  staging_.after(at, y);
}

void BandBound::run_band(const Staging::Pointers<float, void>& at, dim_t slice, Range rows,
                         Range pairs, float* ring) const noexcept {
  const ConvShape& s = shape_;
  const Image &xi = staging_.x(), &yi = staging_.y();
  const dim_t n = slice / s.out[0], d = slice % s.out[0], row = rows.begin;
  const float* x = at.x + n * xi.n_stride + d * xi.stride[0];
  const dim_t y_offset = n * yi.n_stride + d * yi.stride[0] + row * yi.stride[1];

  GroupedBand t = {};
  t.x_row = xi.stride[1];
  t.rows_in = s.in[1];
  t.row_first = row * s.stride[1] - s.pad_lo[1];
  t.row_stride = s.stride[1];
  t.row_dilation = s.dilation[1];
  t.kh = s.kernel[1];
  t.weights = packed_.weights();
  t.y_row = yi.stride[1];
  t.rows = rows.end - rows.begin;
  t.ring = ring;
  t.segment = segment_;
  t.epilogue = packed_.epilogue();
  const dim_t step = s.dilation[2];
  t.x_col = step * xi.stride[2];
  t.y_col = step * yi.stride[2];
  for (dim_t phase = 0; phase < std::min(step, s.out[2]); ++phase) {
    // Output columns phase, phase + step, ... read input columns of one residue modulo step.
    const dim_t first = phase - s.pad_lo[2], residue = (first % step + step) % step;
    t.x = x + residue * xi.stride[2];
    t.col_first = (first - residue) / step;
    t.cols_in = std::max<dim_t>(0, ceil_div(s.in[2] - residue, step));
    t.pixels = ceil_div(s.out[2] - phase, step);
    const dim_t offset = y_offset + phase * yi.stride[2];
    if (staging_.y_element() == Element::bf16)
      t.rounded = static_cast<uint16_t*>(at.y) + offset;
    else
      t.y = static_cast<float*>(at.y) + offset;
    t.epilogue.residual = at.residual ? at.residual + offset : nullptr;
    const dim_t begin = 2 * pairs.begin,
                end = std::min(2 * pairs.end, ceil_div(s.oc, packed_.lanes())),
                whole = std::clamp(blocks_in_place(x, at.y), begin, end);
    const auto run = [&](auto kernel, dim_t pairs_at_once, dim_t from, dim_t to) {
      t.ring_pairs = pairs_at_once;
      t.block_begin = from, t.block_end = to;
      if (from < to) kernel(t);
    };
    const ConvKernels& kernels = packed_.kernels();
    run(kernels.depthwise_band[s.kernel[2]][s.stride[2]], tile_pairs_, begin, whole);
    run(kernels.grouped_band[s.kernel[2]][s.stride[2]], ring_pairs_, whole, end);
  }
}

// Any kernel, stride and dilation, row by row.
class RowsBound final : public BoundConv {
 public:
  RowsBound(std::shared_ptr<const PackedConv> owner, const GroupedPacked& packed,
            const ConvShape& s, Staging staging)
      : owner_(std::move(owner)),
        packed_(packed),
        staging_(std::move(staging)),
        runs_(s, staging_.x(), staging_.y(), 1),
        grain_(1 + kFmasWorthAThread / (s.out[2] * s.oc * s.group_ic() * s.taps() + 1)) {}
  dim_t workspace() const noexcept override { return staging_.workspace(); }
  void run(const void* x, const float* residual, void* y,
           std::byte* workspace) const noexcept override {
    const Staging::Pointers<> at = staging_.before(x, residual, y, workspace);
    runs_.for_each(grain_, [&](const RowRuns::Run& run, dim_t x_offset, dim_t y_offset) {
      GroupedRow r = {};
      r.x = at.x + x_offset;
      r.x_step = runs_.x_step();
      r.x_tap = run.x_tap.data();
      r.w_tap = run.w_tap.data();
      r.taps = static_cast<dim_t>(run.x_tap.size());
      r.weights = packed_.weights();
      r.y = at.y + y_offset;
      r.y_step = runs_.y_step();
      r.pixels = run.end - run.begin;
      r.epilogue = packed_.epilogue();
      r.epilogue.ldr = r.y_step;
      r.epilogue.residual = at.residual ? at.residual + y_offset : nullptr;
      packed_.kernels().grouped_row(r);
    });
    staging_.after(at, y);
  }

 private:
  std::shared_ptr<const PackedConv> owner_;
  const GroupedPacked& packed_;
  Staging staging_;
  RowRuns runs_;
  dim_t grain_;
};

std::unique_ptr<const BoundConv> GroupedPacked::bind(const ConvShape& s, const View& x,
                                                     const View& y, const View* residual,
                                                     const std::vector<dim_t>& blocks) const {
  Staging staging(x, y, residual, kNone, kNone);
  if (has_bands(s, kernels()))
    return std::make_unique<BandBound>(shared_from_this(), *this, s, std::move(staging), residual,
                                       blocks);
  return std::make_unique<RowsBound>(shared_from_this(), *this, s, std::move(staging));
}

}  // namespace

ChannelSpan channel_span(const ConvParams& p, dim_t b, dim_t lanes) {
  const dim_t ic = p.ic / p.groups, oc = p.oc / p.groups;
  const dim_t g0 = b * lanes / oc, g1 = (std::min(p.oc, (b + 1) * lanes) - 1) / oc;
  return {g0 * ic, (g1 - g0 + 1) * ic};
}

bool fills_vectors(const ConvParams& p, dim_t lanes) {
  const dim_t ic = p.ic / p.groups, oc = p.oc / p.groups;
  return p.groups > 1 && ic == oc && (oc == lanes || oc == 2 * lanes);
}

bool has_bands(const ConvShape& s, const ConvKernels& kernels) {
  const bool one_slice = s.kernel[0] == 1 && s.stride[0] == 1 && !s.pad_lo[0] && !s.pad_hi[0];
  const bool stride = s.stride[2] == 1 || (s.stride[2] == 2 && s.dilation[2] == 1);
  const bool small = s.kernel[1] <= kMaxBandKernel && s.kernel[2] <= kMaxBandKernel &&
                     (s.kernel[1] - 1) * s.dilation[1] < 16;
  return one_slice && stride && small && kernels.grouped_band[s.kernel[2]][s.stride[2]];
}

bool grouped_stores_bf16(const ConvShape& s, const KernelTable& table) {
  return has_bands(s, table.conv);
}

std::shared_ptr<const PackedConv> prepack_grouped(const ConvSpec& spec) {
  return std::make_shared<GroupedPacked>(spec);
}

}  // namespace fastconv
