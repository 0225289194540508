// L3 gemm: the general product of strided matrices. The five loops around the micro-kernel (Goto
// and van de Geijn, "Anatomy of high-performance matrix multiplication", TOMS 2008): jc and pc
// here, ic jr ir in gemm_block. Called by bindings and program/. Start reading at gemm().
#include "gemm/gemm.h"

#include <algorithm>
#include <cstring>

#include "core/interrupt.h"
#include "core/parallel.h"
#include "gemm/blocking.h"
#include "kernels/dispatch.h"

namespace fastconv {
namespace {

constexpr dim_t kZeroTap = 0;
// Sums of gemv, in floats: half of L1 with all of its rows.
constexpr dim_t kGemvSums = 4096;

// A's rows for the kernel: k must be contiguous. In place when it is and the rows do not fall on
// each other in L1, nor in L2, as those of a block do that are short parts of rows a multiple of
// 1 KiB apart. Else copied, once per block, with a gap after each.
bool a_in_place(const View& a, dim_t N, const GemmKernels& g, dim_t KC) {
  if (a.stride[1] != 1 && a.shape[1] > 1) return false;
  if (rows_alias(g, a.stride[0])) return false;
  // For L2 a copy pays when several panels read it.
  return !(a.stride[0] % 256 == 0 && a.stride[0] >= 2 * KC && N > 4 * g.nr);
}

// Whole panels of B for the kernel, without packing: where few rows of A would pay for it, and rows
// of B are so short that a panel lies in few pages.
bool b_in_place(const View& b, dim_t M) {
  return M <= 256 && b.stride[1] == 1 && b.stride[0] > 0 && b.stride[0] <= 128;
}

struct Problem {
  const View& a;
  const View& b;
  const View* residual;  // added with `beta` in the first pass over K
  const View& out;       // columns contiguous
  float alpha, beta;
  const float* bias;
  const float* row_bias;
  Activation activation;
  const KernelTable& table;

  dim_t M() const { return out.shape[0]; }
  dim_t N() const { return out.shape[1]; }
  dim_t K() const { return a.shape[1]; }
  // As many threads as there are parts and as the work is worth.
  int threads(dim_t parts) const {
    const dim_t worth = 1 + M() * N() * std::max<dim_t>(K(), 1) / kFmasWorthAThread;
    return static_cast<int>(std::max<dim_t>(1, std::min({dim_t{get_num_threads()}, worth, parts})));
  }
};

// What all tiles of the product's block of K [k0, k0 + depth) share. Rows and columns of C are
// counted from its first: at(t, m, n) moves a tile there.
struct Tile : GemmTile {
  const Problem& p;
  bool first, last;

  Tile(const Problem& problem, dim_t k0, dim_t depth)
      : GemmTile{}, p(problem), first(k0 == 0), last(k0 + depth == problem.K()) {
    tap_offset = &kZeroTap;
    taps = 1;
    GemmTile::K = depth;
    ldc = p.out.stride[0];
    alpha = p.alpha;
    accumulate = !first;
    if (last) epilogue.activation = p.activation;
    if (first && p.residual) {
      epilogue.ldr = p.residual->stride[0];
      epilogue.residual_scale = p.beta;
    }
  }
  void move_to(dim_t m, dim_t n, int columns) {
    n_cur = columns;
    c = p.out.as<float>() + m * ldc + n;
    if (last && p.bias) epilogue.bias = p.bias + n;
    if (last && p.row_bias) epilogue.row_bias = p.row_bias + m;
    if (first && p.residual) epilogue.residual = p.residual->as<float>() + m * epilogue.ldr + n;
  }
};

void copy_a(const Problem& p, dim_t m0, dim_t rows, dim_t k0, dim_t depth, float* dst, dim_t ld) {
  const dim_t rs = p.a.stride[0], ks = p.a.stride[1];
  const float* src = p.a.as<float>() + m0 * rs + k0 * ks;
  if (ks == 1) {
    for (dim_t m = 0; m < rows; ++m)
      std::memcpy(dst + m * ld, src + m * rs, static_cast<size_t>(depth) * sizeof(float));
  } else if (rs == 1) {
    p.table.layout.transpose(depth, rows, src, ks, dst, ld);
  } else {
    for (dim_t m = 0; m < rows; ++m)
      for (dim_t k = 0; k < depth; ++k) dst[m * ld + k] = src[m * rs + k * ks];
  }
}

// Packs panel `jr` of the B block with K from k0 and columns from n0 on.
void pack(const Problem& p, dim_t n0, dim_t k0, dim_t depth, dim_t nc, dim_t jr, float* dst) {
  const GemmKernels& g = p.table.gemm;
  const int width = panel_width(g, nc, jr);
  const dim_t n = jr * g.nr;
  pack_panel(depth, p.b.as<float>() + k0 * p.b.stride[0] + (n0 + n) * p.b.stride[1], p.b.stride[0],
             p.b.stride[1], static_cast<int>(std::min<dim_t>(width, nc - n)), width, dst);
}

// Where a thread finds the panels of a B block, or a place for one to pack each just before its
// use; and its place for a block of A, or null.
struct Storage {
  const float* packed;
  bool in_place;  // or in B itself, if whole
  float* panel;
  float* a_copy;
};

// C[rows, panels] of one (jc, pc) block: K from k0 on, columns n0 to n0 + nc.
void gemm_block(const Problem& p, const Blocking& blocking, dim_t n0, dim_t nc, dim_t k0,
                dim_t depth, Range rows, Range panels, const Storage& storage) {
  const GemmKernels& g = p.table.gemm;
  const bool copied = storage.a_copy != nullptr;
  Tile t(p, k0, depth);
  t.lda = copied ? blocking.KC + kRowGap : p.a.stride[0];
  for (dim_t ic = rows.begin; ic < rows.end; ic += blocking.MC) {
    if (ic > rows.begin && interrupted()) return;
    const dim_t ic_end = std::min(rows.end, ic + blocking.MC);
    if (copied) copy_a(p, ic, ic_end - ic, k0, depth, storage.a_copy, t.lda);
    const float* a = copied ? storage.a_copy : p.a.as<float>() + ic * t.lda + k0;
    for (dim_t jr = panels.begin; jr < panels.end; ++jr) {
      const int width = panel_width(g, nc, jr);
      const int columns = static_cast<int>(std::min<dim_t>(width, nc - jr * g.nr));
      const bool more = storage.packed && jr + 1 < panels.end;
      t.ldb = width;
      if (storage.packed) {
        t.b = storage.packed + jr * depth * g.nr;
      } else if (storage.in_place && columns == width) {
        t.b = p.b.as<float>() + k0 * p.b.stride[0] + n0 + jr * g.nr;
        t.ldb = p.b.stride[0];
      } else {
        pack(p, n0, k0, depth, nc, jr, storage.panel);
        t.b = storage.panel;
      }
      t.a = a;
      t.move_to(ic, n0 + jr * g.nr, columns);
      run_rows(g, width, t, ic_end - ic, more ? t.b + depth * width : nullptr);
    }
  }
}

// Scratch of the calling thread, for all threads of its product: at most
//   NC * KC + threads * (MC + nr) * KC
// floats. It stays, for a fresh one costs each call a page fault for each 4 KiB, a tenth of a small
// product.
float* workspace(dim_t floats) {
  static thread_local Buffer<float> buffer;
  buffer.reserve(floats);
  return buffer.data();
}
dim_t whole_lines(dim_t floats) { return round_up(floats, 16); }

void five_loops(const Problem& p, const Blocking& blocking) {
  const GemmKernels& g = p.table.gemm;
  const dim_t M = p.M(), N = p.N(), K = p.K();
  const dim_t row_tiles = ceil_div(M, g.mr), all_panels = panel_count(g, N);
  const int threads = p.threads(row_tiles * all_panels);

  // A single block of rows meets each panel once: whoever needs a panel packs it, into L2, just
  // before. Otherwise all threads pack the block of B together, and then share it.
  const bool in_place = b_in_place(p.b, M), together = M > blocking.MC && !in_place;
  const dim_t NC = together ? blocking.NC : round_up(N, g.nr);
  const bool copied = !a_in_place(p.a, N, g, blocking.KC);
  const dim_t copy_size =
      copied ? whole_lines(std::min(M, blocking.MC) * (blocking.KC + kRowGap)) : 0;
  const dim_t panel_size = together ? 0 : blocking.KC * widest_panel(g, N);
  const dim_t packed_size = together ? blocking.KC * round_up(std::min(NC, N), g.nr / 2) : 0;
  const dim_t own = copy_size + panel_size;
  float* const packed = workspace(packed_size + threads * own);

  for (dim_t jc = 0; jc < N; jc += NC) {
    const dim_t nc = std::min(NC, N - jc), panels = panel_count(g, nc);
    // Rows when they are many, columns when they are few.
    const bool by_rows = row_tiles >= panels || row_tiles >= 8 * threads;
    const Cut cut = !together ? choose_cut(row_tiles, panels, threads, true)
                    : by_rows ? Cut{threads, 1}
                              : Cut{1, threads};
    for (dim_t pc = 0; pc == 0 || pc < K; pc += blocking.KC) {
      if (pc > 0 && interrupted()) return;
      const dim_t depth = std::min(blocking.KC, K - pc);
      if (together)
        parallel_for(panels, ceil_div(16384, blocking.KC * g.nr), [&](dim_t p0, dim_t p1) {
          for (dim_t jr = p0; jr < p1; ++jr)
            pack(p, jc, pc, depth, nc, jr, packed + jr * depth * g.nr);
        });
      parallel_run(static_cast<int>(cut.rows * cut.cols), [&](int tid) {
        const Range tiles =
            partition(row_tiles, static_cast<int>(cut.rows), static_cast<int>(tid / cut.cols));
        const Range cols =
            partition(panels, static_cast<int>(cut.cols), static_cast<int>(tid % cut.cols));
        float* const mine = packed + packed_size + tid * own;
        gemm_block(
            p, blocking, jc, nc, pc, depth, {tiles.begin * g.mr, std::min(M, tiles.end * g.mr)},
            cols,
            {together ? packed : nullptr, in_place, mine + copy_size, copied ? mine : nullptr});
      });
    }
  }
}

// Few rows of A and a B whose rows or columns are contiguous, which is read in place, once. Same
// blocks of K and same sums as five_loops: a row has the same bits whatever the number of rows, but
// for one row by columns.
void few_rows(const Problem& p, bool by_columns) {
  const dim_t M = p.M(), N = p.N(), K = p.K();
  const Blocking blocking = gemm_blocking(p.table.gemm, K);
  const GemvUkr gemv = (by_columns ? p.table.gemm.gemv_columns : p.table.gemm.gemv)[M - 1];
  const bool copied = p.a.stride[1] != 1 && K > 1;
  const dim_t lines = ceil_div(N, 16);
  const int threads = p.threads(ceil_div(lines, 4));
  const dim_t chunk = kGemvSums / M / 16 * 16, sums_size = M * chunk;
  const dim_t copy_size = copied ? whole_lines(M * K) : 0;
  float* const a_copy = workspace(copy_size + threads * sums_size);
  if (copied) copy_a(p, 0, M, 0, K, a_copy, K);

  parallel_run(threads, [&](int tid) {
    const Range mine = partition(lines, threads, tid);
    const dim_t end = std::min(N, mine.end * 16);
    for (dim_t n = mine.begin * 16; n < end; n += chunk)
      for (dim_t pc = 0; pc == 0 || pc < K; pc += blocking.KC) {
        Tile t(p, pc, std::min(blocking.KC, K - pc));
        t.a = copied ? a_copy + pc : p.a.as<float>() + pc;
        t.lda = copied ? K : p.a.stride[0];
        t.b = p.b.as<float>() + pc * p.b.stride[0] + n * p.b.stride[1];
        t.ldb = p.b.stride[by_columns];
        t.move_to(0, n, static_cast<int>(std::min(chunk, end - n)));
        gemv(t, a_copy + copy_size + tid * sums_size);
      }
  });
}

void copy_elements(const View& from, const View& to) {
  for (dim_t m = 0; m < to.shape[0]; ++m)
    for (dim_t n = 0; n < to.shape[1]; ++n)
      to.as<float>()[m * to.stride[0] + n * to.stride[1]] =
          from.as<float>()[m * from.stride[0] + n * from.stride[1]];
}

// gemm(), `dots` as gemm_dots().
void product(const View& a, const View& b, const View* c, const View& out, float alpha, float beta,
             const float* bias, const float* row_bias, const Activation& activation, bool dots) {
  const dim_t M = out.shape[0], N = out.shape[1];
  if (M == 0 || N == 0) return;
  const View* residual = beta == 0.0f ? nullptr : c;
  // The kernel reads and writes whole vectors of a row: other strides go through dense copies.
  const bool dense_out = out.stride[1] == 1 || N == 1;
  const bool dense_residual = !residual || residual->stride[1] == 1 || N == 1;
  Buffer<float> out_copy(dense_out ? 0 : M * N), residual_copy(dense_residual ? 0 : M * N);
  const dim_t shape[2] = {M, N};
  const View target = dense_out ? out : row_major(out_copy.data(), 2, shape);
  View addend;
  if (residual && !dense_residual) {
    addend = row_major(residual_copy.data(), 2, shape);
    copy_elements(*residual, addend);
    residual = &addend;
  }
  const Problem problem{a, b, residual, target, alpha, beta, bias, row_bias, activation, kernels()};
  const bool by_rows = b.stride[1] == 1 && N > 1;
  const bool by_columns = b.stride[0] == 1 && !by_rows && (M > 1 ? N > 1 : dots);
  if (M <= kGemvRows && (by_rows || by_columns || N == 1))
    few_rows(problem, by_columns);
  else
    five_loops(problem, gemm_blocking(problem.table.gemm, problem.K()));
  if (!dense_out) copy_elements(target, out);
}

View transposed(const View& v) {
  View t = v;
  std::swap(t.shape[0], t.shape[1]);
  std::swap(t.stride[0], t.stride[1]);
  return t;
}

}  // namespace

void gemm(const View& a, const View& b, const View* c, const View& out, float alpha, float beta,
          const float* bias, const Activation& activation) {
  product(a, b, c, out, alpha, beta, bias, nullptr, activation, false);
}

void gemm_dots(const View& a, const View& b, const View* c, const View& out, float alpha,
               float beta, const float* bias, const Activation& activation) {
  if (out.shape[1] != 1) return product(a, b, c, out, alpha, beta, bias, nullptr, activation, true);
  // One column: the product of one row with the transpose of A, which is read in place.
  const View addend = c ? transposed(*c) : View{};
  product(transposed(b), transposed(a), c ? &addend : nullptr, transposed(out), alpha, beta,
          nullptr, bias, activation, true);
}

void gemm_blocked(const View& a, const View& b, const View& out, const Blocking& blocking) {
  if (out.shape[0] == 0 || out.shape[1] == 0) return;
  const Problem problem{a, b, nullptr, out, 1.0f, 0.0f, nullptr, nullptr, Activation{}, kernels()};
  // No block is larger than what there is: scratch is sized by them.
  five_loops(problem, {std::min(blocking.MC, problem.M()),
                       std::min(blocking.KC, std::max<dim_t>(1, problem.K())),
                       std::min(blocking.NC, problem.N())});
}

}  // namespace fastconv
