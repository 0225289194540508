// L3 gemm: the macro-kernel of integer products, and matrices with zero points. Called by
// bindings/bind_qgemm.cpp. Calls the tiles of the tier that B was packed for.
#include "gemm/integer.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "gemm/blocking.h"
#include "kernels/dispatch.h"

namespace fastconv {
namespace {

constexpr dim_t kZeroTap = 0;
// Below that many multiply-adds a thread costs more than it brings.
constexpr dim_t kWorthAThread = 40000;

// Rows of A for the tiles, counted from the block's first; offsets are null where rows lie lda
// apart. `ordered` has room for as many rows, of those that b wants in an order of its own.
struct BlockOfA {
  const uint8_t* a;
  const dim_t* a_row;
  dim_t lda;
  uint8_t* ordered = nullptr;
};

// Whether IntegerKernels::in_turns can store it.
bool suits_turns(const IntegerFinish& f) noexcept {
  if (f.terms || f.type == StoreAs::f32) return false;
  return f.type == StoreAs::s32 || (f.fits && !f.shift);
}

// Rows [m0, m1) of C and panels [p0, p1): panels outside, so that one is read again from L1 or L2
// by every row tile.
void multiply_block(const IntegerProduct& p, const BlockOfA& block, void* c, dim_t m0, dim_t m1,
                    dim_t p0, dim_t p1) {
  const PackedWords& b = *p.b;
  const dim_t bytes = store_bytes(p.finish.type);
  IntegerTile t;
  t.lda = block.lda;
  t.tap_offset = b.one_run() ? &kZeroTap : p.tap_offset;
  t.taps = b.one_run() ? 1 : b.taps();
  t.K = b.run_bytes();
  t.ldc = p.ldc;
  const bool in_turns = b.in_turns() && suits_turns(p.finish);
  for (dim_t panel = p0; panel < p1; ++panel) {
    const dim_t n0 = panel * b.kernels().nr;
    const int width = b.width(panel);
    t.a = block.a;
    t.a_row = block.a_row;
    t.b = b.panel(panel);
    t.excess = b.excess(panel);
    t.n_cur = static_cast<int>(std::min<dim_t>(width, b.N() - n0));
    t.c = static_cast<char*>(c) + (n0 + (p.c_row ? 0 : m0 * p.ldc)) * bytes;
    t.c_row = p.c_row ? p.c_row + m0 : nullptr;
    t.finish = from_column(p.finish, n0);
    for (int i = 0; i < t.finish.terms; ++i)
      t.finish.term[i].row += m0, t.finish.term[i].column += n0;

    const bool whole = t.n_cur == b.kernels().nr;
    const IntegerPanel& tiles = in_turns && whole ? b.kernels().in_turns : b.panel_kernels(width);
    run_rows(
        tiles, t, m1 - m0,
        {b.words(), b.row_bytes(width), panel + 1 < b.panels() ? b.panel(panel + 1) : nullptr});
  }
}

// The same, of rows that are put in the order that the panels want.
void multiply_ordered(const IntegerProduct& p, const BlockOfA& block, void* c, dim_t m0, dim_t m1,
                      dim_t p0, dim_t p1) {
  const PackedWords& b = *p.b;
  const dim_t step = b.copied_row_bytes(), together = std::max<dim_t>(1, caches().l1d / 4 / step);
  for (dim_t panel = p0, end; panel < p1; panel = end) {
    end = std::min(p1, (panel / b.panels_of_order() + 1) * b.panels_of_order());
    for (dim_t m = 0; m < m1 - m0; m += together)
      b.kernels().permute_rows(block.a + m * block.lda, block.lda, std::min(together, m1 - m0 - m),
                               b.K(), b.order_of_panel(panel), block.ordered + m * step, step);
    multiply_block(p, {block.ordered, nullptr, step}, c, m0, m1, panel, end);
  }
}

// Rows whose parts of A and C fill half of a cache: they stay there while every panel passes over
// them. Where the panels leave room, copied rows stay in L1, which they have just been written to;
// in place, more rows in a call are worth more than L1.
enum class RowsOfA { in_place, copied };
dim_t rows_in_cache(const PackedWords& b, RowsOfA rows, dim_t row_bytes,
                    dim_t result_bytes) noexcept {
  const bool in_l1 = rows == RowsOfA::copied && b.bytes() <= caches().l1d / 2;
  const dim_t cache = in_l1 ? caches().l1d : caches().l2;
  const dim_t mr = b.tile_rows(), bytes = std::max<dim_t>(1, row_bytes + b.N() * result_bytes);
  return std::max<dim_t>(1, cache / 2 / bytes / mr) * mr;
}

// How the product is shared among threads, and in what blocks of rows.
struct Plan {
  int threads;
  Cut cut;
  dim_t row_tiles, panels, block_rows;
};
Plan plan(const IntegerProduct& p, RowsOfA rows, dim_t row_bytes) noexcept {
  const PackedWords& b = *p.b;
  Plan plan;
  plan.row_tiles = ceil_div(p.M, b.tile_rows());
  plan.panels = b.panels();
  const dim_t worth = 1 + p.M * b.N() * b.K() / kWorthAThread;
  const int most = p.threads ? std::min(p.threads, get_num_threads()) : get_num_threads();
  const int parts = static_cast<int>(std::min({dim_t{most}, plan.row_tiles * plan.panels, worth}));
  const bool prefer_columns = b.K() * b.N() > p.M * row_bytes;
  plan.cut = choose_cut(plan.row_tiles, plan.panels, parts, prefer_columns);
  plan.threads = static_cast<int>(plan.cut.rows * plan.cut.cols);
  plan.block_rows = rows_in_cache(b, rows, row_bytes, store_bytes(p.finish.type));
  return plan;
}

// take(share, m0, rows) gives the rows of A.
template <class Take>
void multiply_shares(const IntegerProduct& p, const Plan& plan, void* c, Take take) {
  const int mr = p.b->tile_rows();
  parallel_run(plan.threads, [&](int share) {
    const Range rows = partition(plan.row_tiles, static_cast<int>(plan.cut.rows),
                                 static_cast<int>(share / plan.cut.cols));
    const Range cols = partition(plan.panels, static_cast<int>(plan.cut.cols),
                                 static_cast<int>(share % plan.cut.cols));
    const dim_t first = rows.begin * mr, end = std::min(p.M, rows.end * mr);
    for (dim_t m = first; m < end; m += plan.block_rows) {
      if (m > first && interrupted()) return;
      const dim_t stop = std::min(end, m + plan.block_rows);
      const BlockOfA block = take(share, m, stop - m);
      const auto multiply = block.ordered ? multiply_ordered : multiply_block;
      multiply(p, block, c, m, stop, cols.begin, cols.end);
    }
  });
}

// Rows that were copied, in `bytes` of scratch.
BlockOfA copied_block(const PackedWords& b, std::byte* scratch, dim_t bytes) {
  uint8_t* const rows = reinterpret_cast<uint8_t*>(scratch);
  return {rows, nullptr, b.copied_row_bytes(), b.ordered() ? rows + bytes / 2 : nullptr};
}

// A row of A of b's runs, as numbers of u8, or of s16 where b is wide: then the last pair has a
// partner.
void copy_runs(const PackedWords& b, const uint8_t* row, const dim_t* run, std::byte* to) {
  const auto copy = b.wide() ? b.kernels().widen_runs : b.kernels().copy_runs;
  copy(row, run, b.taps(), b.k_run(), to);
  if (b.wide() && b.K() % 2) std::memset(to + b.K() * 2, 0, 2);
}

// dst[k] = a[m, k] as a number of u8: one of s8 is 128 less.
void copy_row(const ByteMatrix& a, dim_t m, uint8_t* dst) {
  const uint8_t flip = a.is_signed ? 0x80 : 0;
  const uint8_t* const from = a.data + m * a.row_step;
  const dim_t columns = a.columns, step = a.column_step;  // which dst might be
  if (step != 1)
    for (dim_t k = 0; k < columns; ++k) dst[k] = from[k * step] ^ flip;
  else if (flip)
    for (dim_t k = 0; k < columns; ++k) dst[k] = from[k] ^ flip;
  else
    std::memcpy(dst, from, static_cast<size_t>(columns));
}
// Rows of A as b reads them, `step` bytes apart. The same bytes are first where the numbers' own
// second halves come to lie.
void copy_rows(const ByteMatrix& a, const PackedWords& b, dim_t m0, dim_t rows, std::byte* to,
               dim_t step) {
  const dim_t K = a.columns;
  for (dim_t m = m0; m < m0 + rows; ++m, to += step) {
    if (!b.wide()) {
      copy_row(a, m, reinterpret_cast<uint8_t*>(to));
      continue;
    }
    const uint8_t* bytes = a.data + m * a.row_step;
    if (a.is_signed || a.column_step != 1) {
      uint8_t* const end = reinterpret_cast<uint8_t*>(to + step) - K;
      copy_row(a, m, end);
      bytes = end;
    }
    copy_runs(b, bytes, &kZeroTap, to);
  }
}

// Of a copied block.
dim_t bytes_of_block(dim_t M, const PackedWords& b, dim_t result_bytes) noexcept {
  const dim_t row = b.scratch_row_bytes();
  return std::min(M, rows_in_cache(b, RowsOfA::copied, row, result_bytes)) * row;
}

// Scratch of the calling thread, which stays, as in gemm.cpp.
Buffer<std::byte>& workspace() {
  static thread_local Buffer<std::byte> buffer;
  return buffer;
}

}  // namespace

dim_t copies_bytes(dim_t M, const PackedWords& b, dim_t result_bytes, int threads) noexcept {
  return b.one_run() ? threads * bytes_of_block(M, b, result_bytes) : 0;
}

void multiply(const IntegerProduct& p, const uint8_t* a, void* c) noexcept {
  if (p.M == 0 || p.b->N() == 0) return;
  const bool runs_in_place = !p.a_row && p.b->taps() == 1 && p.b->reads_runs_in_place();
  if (p.b->one_run() && (!runs_in_place || p.b->ordered())) {
    const dim_t step = p.b->copied_row_bytes(),
                own = bytes_of_block(p.M, *p.b, store_bytes(p.finish.type));
    const Plan shares = plan(p, RowsOfA::copied, p.b->scratch_row_bytes());
    return multiply_shares(p, shares, c, [&](int share, dim_t m0, dim_t rows) {
      std::byte* const to = p.copies + share * own;
      if (runs_in_place)
        return BlockOfA{a + m0 * p.lda, nullptr, p.lda, reinterpret_cast<uint8_t*>(to)};
      for (dim_t m = 0; m < rows; ++m)
        copy_runs(*p.b, a + (p.a_row ? p.a_row[m0 + m] : (m0 + m) * p.lda), p.tap_offset,
                  to + m * step);
      return copied_block(*p.b, to, own);
    });
  }
  // Overlapping windows share their bytes: consecutive rows of an image are one pixel step apart.
  const dim_t K = p.b->K();
  const dim_t step = p.a_row ? (p.M > 1 ? std::abs(p.a_row[1] - p.a_row[0]) : K) : p.lda;
  const dim_t row_bytes = std::min(K, std::max<dim_t>(std::abs(step), 1));
  multiply_shares(p, plan(p, RowsOfA::in_place, row_bytes), c, [&](int, dim_t m0, dim_t) {
    return p.a_row ? BlockOfA{a, p.a_row + m0, 0} : BlockOfA{a + m0 * p.lda, nullptr, p.lda};
  });
}

PackedIntegers::PackedIntegers(const ByteMatrix& b, const int32_t* zero, dim_t zeros)
    : words_(kernels().integer, 1, b) {
  const auto n = static_cast<size_t>(round_up(N(), kernels().integer.nr));
  zero_.resize(n);
  sums_.resize(n);
  bool any = false;
  for (dim_t j = 0; j < N(); ++j) {
    const auto i = static_cast<size_t>(j);
    zero_[i] = zero[zeros == 1 ? 0 : j] - (b.is_signed ? 0 : 128);
    any = any || zero_[i] != 0;
    sums_[i] = less_product(words_.column_sums()[j], static_cast<int32_t>(K()), zero_[i]);
  }
  if (!any) zero_.clear();
}

void qgemm(const ByteMatrix& a, const int32_t* a_zero, dim_t a_zeros, const PackedIntegers& b,
           const QgemmResult& result) {
  const dim_t M = a.rows, N = b.N(), K = b.K();
  if (M == 0 || N == 0) return;
  IntegerProduct p;
  p.M = M;
  p.lda = a.row_step;
  p.tap_offset = &kZeroTap;
  p.b = &b.words();
  p.ldc = result.row_step;
  p.finish.type = result.type;
  set_limits(p.finish, result.low, result.high);
  p.finish.zero = result.zero;
  p.finish.fits = fits(result.scale, result.shift, N);

  // (a - za) (b - zb) = a b - za (b - zb) - a zb, each summed over k; a as it is read, which for s8
  // is 128 more, and so is za.
  const int32_t shift = a.is_signed ? 128 : 0;
  const auto columns = static_cast<size_t>(round_up(N, b.words().kernels().nr));
  std::vector<int32_t> bias(columns), minus_sums, minus_zero, row_zero, row_sums;
  std::vector<float> scale(result.scale ? columns : 0), addend(result.shift ? columns : 0);
  if (result.scale) std::copy_n(result.scale, N, scale.begin());
  if (result.shift) std::copy_n(result.shift, N, addend.begin());
  for (dim_t n = 0; n < N; ++n) {
    const int32_t zero = a_zeros == 1 ? a_zero[0] + shift : 0;
    bias[static_cast<size_t>(n)] =
        less_product(result.bias ? result.bias[n] : 0, zero, b.sums()[n]);
  }
  p.finish.bias = bias.data();
  p.finish.scale = result.scale ? scale.data() : nullptr;
  p.finish.shift = result.shift ? addend.data() : nullptr;
  const auto negative = [&](const int32_t* values) {
    std::vector<int32_t> result(columns);
    for (dim_t n = 0; n < N; ++n)
      result[static_cast<size_t>(n)] = static_cast<int32_t>(-static_cast<uint32_t>(values[n]));
    return result;
  };
  if (a_zeros != 1) {
    row_zero.resize(static_cast<size_t>(M));
    for (dim_t m = 0; m < M; ++m) row_zero[static_cast<size_t>(m)] = a_zero[m] + shift;
    minus_sums = negative(b.sums());
    p.finish.term[p.finish.terms++] = {row_zero.data(), minus_sums.data()};
  }
  if (b.zero()) {
    row_sums.resize(static_cast<size_t>(M));
    const uint8_t flip = a.is_signed ? 0x80 : 0;
    parallel_for(M, ceil_div(kWorthAThread, std::max<dim_t>(1, K)), [&](dim_t begin, dim_t end) {
      for (dim_t m = begin; m < end; ++m) {
        const uint8_t* const row = a.data + m * a.row_step;
        uint32_t sum = 0;
        if (a.column_step == 1)
          for (dim_t k = 0; k < K; ++k) sum += static_cast<uint8_t>(row[k] ^ flip);
        else
          for (dim_t k = 0; k < K; ++k) sum += static_cast<uint8_t>(row[k * a.column_step] ^ flip);
        row_sums[static_cast<size_t>(m)] = static_cast<int32_t>(sum);
      }
    });
    minus_zero = negative(b.zero());
    p.finish.term[p.finish.terms++] = {row_sums.data(), minus_zero.data()};
  }

  const bool ordered = b.words().ordered();
  const bool in_place = b.words().reads_runs_in_place() && !a.is_signed &&
                        (a.column_step == 1 || K <= 1) &&
                        (ordered || !bytes_alias(b.words().tile_rows(), a.row_step));
  if (in_place && !ordered) {
    const Plan shares = plan(p, RowsOfA::in_place, K);
    return multiply_shares(p, shares, result.data, [&](int, dim_t m0, dim_t) {
      return BlockOfA{a.data + m0 * a.row_step, nullptr, a.row_step};
    });
  }
  // Copied a block at a time, each share's own.
  const dim_t step = b.words().copied_row_bytes();
  const Plan shares = plan(p, RowsOfA::copied, b.words().scratch_row_bytes());
  const dim_t own = bytes_of_block(M, b.words(), store_bytes(result.type));
  Buffer<std::byte>& copies = workspace();
  copies.reserve(shares.threads * own);
  std::byte* const scratch = copies.data();
  multiply_shares(p, shares, result.data, [&](int share, dim_t m0, dim_t rows) {
    std::byte* const to = scratch + share * own;
    if (in_place)
      return BlockOfA{a.data + m0 * a.row_step, nullptr, a.row_step,
                      reinterpret_cast<uint8_t*>(to)};
    copy_rows(a, b.words(), m0, rows, to, step);
    return copied_block(b.words(), to, own);
  });
}

}  // namespace fastconv
