// L5 experiments: the steps of staircase.h. The first four are plain loops, compiled for the
// baseline processor like all of fastconv outside the kernels (4 lanes, no FMA on x86-64); the last
// three call the micro-kernel of kernels/product/tile.inl.h: of the ref tier, which is the same code
// in 4 lanes, and of the tier in use. Start reading at staircase().
#include "experiments/staircase.h"

#include <algorithm>
#include <cstring>

#include "core/buffer.h"
#include "core/cpu.h"
#include "gemm/gemm.h"
#include "kernels/dispatch.h"

namespace fastconv {
namespace {

// B's tile of the plain loops: 64 x 64 floats are 16 KiB, half of a 32 KiB L1.
constexpr dim_t kTile = 64;
constexpr dim_t kZeroTap = 0;

void clear(const DenseProduct& p, Range rows) {
  std::fill(p.c + rows.begin * p.N, p.c + rows.end * p.N, 0.0f);
}

// i j k: the definition. A column of B for each element of C, a cache line for each of its floats,
// and one sum, each addition waiting for the last.
void naive(const DenseProduct& p, Range rows) {
  for (dim_t i = rows.begin; i < rows.end; ++i)
    for (dim_t j = 0; j < p.N; ++j) {
      float sum = 0.0f;
      for (dim_t k = 0; k < p.K; ++k) sum += p.a[i * p.K + k] * p.b[k * p.N + j];
      p.c[i * p.N + j] = sum;
    }
}

// c[0, n) += a * b[0, n): contiguous and independent, so that the compiler makes vectors of it.
inline void add_scaled(dim_t n, float a, const float* __restrict b, float* __restrict c) {
  for (dim_t j = 0; j < n; ++j) c[j] += a * b[j];
}

// i k j: rows of B and C instead of columns.
void reordered(const DenseProduct& p, Range rows) {
  clear(p, rows);
  for (dim_t i = rows.begin; i < rows.end; ++i)
    for (dim_t k = 0; k < p.K; ++k) add_scaled(p.N, p.a[i * p.K + k], p.b + k * p.N, p.c + i * p.N);
}

// i k j in tiles of B that stay in L1 while all rows of A pass. Packed: the tile is copied first.
// Its rows, N floats apart in B, may fall on few sets of L1: with N = 512, 64 rows of 256 bytes
// fall on 8 of 64 sets, which hold 64 of their 256 lines.
template <bool Packed>
void tiled(const DenseProduct& p, Range rows) {
  alignas(kAlignment) float copy[kTile * kTile];
  clear(p, rows);
  for (dim_t j0 = 0; j0 < p.N; j0 += kTile)
    for (dim_t k0 = 0; k0 < p.K; k0 += kTile) {
      const dim_t n = std::min(kTile, p.N - j0), depth = std::min(kTile, p.K - k0);
      const float* b = p.b + k0 * p.N + j0;
      const dim_t ldb = Packed ? kTile : p.N;
      if (Packed) {
        for (dim_t k = 0; k < depth; ++k)
          std::memcpy(copy + k * kTile, b + k * p.N, static_cast<size_t>(n) * sizeof(float));
        b = copy;
      }
      for (dim_t i = rows.begin; i < rows.end; ++i)
        for (dim_t k = 0; k < depth; ++k)
          add_scaled(n, p.a[i * p.K + k0 + k], b + k * ldb, p.c + i * p.N + j0);
    }
}

// MR x NR sums in registers for all of a block of K: C is touched once a block and not once a step.
// The textbook's blocks, but N in one. Panels of B are read where they lie, or packed; one that is
// not whole always is, because the micro-kernel reads whole vectors.
void register_tiles(const KernelTable& table, bool packed, const DenseProduct& p, Range rows) {
  static thread_local Buffer<float> panels;
  const GemmKernels& g = table.gemm;
  const Blocking blocking = textbook_blocking(g);
  const dim_t count = panel_count(g, p.N), KC = std::min(blocking.KC, p.K);
  panels.reserve(KC * round_up(p.N, g.nr / 2));

  GemmTile t{};
  t.tap_offset = &kZeroTap;
  t.taps = 1;
  t.lda = p.K;
  t.ldc = p.N;
  for (dim_t k0 = 0; k0 < p.K; k0 += KC) {
    const dim_t depth = std::min(KC, p.K - k0);
    const auto columns = [&](dim_t jr) {
      return static_cast<int>(std::min<dim_t>(panel_width(g, p.N, jr), p.N - jr * g.nr));
    };
    const auto in_place = [&](dim_t jr) {
      return !packed && columns(jr) == panel_width(g, p.N, jr);
    };
    for (dim_t jr = 0; jr < count; ++jr)
      if (!in_place(jr))
        pack_panel(depth, p.b + k0 * p.N + jr * g.nr, p.N, 1, columns(jr), panel_width(g, p.N, jr),
                   panels.data() + jr * KC * g.nr);
    t.K = depth;
    t.accumulate = k0 > 0;
    for (dim_t ic = rows.begin; ic < rows.end; ic += blocking.MC)
      for (dim_t jr = 0; jr < count; ++jr) {
        const int width = panel_width(g, p.N, jr);
        t.b = in_place(jr) ? p.b + k0 * p.N + jr * g.nr : panels.data() + jr * KC * g.nr;
        t.ldb = in_place(jr) ? p.N : width;
        t.n_cur = columns(jr);
        t.a = p.a + ic * p.K + k0;
        t.c = p.c + ic * p.N + jr * g.nr;
        run_rows(g, width, t, std::min(blocking.MC, rows.end - ic), nullptr);
      }
  }
}

void narrow_tile(const DenseProduct& p, Range rows) {
  register_tiles(kernels(Tier::ref), false, p, rows);
}
void wide_tile(const DenseProduct& p, Range rows) { register_tiles(kernels(), false, p, rows); }
void packed_tile(const DenseProduct& p, Range rows) { register_tiles(kernels(), true, p, rows); }

}  // namespace

Blocking textbook_blocking(const GemmKernels& g) noexcept {
  const dim_t f = sizeof(float);
  Blocking b;
  b.KC = std::max<dim_t>(1, caches().l1d / 2 / (g.nr * f));
  b.MC = std::max<dim_t>(g.mr, caches().l2 / 2 / (b.KC * f) / g.mr * g.mr);
  b.NC = std::max<dim_t>(g.nr, caches().l3 / 2 / (b.KC * f) / g.nr * g.nr);
  return b;
}

std::vector<StairStep> staircase() {
  std::vector<StairStep> steps = {
      {"naive", "three loops, i j k: a column of B for each element of C", naive},
      {"reordered", "i k j: rows of B and C, contiguous, in the compiler's vectors", reordered},
      {"tiled", "64 x 64 tiles of B stay in L1 while all rows of A pass", tiled<false>},
      {"packed", "the tile of B is copied: its lines share no sets of L1", tiled<true>},
      {"register tile, 4 lanes", "a tile of C stays in registers; the baseline's vectors",
       narrow_tile},
      {"register tile", "the tier's vectors and fused multiply-adds", wide_tile},
      {"register tile, packed", "panels of B are packed, in the order that the tile reads them",
       packed_tile},
  };
  // With 4 lanes in use two steps would be one.
  if (active_tier() == Tier::ref) steps.erase(steps.begin() + 4);
  return steps;
}

void run_step(const StairStep& step, const DenseProduct& p) {
  const int threads = static_cast<int>(std::min<dim_t>(get_num_threads(), p.M));
  parallel_run(threads, [&](int tid) { step.rows(p, partition(p.M, threads, tid)); });
}

}  // namespace fastconv
