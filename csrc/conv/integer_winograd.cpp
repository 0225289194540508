// L4 conv: exact Winograd convolution of u8 by s8, F(4x4, 3x3) and F(2x2, 3x3), for stride 1: 36 / 144
// and 16 / 36 of the direct method's products. They are of s16, summed modulo 2^32, and no bit of the
// result is lost while the sums are below a bound that is checked with the weights. The steps are
// those of algo_winograd.cpp. Calls kernels/winograd_s16.inl.h and the pairs of kernels/product/.
// Start reading at WinogradBound::run.
#include <algorithm>

#include "conv/axis_tiles.h"
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
constexpr dim_t kZeroTap = 0;
constexpr dim_t kTaps = 9;
constexpr dim_t kPair = 2;       // channels in a word of V
constexpr dim_t kPairBytes = 4;  // of V, and of U for each output channel

template <int M>
const IntegerWinogradForm& form_of(const KernelTable& table) {
  return M == 4 ? table.integer_winograd.f4x3 : table.integer_winograd.f2x3;
}

class WinogradPacked final : public PackedIntegerConv {
 public:
  WinogradPacked(const IntegerConvSpec& spec, const IntegerWinogradForm& form);
  std::unique_ptr<const BoundIntegerConv> bind(const ConvShape& s, const View& x,
                                               const View& y) const override;
  dim_t bytes() const noexcept override { return u_.bytes(); }
  std::string tile() const override {
    return message("F(", form_.m, "x", form_.m, ") ", panel_kernels(0).mr, "x", width(0));
  }
  const IntegerKernels& kernels() const noexcept { return kernels_; }
  const IntegerWinogradForm& form() const noexcept { return form_; }
  dim_t oc() const noexcept { return oc_; }
  dim_t pairs() const noexcept { return pairs_; }  // of input channels
  dim_t panels() const noexcept { return panel_count(kernels_, oc_); }
  int width(dim_t p) const noexcept { return panel_width(kernels_, oc_, p); }
  const IntegerPanel& panel_kernels(dim_t p) const noexcept {
    return kernels_.pairs[2 * width(p) / kernels_.nr - 1];
  }
  const char* panel(dim_t p) const noexcept {
    return reinterpret_cast<const char*>(u_.data() + panel_begin(p));
  }

 private:
  dim_t matrices() const noexcept { return form_.n * form_.n; }
  dim_t panel_begin(dim_t p) const noexcept {
    return p * matrices() * pairs_ * kPair * kernels_.nr;
  }
  void pack_panel(const int8_t* w, dim_t p);

  const IntegerKernels& kernels_;
  const IntegerWinogradForm& form_;
  dim_t ic_, oc_, pairs_;
  Buffer<int16_t> u_;  // [panels][n^2][pairs][width][2]
};

WinogradPacked::WinogradPacked(const IntegerConvSpec& spec, const IntegerWinogradForm& form)
    : kernels_(spec.kernels.integer),
      form_(form),
      ic_(spec.params.ic),
      oc_(spec.params.oc),
      pairs_(ceil_div(ic_, kPair)),
      u_(matrices() * pairs_ * kPair * round_up(oc_, kernels_.nr / 2)) {
  const int threads = static_cast<int>(std::min<dim_t>(get_num_threads(), panels()));
  parallel_run(threads, [&](int tid) {
    const Range mine = partition(panels(), threads, tid);
    for (dim_t p = mine.begin; p < mine.end; ++p) pack_panel(spec.w, p);
  });
}

void WinogradPacked::pack_panel(const int8_t* w, dim_t p) {
  const dim_t first = p * kernels_.nr, width = this->width(p);
  int16_t* const u = u_.data() + panel_begin(p);
  if (ic_ % kPair) std::fill_n(u, matrices() * pairs_ * kPair * width, int16_t{0});
  for (dim_t i = 0; i < ic_; ++i)
    for (dim_t o = 0; o < width; o += kWinogradFilters) {
      const dim_t columns = std::min<dim_t>(kWinogradFilters, width - o),
                  filters = std::clamp<dim_t>(oc_ - first - o, 0, columns);
      form_.weights(w + ((first + o) * ic_ + i) * kTaps, ic_ * kTaps, static_cast<int>(filters),
                    u + (i / kPair * width + o) * kPair + i % kPair, pairs_ * width * kPair,
                    static_cast<int>(columns));
    }
}

class WinogradBound final : public BoundIntegerConv {
 public:
  WinogradBound(std::shared_ptr<const PackedIntegerConv> owner, const WinogradPacked& packed,
                const ConvShape& s, const View& x, const View& y);
  dim_t workspace() const noexcept override {
    return staging_.workspace() +
           (by_tiles_ ? threads_ * (v_bytes_ + m_bytes_) : v_bytes_ + threads_ * m_bytes_);
  }
  void run(const IntegerConvRun& r) const noexcept override;

 private:
  void transform(Range tiles, dim_t first, const uint8_t* x, int32_t zero,
                 int16_t* v) const noexcept;
  void multiply(Range panels, Range tiles, const int16_t* v, int32_t* m,
                const IntegerFinish& finish, std::byte* y) const noexcept;

  std::shared_ptr<const PackedIntegerConv> owner_;  // keeps the packed weights alive
  const WinogradPacked& packed_;
  ConvShape shape_;
  Staging staging_;
  std::vector<AxisTile> tile_rows_, tile_columns_;
  dim_t tiles_, blocks_;
  int threads_;
  bool by_tiles_;  // threads share blocks of tiles, else the panels of each block
  dim_t v_row_, m_row_, v_step_, m_step_, v_bytes_, m_bytes_;
};

// Elements of a matrix of the n^2: an odd number of cache lines, so that the n^2 stores of a tile go
// to different sets of L1.
template <class T>
dim_t matrix_step(dim_t elements) {
  constexpr dim_t kLine = 64 / sizeof(T);
  return round_up(elements, kLine) | kLine;
}

WinogradBound::WinogradBound(std::shared_ptr<const PackedIntegerConv> owner,
                             const WinogradPacked& packed, const ConvShape& s, const View& x,
                             const View& y)
    : owner_(std::move(owner)),
      packed_(packed),
      shape_(s),
      staging_(x, y, nullptr, kNone, kNone),
      tile_rows_(axis_tiles(s, 1, packed.form().m, packed.form().n)),
      tile_columns_(axis_tiles(s, 2, packed.form().m, packed.form().n)),
      threads_(get_num_threads()) {
  constexpr dim_t kLine = 64 / sizeof(int16_t);
  const dim_t n2 = packed.form().n * packed.form().n, mr = packed.panel_kernels(0).mr;
  tiles_ = s.n * static_cast<dim_t>(tile_rows_.size() * tile_columns_.size());
  v_row_ = round_up(s.ic, kLine) + kLine;  // rows of a power of two would share a few sets of L1
  m_row_ = std::max(packed.width(0), packed.width(packed.panels() - 1));
  // V and M of a block in half of L2, but at least four register tiles of rows: each block reads all
  // of U, of which a row is 4 bytes for every two products of a tile's row.
  const dim_t per_tile = n2 * (v_row_ * dim_t{sizeof(int16_t)} + m_row_ * dim_t{sizeof(int32_t)});
  const dim_t rows = std::max(4 * mr, caches().l2 / 2 / per_tile / mr * mr);
  by_tiles_ = threads_ == 1 || tiles_ >= 2 * mr * threads_;
  blocks_ = ceil_div(tiles_, rows);
  if (by_tiles_) blocks_ = std::min(tiles_, round_up(blocks_, threads_));
  const dim_t block = ceil_div(tiles_, std::max<dim_t>(1, blocks_));
  v_step_ = matrix_step<int16_t>(block * v_row_);
  m_step_ = matrix_step<int32_t>(block * m_row_);
  v_bytes_ = n2 * v_step_ * dim_t{sizeof(int16_t)};
  m_bytes_ = n2 * m_step_ * dim_t{sizeof(int32_t)};
}

void WinogradBound::run(const IntegerConvRun& r) const noexcept {
  const auto at = staging_.before<uint8_t, std::byte>(r.x, nullptr, r.y, r.workspace);
  std::byte* const scratch = r.workspace + staging_.workspace();
  IntegerFinish finish = r.finish;
  finish.bias = r.centred_bias;
  const int threads = std::min(threads_, get_num_threads());
  const int blocks = static_cast<int>(blocks_);
  if (by_tiles_) {
    parallel_run(threads, [&](int tid) {
      std::byte* const mine_at = scratch + tid * (v_bytes_ + m_bytes_);
      int16_t* const v = reinterpret_cast<int16_t*>(mine_at);
      int32_t* const m = reinterpret_cast<int32_t*>(mine_at + v_bytes_);
      const Range mine = partition(blocks_, threads, tid);
      for (dim_t block = mine.begin; block < mine.end; ++block) {
        if (block > mine.begin && interrupted()) return;
        const Range tiles = partition(tiles_, blocks, static_cast<int>(block));
        transform(tiles, tiles.begin, at.x, r.zero, v);
        multiply({0, packed_.panels()}, tiles, v, m, finish, at.y);
      }
    });
  } else {
    int16_t* const v = reinterpret_cast<int16_t*>(scratch);
    for (dim_t block = 0; block < blocks_; ++block) {
      if (block > 0 && interrupted()) return;
      const Range tiles = partition(tiles_, blocks, static_cast<int>(block));
      parallel_run(threads, [&](int tid) {
        const Range mine = partition(tiles.end - tiles.begin, threads, tid);
        transform({tiles.begin + mine.begin, tiles.begin + mine.end}, tiles.begin, at.x, r.zero, v);
      });
      parallel_run(threads, [&](int tid) {
        int32_t* const m = reinterpret_cast<int32_t*>(scratch + v_bytes_ + tid * m_bytes_);
        multiply(partition(packed_.panels(), threads, tid), tiles, v, m, finish, at.y);
      });
    }
  }
  staging_.after(at, r.y);
}

void WinogradBound::transform(Range tiles, dim_t first, const uint8_t* x, int32_t zero,
                              int16_t* v) const noexcept {
  const dim_t rows = static_cast<dim_t>(tile_rows_.size()),
              columns = static_cast<dim_t>(tile_columns_.size());
  const Image& image = staging_.x();
  IntegerWinogradInput w = {};
  w.row_step = image.stride[1];
  w.col_step = image.stride[2];
  w.channels = shape_.ic;
  w.zero = zero;
  w.v_step = v_step_;
  for (dim_t t = tiles.begin; t < tiles.end; ++t) {
    const AxisTile &row = tile_rows_[static_cast<size_t>(t / columns % rows)],
                   &column = tile_columns_[static_cast<size_t>(t % columns)];
    w.x = x + t / columns / rows * image.n_stride + row.in * w.row_step + column.in * w.col_step;
    w.row_begin = row.begin;
    w.row_end = row.end;
    w.col_begin = column.begin;
    w.col_end = column.end;
    w.v = v + (t - first) * v_row_;
    packed_.form().input(w);
  }
}

void WinogradBound::multiply(Range panels, Range tiles, const int16_t* v, int32_t* m,
                             const IntegerFinish& finish, std::byte* y) const noexcept {
  const IntegerWinogradForm& form = packed_.form();
  const Image& image = staging_.y();
  const dim_t count = tiles.end - tiles.begin, words = packed_.pairs();
  const dim_t rows = static_cast<dim_t>(tile_rows_.size()),
              columns = static_cast<dim_t>(tile_columns_.size());
  const dim_t bytes = store_bytes(finish.type);

  IntegerTile product = {};
  product.lda = v_row_ * dim_t{sizeof(int16_t)};
  product.tap_offset = &kZeroTap;
  product.taps = 1;
  product.K = words * kPairBytes;
  product.ldc = m_row_;
  IntegerWinogradOutput out = {};
  out.m_step = m_step_;
  out.row_step = image.stride[1];
  out.col_step = image.stride[2];
  for (dim_t p = panels.begin; p < panels.end; ++p) {
    const int width = packed_.width(p);
    const IntegerPanel& kernels = packed_.panel_kernels(p);
    const char* u = packed_.panel(p);
    for (int xi = 0; xi < form.n * form.n; ++xi) {
      const char* const next = u + words * width * kPairBytes;
      product.b = u;
      product.a = reinterpret_cast<const uint8_t*>(v + xi * v_step_);
      product.c = m + xi * m_step_;
      run_rows(kernels, product, count, {words, width * kPairBytes, next});
      u = next;
    }
    const dim_t channel = p * packed_.kernels().nr;
    out.channels = std::min<dim_t>(width, packed_.oc() - channel);
    out.finish = from_column(finish, channel);
    for (dim_t t = tiles.begin; t < tiles.end; ++t) {
      const AxisTile &row = tile_rows_[static_cast<size_t>(t / columns % rows)],
                     &column = tile_columns_[static_cast<size_t>(t % columns)];
      out.m = m + (t - tiles.begin) * m_row_;
      out.y = y + (t / columns / rows * image.n_stride + row.out * out.row_step +
                   column.out * out.col_step + channel) *
                      bytes;
      out.rows = row.count;
      out.cols = column.count;
      form.output(out);
    }
  }
}

std::unique_ptr<const BoundIntegerConv> WinogradPacked::bind(const ConvShape& s, const View& x,
                                                             const View& y) const {
  return std::make_unique<WinogradBound>(shared_from_this(), *this, s, x, y);
}

// Estimates of the time for one image in cycles, from measurements on Zen 3 (avx2); those of the
// other tiers follow from what their instructions can do.
//   products  of the direct method 3.5 W a cycle, 7 W where one instruction sums four, 30 W in tile
//             registers (half of what these can do); of pairs 2.8 W, or 3.5 W
//   weights   8 bytes a cycle, or 4 where they are more than a layer may expect of a last-level
//             cache: the slower of products and weights counts
//   rest      9 cycles a pixel and vector of the direct method's sums, 4.2 a row of a small product;
//             a transform 4.7 n^2 a double vector of input channels, 4.2 n^2 a vector of output
//             channels
double product_cycles(double products, double a_cycle, double weight_bytes) {
  return std::max(products / a_cycle, weight_bytes / (weight_bytes > 16e6 ? 4 : 8));
}
double direct_cycles(const ConvShape& s, const KernelTable& table) {
  const double lanes = table.lanes, k = static_cast<double>(kTaps * s.ic),
               vectors = static_cast<double>(ceil_div(s.oc, table.lanes)),
               pixels = static_cast<double>(s.out_pixels());
  const double rate = has_tiles(table.integer) ? 30 : table.integer.saturates ? 3.5 : 7;
  return product_cycles(pixels * k * vectors * lanes, rate * lanes, k * static_cast<double>(s.oc)) +
         9 * pixels * vectors;
}
double winograd_cycles(const ConvShape& s, const IntegerWinogradForm& f, const KernelTable& table) {
  const double lanes = table.lanes, n2 = f.n * f.n, ic = static_cast<double>(round_up(s.ic, kPair)),
               in_vectors = static_cast<double>(ceil_div(s.ic, 2 * table.lanes)),
               out_vectors = static_cast<double>(ceil_div(s.oc, table.lanes));
  const double rate = table.integer.saturates ? 2.8 : 3.5;
  const double tiles = count_axis_tiles(s, 1, f.m) * count_axis_tiles(s, 2, f.m);
  return product_cycles(tiles * n2 * ic * out_vectors * lanes, rate * lanes,
                        n2 * ic * static_cast<double>(s.oc) * sizeof(int16_t)) +
         tiles * n2 * (4.7 * in_vectors + (4.2 + 4.2) * out_vectors);
}

// Five percent at least, for U takes 32 / 9 or 8 times the memory of the weights.
template <int M>
bool pays(const ConvShape& s, const KernelTable& table) {
  const double mine = winograd_cycles(s, form_of<M>(table), table);
  const bool other_is_better = M == 4 && winograd_cycles(s, form_of<2>(table), table) < mine;
  return mine < 0.95 * direct_cycles(s, table) && !other_is_better;
}

// The largest sum of (x - zero) w over a window that bytes x can make, of either sign: all 255 where
// w is of that sign, all 0 elsewhere. With a zero point that only a run tells, of all of them.
int64_t largest_sum(const int8_t* w, dim_t count, int zero) {
  int64_t positive = 0, negative = 0;
  for (dim_t i = 0; i < count; ++i) (w[i] > 0 ? positive : negative) += w[i];
  negative = -negative;
  if (zero < 0) return 255 * std::max(positive, negative);
  return std::max((255 - zero) * positive + zero * negative,
                  (255 - zero) * negative + zero * positive);
}

template <int M>
std::string reject(const IntegerConvSpec& spec) {
  const ConvParams& p = spec.params;
  if (p.transposed) return "transposed";
  if (p.spatial != 2 || p.kernel[1] != 3 || p.kernel[2] != 3)
    return message("no transform for a kernel of ", p.kernel[0], "x", p.kernel[1], "x",
                   p.kernel[2]);
  if (p.stride[1] != 1 || p.stride[2] != 1) return "stride is not 1";
  if (p.dilation[1] != 1 || p.dilation[2] != 1) return "dilation is not 1";
  if (p.groups != 1) return "groups";
  if (spec.w_zero) return "weights have zero points";
  const int64_t limit = int64_t{1} << (31 - form_of<M>(spec.kernels).shift);
  const dim_t depth = kTaps * p.ic;
  for (dim_t o = 0; o < p.oc; ++o) {
    const int64_t sum = largest_sum(spec.w + o * depth, depth, spec.x_zero);
    if (sum >= limit)
      return message("F(", M, "x", M, ") is exact for sums below ", limit, "; those of channel ", o,
                     " may reach ", sum);
  }
  return "";
}

template <int M>
std::shared_ptr<const PackedIntegerConv> prepack(const IntegerConvSpec& spec) {
  return std::make_shared<WinogradPacked>(spec, form_of<M>(spec.kernels));
}

}  // namespace

extern const IntegerAlgo integer_winograd_f4, integer_winograd_f2;
const IntegerAlgo integer_winograd_f4 = {"winograd_f4", reject<4>, prepack<4>, pays<4>};
const IntegerAlgo integer_winograd_f2 = {"winograd_f2", reject<2>, prepack<2>, pays<2>};

}  // namespace fastconv
