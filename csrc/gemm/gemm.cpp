// L3 gemm: the general product of strided matrices. The five loops around the micro-kernel (Goto
// and van de Geijn, "Anatomy of high-performance matrix multiplication", TOMS 2008): jc and pc
// here, ic jr ir in gemm_block. Called by bindings and program/. Start reading at gemm().
#include "gemm/gemm.h"

#include <algorithm>
#include <cstring>

#include "core/parallel.h"
#include "gemm/blocking.h"
#include "kernels/dispatch.h"

namespace fastconv {
namespace {

dim_t ceil_div(dim_t a, dim_t b) { return (a + b - 1) / b; }
dim_t round_up(dim_t a, dim_t b) { return ceil_div(a, b) * b; }

constexpr dim_t kZeroTap = 0;

// A's rows for the kernel: k must be contiguous. In place when it is and rows do not all fall into
// the same L1 sets (a row stride that is a multiple of 1 KiB puts them a quarter of a 4 KiB way
// apart or closer); else copied, once per block, with 16 floats of padding a row.
bool in_place(const View& a, dim_t N, int nr) {
  if (a.stride[1] != 1 && a.shape[1] > 1) return false;
  const bool aliased = a.stride[0] % 256 == 0;
  return !(aliased && N > 4 * nr);  // a copy pays when several panels read it
}

struct Problem {
  const View& a;
  const View* residual;  // added with `beta` in the first pass over K
  const View& out;       // columns contiguous
  float beta;
  const float* bias;
  Activation activation;
  const KernelTable& table;
};

void copy_a(const Problem& p, dim_t m0, dim_t rows, dim_t k0, dim_t depth, float* dst, dim_t ld) {
  const dim_t rs = p.a.stride[0], ks = p.a.stride[1];
  const float* src = p.a.data + m0 * rs + k0 * ks;
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

// C[rows, panels] of one (jc, pc) block. b holds `depth` rows of K from k0, its column 0 is C's
// column n0.
void gemm_block(const Problem& p, const PackedB& b, dim_t n0, dim_t k0, dim_t depth, Range rows,
                Range panels, float* a_copy) {
  const GemmKernels& g = p.table.gemm;
  const Blocking blocking = gemm_blocking(g);
  const dim_t K = p.a.shape[1];
  const bool first = k0 == 0, last = k0 + depth == K, copied = a_copy != nullptr;
  const dim_t ld = copied ? blocking.KC * 2 + 16 : p.a.stride[0];

  GemmTile t = {};
  t.lda = ld;
  t.tap_offset = &kZeroTap;
  t.taps = 1;
  t.K = depth;
  t.ldc = p.out.stride[0];
  t.accumulate = !first;
  if (last) t.epilogue.activation = p.activation;
  if (first && p.residual) {
    t.epilogue.ldr = p.residual->stride[0];
    t.epilogue.residual_scale = p.beta;
  }
  for (dim_t ic = rows.begin; ic < rows.end; ic += blocking.MC) {
    const dim_t ic_end = std::min(rows.end, ic + blocking.MC);
    if (copied) copy_a(p, ic, ic_end - ic, k0, depth, a_copy, ld);
    const float* a = copied ? a_copy : p.a.data + ic * ld + k0;
    for (dim_t jr = panels.begin; jr < panels.end; ++jr) {
      const dim_t column = n0 + jr * g.nr;
      const int width = b.width(jr);
      t.b = b.panel(jr);
      t.ldb = width;
      t.n_cur = static_cast<int>(std::min<dim_t>(width, b.N() - jr * g.nr));
      t.epilogue.bias = last && p.bias ? p.bias + column : nullptr;
      for (dim_t ir = ic; ir < ic_end; ir += g.mr) {
        const int mr = static_cast<int>(std::min<dim_t>(g.mr, ic_end - ir));
        t.a = a + (ir - ic) * ld;
        t.c = p.out.data + ir * t.ldc + column;
        if (first && p.residual)
          t.epilogue.residual = p.residual->data + ir * t.epilogue.ldr + column;
        g.ukr[width == g.nr][mr - 1](t);
      }
    }
  }
}

void five_loops(const Problem& p, const View& b, float alpha) {
  const GemmKernels& g = p.table.gemm;
  const Blocking blocking = gemm_blocking(g);
  const dim_t M = p.out.shape[0], N = p.out.shape[1], K = p.a.shape[1];
  // K in equal blocks of at most 1.5 KC; a function of K alone, so that a row's sum does not depend
  // on its neighbours.
  const dim_t blocks = std::max<dim_t>(1, (K + blocking.KC / 2) / blocking.KC);
  const dim_t KC = std::max<dim_t>(1, ceil_div(K, blocks));
  const dim_t row_tiles = ceil_div(M, g.mr);
  const dim_t worth =
      1 + M * N * std::max<dim_t>(K, 1) / 20000;  // below that a thread costs more than it brings
  const int threads = static_cast<int>(std::max<dim_t>(
      1, std::min({dim_t{get_num_threads()}, worth, row_tiles * ceil_div(N, g.nr)})));
  const bool copied = !in_place(p.a, N, g.nr);
  const dim_t copy_size =
      copied ? std::min(round_up(M, g.mr), blocking.MC) * (blocking.KC * 2 + 16) : 0;
  Buffer a_copies(copy_size * threads);

  for (dim_t jc = 0; jc < N; jc += blocking.NC) {
    const dim_t nc = std::min(blocking.NC, N - jc);
    for (dim_t pc = 0; pc == 0 || pc < K; pc += KC) {
      const dim_t depth = std::min(KC, K - pc);
      PackedB packed(g, depth, nc);
      const dim_t panels = packed.panels();
      parallel_for(panels, std::max<dim_t>(1, 16384 / (std::max<dim_t>(1, depth) * g.nr)),
                   [&](dim_t p0, dim_t p1) {
                     packed.pack(0, depth, b.data + pc * b.stride[0] + jc * b.stride[1],
                                 b.stride[0], b.stride[1], p0, p1, alpha);
                   });
      // Rows when they are many, columns when they are few.
      const bool by_rows = row_tiles >= panels || row_tiles >= 8 * threads;
      parallel_run(threads, [&](int tid) {
        const Range tiles = by_rows ? partition(row_tiles, threads, tid) : Range{0, row_tiles};
        const Range cols = by_rows ? Range{0, panels} : partition(panels, threads, tid);
        gemm_block(p, packed, jc, pc, depth, {tiles.begin * g.mr, std::min(M, tiles.end * g.mr)},
                   cols, copied ? a_copies.data() + tid * copy_size : nullptr);
      });
    }
  }
}

}  // namespace

void gemm(const View& a, const View& b, const View* c, const View& out, float alpha, float beta,
          const float* bias, const Activation& activation) {
  const dim_t M = out.shape[0], N = out.shape[1];
  if (M == 0 || N == 0) return;
  const View* residual = beta == 0.0f ? nullptr : c;
  // The kernel reads and writes whole vectors of a row: other strides go through dense copies.
  const bool dense_out = out.stride[1] == 1 || N == 1;
  const bool dense_residual = !residual || residual->stride[1] == 1 || N == 1;
  Buffer out_copy(dense_out ? 0 : M * N), residual_copy(dense_residual ? 0 : M * N);
  const dim_t shape[2] = {M, N};
  const View target = dense_out ? out : row_major(out_copy.data(), 2, shape);
  View addend;
  if (residual && !dense_residual) {
    addend = row_major(residual_copy.data(), 2, shape);
    for (dim_t m = 0; m < M; ++m)
      for (dim_t n = 0; n < N; ++n)
        addend.data[m * N + n] = residual->data[m * residual->stride[0] + n * residual->stride[1]];
    residual = &addend;
  }
  five_loops({a, residual, target, beta, bias, activation, kernels()}, b, alpha);
  if (!dense_out)
    for (dim_t m = 0; m < M; ++m)
      for (dim_t n = 0; n < N; ++n)
        out.data[m * out.stride[0] + n * out.stride[1]] = target.data[m * N + n];
}

}  // namespace fastconv
