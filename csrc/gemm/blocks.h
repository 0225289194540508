// L3 gemm: how a product of one or several groups is cut into blocks for the threads, whatever its B
// is (gemm/gemm.h: packed; gemm/sparse.h: without what is zero).
#pragma once
#include <algorithm>
#include <cstdlib>
#include <type_traits>

#include "core/epilogue.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "gemm/blocking.h"

namespace fastconv {

// For each group, with its own B and a_offset,
//   C[m, n] = act(... + sum over taps t, k of A[row(m) + tap_offset[t] + a_offset + k]
//                                            * B[t * k_run + k, n])
template <class Group>
struct GroupedProduct {
  dim_t M = 0;
  const dim_t* a_row = nullptr;  // [M], or null: m * lda
  dim_t lda = 0;
  const dim_t* tap_offset = nullptr;  // [taps]
  dim_t taps = 1;
  dim_t k_run = 0;               // contiguous numbers per tap; taps * k_run = K of every B
  const dim_t* c_row = nullptr;  // [M], or null: m * ldc; the residual has the same offsets
  dim_t ldc = 0;
  const Group* groups = nullptr;
  dim_t group_count = 0;
  float alpha = 1.0f, residual_scale = 1.0f;  // of GemmTile and its epilogue
  Activation activation;
  dim_t block_rows = 0;  // rows that every panel of B passes over together; 0: block_rows_of()
};

// Rows whose part of A fills half of L2: they stay there while every panel of B passes over them.
template <class Group>
dim_t block_rows_of(const GroupedProduct<Group>& p) noexcept {
  const dim_t mr = p.groups[0].b->kernels().mr, K = p.taps * p.k_run;
  // Overlapping windows share their numbers: consecutive rows of an image are one pixel step apart.
  const dim_t step = p.a_row ? (p.M > 1 ? std::abs(p.a_row[1] - p.a_row[0]) : K) : p.lda;
  const dim_t numbers = std::max<dim_t>(1, std::min(K, std::max<dim_t>(step, 1)));
  const dim_t bytes = sizeof(typename Group::Number);
  return std::max<dim_t>(1, caches().l2 / 2 / bytes / numbers / mr) * mr;
}

// block(group, rows, panels) for all of the product, partitioned over groups, rows and columns.
// `weights` are multiplied with each row of a group.
template <class Group, class Block>
void for_each_block(const GroupedProduct<Group>& p, dim_t weights, bool prefer_columns,
                    Block block) noexcept {
  const dim_t mr = p.groups[0].b->kernels().mr;  // groups have equal shapes
  const dim_t row_tiles = ceil_div(p.M, mr), panels = p.groups[0].b->panels();
  const dim_t tiles = row_tiles * panels * p.group_count;
  const dim_t worth = 1 + p.M * weights * p.group_count / kFmasWorthAThread;
  const int threads = static_cast<int>(std::min({dim_t{get_num_threads()}, tiles, worth}));
  const Cut cut = choose_cut(row_tiles, panels, ceil_div(threads, p.group_count), prefer_columns);
  const dim_t tasks = p.group_count * cut.rows * cut.cols;
  const dim_t together = p.block_rows ? p.block_rows : block_rows_of(p);
  parallel_run(threads, [&](int tid) {
    const Range mine = partition(tasks, threads, tid);
    bool first = true;
    for (dim_t task = mine.begin; task < mine.end; ++task) {
      const Group& group = p.groups[task / (cut.rows * cut.cols)];
      const Range rows = partition(row_tiles, static_cast<int>(cut.rows),
                                   static_cast<int>(task / cut.cols % cut.rows));
      const Range columns =
          partition(panels, static_cast<int>(cut.cols), static_cast<int>(task % cut.cols));
      const dim_t end = std::min(p.M, rows.end * mr);
      for (dim_t m = rows.begin * mr; m < end; m += together) {
        if (!first && interrupted()) return;
        first = false;
        block(group, Range{m, std::min(end, m + together)}, columns);
      }
    }
  });
}

// What a tile has of a product besides its B: rows from m on, and `width` columns from n on of a
// group's; a, residual and c, of f32 or of bf16, are the product's.
template <class Tile, class Group, class C>
void place_tile(Tile& t, const GroupedProduct<Group>& p, const Group& g,
                const typename Group::Number* a, const float* residual, C* c, dim_t m, dim_t n,
                int width) noexcept {
  t.a = a + g.a_offset + (p.a_row ? 0 : m * p.lda);
  t.a_row = p.a_row ? p.a_row + m : nullptr;
  t.lda = p.lda;
  t.tap_offset = p.tap_offset;
  t.taps = p.taps;
  t.K = p.k_run;
  const dim_t start = g.c_offset + n + (p.c_row ? 0 : m * p.ldc);
  if constexpr (std::is_same_v<C, float>) {
    t.c = c + start;
  } else {
    t.c = nullptr;
    t.rounded = c + start;
  }
  t.c_row = p.c_row ? p.c_row + m : nullptr;
  t.ldc = t.epilogue.ldr = p.ldc;
  t.n_cur = static_cast<int>(std::min<dim_t>(width, g.b->N() - n));
  t.alpha = p.alpha;
  t.accumulate = false;
  t.epilogue.bias = g.bias ? g.bias + n : nullptr;
  t.epilogue.residual = residual ? residual + start : nullptr;
  t.epilogue.residual_scale = p.residual_scale;
  t.epilogue.activation = p.activation;
}

}  // namespace fastconv
