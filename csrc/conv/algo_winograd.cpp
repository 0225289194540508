// L4 conv: Winograd convolution, F(4x4, 3x3), F(2x2, 3x3) and F(2x2, 5x5), for stride 1 and any
// dilation, padding and grouping. Tiles of the input are transformed into n^2 matrices V (tiles x
// channels), each is multiplied by the transformed weights U on the register tile of gemm/, and the
// products are transformed back with the epilogue: 36 / 144, 16 / 36 and 36 / 100 of the direct
// method's multiplications. Calls kernels/winograd_f32.inl.h. Start reading at WinogradBound::run.
//
// Blocks of tiles are sized so that V and one panel's products M stay in L2 while U streams by, and
// so that U (n^2 / r^2 times the weights) is read as few times as possible. The slice of U after
// the one in use is prefetched.
//
// Error: F(2x2, 3x3) is as exact as the direct sum; F(4x4, 3x3) has a relative RMS error of about
// 2e-6 (tests/conv/test_winograd.py), which precision="exact" refuses. Weights are transformed in
// double.
#include <algorithm>

#include "conv/algo.h"
#include "conv/axis_tiles.h"
#include "conv/cost.h"
#include "conv/stage.h"
#include "core/buffer.h"
#include "core/check.h"
#include "core/cpu.h"
#include "core/division.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "gemm/gemm.h"

namespace fastconv {
namespace {

constexpr dim_t kNone[kMaxSpatial] = {};
constexpr dim_t kZeroTap = 0;

class WinogradPacked final : public PackedConv {
 public:
  WinogradPacked(const ConvSpec& spec, const WinogradForm& form);
  std::unique_ptr<const BoundConv> bind(const ConvShape& s, const View& x, const View& y,
                                        const View* residual,
                                        const std::vector<dim_t>& blocks) const override;
  dim_t bytes() const noexcept override {
    dim_t total = bias_.bytes();
    for (const PackedB& u : groups_) total += u.bytes();
    return total;
  }
  std::vector<PackedArray> arrays() const override {
    std::vector<PackedArray> found;
    for (const PackedB& u : groups_) found.push_back(u.data());
    return found;
  }
  std::string tile() const override {
    return message("F(", form_.m, "x", form_.m, ") ", group(0).tile());
  }
  const PackedB& group(dim_t g) const { return groups_[static_cast<size_t>(g)]; }
  const WinogradForm& form() const { return form_; }
  const float* bias() const { return bias_.size() ? bias_.data() : nullptr; }
  const Activation& activation() const { return activation_; }

 private:
  const KernelTable& kernels_;
  const WinogradForm& form_;
  Activation activation_;
  Buffer<float> bias_;
  std::vector<PackedB> groups_;  // U: K = n^2 * ic, the n^2 matrices one below the other
};

// U of the filters w [oc][ic][r][r].
void transform_weights(const WinogradForm& form, const float* w, dim_t ic, dim_t oc, dim_t r,
                       PackedB& u) {
  const int threads = static_cast<int>(std::min<dim_t>(get_num_threads(), u.panels()));
  parallel_run(threads, [&](int tid) {
    const Range mine = partition(u.panels(), threads, tid);
    for (dim_t index = mine.begin; index < mine.end; ++index) {
      const dim_t first = index * u.kernels().nr, width = u.width(index);
      for (dim_t i = 0; i < ic; ++i)
        for (dim_t o = 0; o < width; o += kWinogradFilters) {
          const dim_t columns = std::min<dim_t>(kWinogradFilters, width - o),
                      filters = std::clamp<dim_t>(oc - first - o, 0, columns);
          form.weights(w + ((first + o) * ic + i) * r * r, ic * r * r, static_cast<int>(filters),
                       u.panel(index) + i * width + o, ic * width, static_cast<int>(columns));
        }
    }
  });
}

WinogradPacked::WinogradPacked(const ConvSpec& spec, const WinogradForm& form)
    : kernels_(spec.kernels), form_(form), activation_(spec.activation) {
  const ConvParams& p = spec.params;
  const dim_t ic = p.ic / p.groups, oc = p.oc / p.groups, r = p.kernel[2], K = form.n * form.n * ic;
  if (spec.bias) bias_ = Buffer<float>::copy_of(spec.bias, p.oc);
  for (dim_t group = 0; group < p.groups; ++group) {
    PackedB u(kernels_.gemm, K, oc, spec.source.take<float>(PackedB::floats(kernels_.gemm, K, oc)));
    if (!spec.source.filled())
      transform_weights(form, spec.w + group * oc * ic * r * r, ic, oc, r, u);
    groups_.push_back(std::move(u));
  }
}

class WinogradBound final : public BoundConv {
 public:
  WinogradBound(std::shared_ptr<const PackedConv> owner, const WinogradPacked& packed,
                const ConvShape& s, const View& x, const View& y, const View* residual,
                const std::vector<dim_t>& blocks);
  std::vector<BlockSize> blocks() const override {
    const dim_t mr = packed_.group(0).kernels().mr, most = round_up(tiles_, mr);
    return {{"tiles", std::min(rows_, most), mr, most}};
  }
  dim_t workspace() const noexcept override {
    const dim_t floats =
        by_tiles_ ? threads_ * (v_floats_ + m_floats_) : v_floats_ + threads_ * m_floats_;
    return staging_.workspace() + floats * static_cast<dim_t>(sizeof(float));
  }
  void run(const void* x, const float* residual, void* y,
           std::byte* workspace) const noexcept override;

 private:
  void transform(dim_t group, Range tiles, dim_t first, const float* x, float* v) const noexcept;
  void multiply(dim_t group, Range panels, Range tiles, const float* v, float* m,
                const Staging::Pointers<>& at) const noexcept;

  std::shared_ptr<const PackedConv> owner_;
  const WinogradPacked& packed_;
  ConvShape shape_;
  Staging staging_;
  std::vector<AxisTile> tile_rows_, tile_columns_;
  dim_t tiles_, rows_, blocks_;  // rows_: tiles of a block, at most
  int threads_;
  bool by_tiles_;  // threads share blocks of tiles, else the panels of each block
  dim_t v_row_, m_row_, v_step_, m_step_, v_floats_, m_floats_;
};

// Floats of a matrix of the n^2: an odd number of cache lines, so that the n^2 stores of a tile go
// to different sets of L1.
dim_t matrix_step(dim_t floats) { return round_up(floats, 16) | 16; }

WinogradBound::WinogradBound(std::shared_ptr<const PackedConv> owner, const WinogradPacked& packed,
                             const ConvShape& s, const View& x, const View& y, const View* residual,
                             const std::vector<dim_t>& blocks)
    : owner_(std::move(owner)),
      packed_(packed),
      shape_(s),
      staging_(x, y, residual, kNone, kNone),
      tile_rows_(axis_tiles(s, 1, packed.form().m, packed.form().n)),
      tile_columns_(axis_tiles(s, 2, packed.form().m, packed.form().n)),
      threads_(get_num_threads()) {
  const GemmKernels& g = packed.group(0).kernels();
  const dim_t n2 = packed.form().n * packed.form().n;
  tiles_ = s.n * s.out[0] * static_cast<dim_t>(tile_rows_.size() * tile_columns_.size());
  v_row_ = round_up(s.group_ic(), 16) + 16;  // rows of a power of two would share a few sets of L1
  m_row_ = widest_panel(g, s.group_oc());
  // V and M of a block in half of L2, for U and the images pass through the other half, but at
  // least two register tiles of rows: each block reads all of U, 4 bytes for every 2 * rows FLOPs.
  const dim_t per_tile = n2 * (v_row_ + m_row_) * static_cast<dim_t>(sizeof(float));
  const dim_t fit = caches().l2 / 2 / per_tile / g.mr * g.mr;
  rows_ = blocks.empty() ? std::max<dim_t>(2 * g.mr, fit) : blocks[0];
  by_tiles_ = threads_ == 1 || tiles_ * s.groups >= 2 * g.mr * threads_;
  blocks_ = ceil_div(tiles_, rows_);
  if (by_tiles_) blocks_ = std::min(tiles_, round_up(blocks_, threads_));
  const dim_t block = ceil_div(tiles_, std::max<dim_t>(1, blocks_));
  v_step_ = matrix_step(block * v_row_);
  m_step_ = matrix_step(block * m_row_);
  v_floats_ = n2 * v_step_;
  m_floats_ = n2 * m_step_;
}

void WinogradBound::run(const void* x, const float* residual, void* y,
                        std::byte* workspace) const noexcept {
  const Staging::Pointers<> at = staging_.before(x, residual, y, workspace);
  float* const scratch = reinterpret_cast<float*>(workspace + staging_.workspace());
  const int threads = std::min(threads_, get_num_threads());
  const int blocks = static_cast<int>(blocks_);
  if (by_tiles_) {
    parallel_run(threads, [&](int tid) {
      float* v = scratch + tid * (v_floats_ + m_floats_);
      const Range mine = partition(shape_.groups * blocks_, threads, tid);
      for (dim_t task = mine.begin; task < mine.end; ++task) {
        if (task > mine.begin && interrupted()) return;
        const dim_t group = task / blocks_;
        const Range tiles = partition(tiles_, blocks, static_cast<int>(task % blocks_));
        transform(group, tiles, tiles.begin, at.x, v);
        multiply(group, {0, packed_.group(group).panels()}, tiles, v, v + v_floats_, at);
      }
    });
  } else {
    for (dim_t task = 0; task < shape_.groups * blocks_; ++task) {
      if (task > 0 && interrupted()) return;
      const dim_t group = task / blocks_;
      const Range tiles = partition(tiles_, blocks, static_cast<int>(task % blocks_));
      parallel_run(threads, [&](int tid) {
        const Range mine = partition(tiles.end - tiles.begin, threads, tid);
        transform(group, {tiles.begin + mine.begin, tiles.begin + mine.end}, tiles.begin, at.x,
                  scratch);
      });
      parallel_run(threads, [&](int tid) {
        const Range panels = partition(packed_.group(group).panels(), threads, tid);
        multiply(group, panels, tiles, scratch, scratch + v_floats_ + tid * m_floats_, at);
      });
    }
  }
  staging_.after(at, y);
}

void WinogradBound::transform(dim_t group, Range tiles, dim_t first, const float* x,
                              float* v) const noexcept {
  const Image& image = staging_.x();
  const dim_t rows = static_cast<dim_t>(tile_rows_.size()),
              columns = static_cast<dim_t>(tile_columns_.size());
  WinogradInput w = {};
  w.row_step = shape_.dilation[1] * image.stride[1];
  w.col_step = shape_.dilation[2] * image.stride[2];
  w.channels = shape_.group_ic();
  w.v_step = v_step_;
  for (dim_t t = tiles.begin; t < tiles.end; ++t) {
    const AxisTile &row = tile_rows_[static_cast<size_t>(t / columns % rows)],
                   &column = tile_columns_[static_cast<size_t>(t % columns)];
    const dim_t slice = t / columns / rows, n = slice / shape_.out[0], d = slice % shape_.out[0];
    w.x = x + n * image.n_stride + d * image.stride[0] + row.in * image.stride[1] +
          column.in * image.stride[2] + group * w.channels;
    w.row_begin = row.begin;
    w.row_end = row.end;
    w.col_begin = column.begin;
    w.col_end = column.end;
    w.v = v + (t - first) * v_row_;
    packed_.form().input(w);
  }
}

void WinogradBound::multiply(dim_t group, Range panels, Range tiles, const float* v, float* m,
                             const Staging::Pointers<>& at) const noexcept {
  const PackedB& u = packed_.group(group);
  const GemmKernels& g = u.kernels();
  const WinogradForm& form = packed_.form();
  const Image& image = staging_.y();
  const dim_t ic = shape_.group_ic(), count = tiles.end - tiles.begin;
  const dim_t rows = static_cast<dim_t>(tile_rows_.size()),
              columns = static_cast<dim_t>(tile_columns_.size());

  GemmTile product = {};
  product.lda = v_row_;
  product.tap_offset = &kZeroTap;
  product.taps = 1;
  product.K = ic;
  product.ldc = m_row_;
  WinogradOutput out = {};
  out.m_step = m_step_;
  out.row_step = shape_.dilation[1] * image.stride[1];
  out.col_step = shape_.dilation[2] * image.stride[2];
  out.epilogue.activation = packed_.activation();
  for (dim_t p = panels.begin; p < panels.end; ++p) {
    const int width = u.width(p);
    product.ldb = product.n_cur = width;
    for (int xi = 0; xi < form.n * form.n; ++xi) {
      product.b = u.panel(p) + xi * ic * width;
      product.a = v + xi * v_step_;
      product.c = m + xi * m_step_;
      run_rows(g, width, product, count, product.b + ic * width);
    }
    const dim_t channel = group * shape_.group_oc() + p * g.nr;
    out.channels = std::min<dim_t>(width, u.N() - p * g.nr);
    out.epilogue.bias = packed_.bias() ? packed_.bias() + channel : nullptr;
    for (dim_t t = tiles.begin; t < tiles.end; ++t) {
      const AxisTile &row = tile_rows_[static_cast<size_t>(t / columns % rows)],
                     &column = tile_columns_[static_cast<size_t>(t % columns)];
      const dim_t slice = t / columns / rows, n = slice / shape_.out[0], d = slice % shape_.out[0];
      const dim_t offset = n * image.n_stride + d * image.stride[0] + row.out * image.stride[1] +
                           column.out * image.stride[2] + channel;
      out.m = m + (t - tiles.begin) * m_row_;
      out.y = at.y + offset;
      out.epilogue.residual = at.residual ? at.residual + offset : nullptr;
      out.rows = row.count;
      out.cols = column.count;
      form.output(out);
    }
  }
}

std::unique_ptr<const BoundConv> WinogradPacked::bind(const ConvShape& s, const View& x,
                                                      const View& y, const View* residual,
                                                      const std::vector<dim_t>& blocks) const {
  return std::make_unique<WinogradBound>(shared_from_this(), *this, s, x, y, residual, blocks);
}

// Five percent at least, for U takes n^2 / r^2 times the memory of the weights.
template <int M>
bool pays(const ConvParams&, const ConvShape& s, bool once, const KernelTable& table) {
  const auto cycles = [&](int m) {
    const WinogradForm& f = *winograd_form(table, m, s.kernel[2]);
    return winograd_cycles(s, f, table.lanes) + (once ? packing_cycles(s, f.n * f.n) : 0);
  };
  const double direct = direct_cycles(s, table.lanes) + (once ? packing_cycles(s, s.taps()) : 0);
  const bool other_is_better =
      M == 4 && winograd_form(table, 2, s.kernel[2]) && cycles(2) < cycles(4);
  return cycles(M) < 0.95 * direct && !other_is_better;
}

template <int M>
std::string reject(const ConvParams& p, const KernelTable& table) {
  return winograd_rejects(p, M, table);
}

template <int M>
std::shared_ptr<const PackedConv> prepack(const ConvSpec& spec) {
  return std::make_shared<WinogradPacked>(spec,
                                          *winograd_form(spec.kernels, M, spec.params.kernel[2]));
}

}  // namespace

extern const Algo algo_winograd_f4, algo_winograd_f2;
const Algo algo_winograd_f4 = {"winograd_f4", reject<4>, prepack<4>, pays<4>};
const Algo algo_winograd_f2 = {"winograd_f2", reject<2>, prepack<2>, pays<2>};

}  // namespace fastconv
