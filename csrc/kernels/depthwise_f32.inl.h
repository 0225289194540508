// L2 micro-kernels: depthwise convolutions with small square kernels, f32, channels-last, that read
// x where it lies. The contract is ConvKernels::depthwise_band in kernel_table.h. Called by
// conv/grouped.cpp; calls apply_activation. Start at depthwise_tile.
//
// A tile is R rows of P pixels of a block of W channels. Each vector of x is loaded once for all
// the outputs that it contributes to, up to R * K of them, and the weights of R rows of the kernel
// are in registers. On AVX-512 R is 2: with P = 7 and K = 3 a tile has 36 loads of x and 9 of w for
// 126 FMAs in 14 chains, and 14 + 2 * 3 + 1 registers. AVX2 has registers for one row.
//
// The code of a tile has no branches, so that the compiler keeps its sums in registers. What lies
// outside the image is read from zeros: a tile at an edge (Edge) has pointers of its own to its
// first and last K / 2 columns, and to its rows.
//
// Blocks that lie side by side follow each other within a tile's place, because the cache lines of
// a pixel are best read together. Where the image's width is not a multiple of P, the last tile of a
// row overlaps the one before, and so do the last rows: what is computed again is the same.
#pragma once
#include "kernels/eltwise.inl.h"
#include "kernels/epilogue.inl.h"
#include "kernels/kernel_table.h"
#include "kernels/round_bf16.inl.h"
#include "kernels/unroll.h"

namespace fastconv {
namespace {

// Where tile (r, p) of blocks from b reads and writes.
struct DepthwisePlace {
  dim_t top, column;  // its first input, which may be outside the image
  dim_t b, blocks;
  dim_t offset;  // of its first output
};

// What a tile reads for a row outside the image, pixel by pixel as in the image: zeros, in t.ring. An
// image may be read from right to left.
template <int K, int S>
float* zero_row(const GroupedBand& t) {
  return t.x_col < 0 ? t.ring - (7 * S + K - 1) * t.x_col : t.ring;
}

template <int K, int S, int R, int P, bool Edge>
__attribute__((noinline)) void depthwise_tile(const GroupedBand& t, const DepthwisePlace& at) {
  constexpr int kRows = (R - 1) * S + K, kColumns = (P - 1) * S + K, kEdge = K / 2;
  const dim_t x_col = t.x_col, y_col = t.y_col, y_row = t.y_row, blocks = at.blocks;
  const float* const zeros = zero_row<K, S>(t);
  const float* rows[kRows];
  const float* edges[Edge ? kRows : 1][2 * kEdge];
  for (int i = 0; i < kRows; ++i) {
    const dim_t in = at.top + i;
    const bool inside = !Edge || (in >= 0 && in < t.rows_in);
    const float* x = t.x + in * t.x_row + at.column * x_col + at.b * W;
    rows[i] = inside ? x : zeros;
    if constexpr (Edge)
      for (int e = 0; e < 2 * kEdge; ++e) {
        const dim_t j = e < kEdge ? e : kColumns - 2 * kEdge + e, column = at.column + j;
        edges[i][e] = inside && column >= 0 && column < t.cols_in ? x + j * x_col : zeros;
      }
  }
  const float* w = t.weights.w + at.b * K * K * W;
  const float* bias = t.epilogue.bias ? t.epilogue.bias + at.b * W : zeros;
  float* y = t.y ? t.y + at.offset : nullptr;
  uint16_t* rounded = t.rounded ? t.rounded + at.offset : nullptr;
  const bool clamped = t.epilogue.activation.act == Act::clamp;
  const vf low = vset(t.epilogue.activation.alpha), high = vset(t.epilogue.activation.beta);
  for (dim_t block = 0, c = 0; block < blocks; ++block, c += W, w += K * K * W) {
    const vf start = vload(bias + c);
    vf acc[R][P], wk[R][K];  // wk[r]: what the row of x is multiplied with for row r of outputs
    FC_UNROLL for (int r = 0; r < R; ++r) FC_UNROLL for (int p = 0; p < P; ++p) acc[r][p] = start;
    for_each_constant<kRows>([&](auto row) __attribute__((always_inline)) {
      constexpr int i = decltype(row)();
      FC_UNROLL for (int r = R - 1; r >= 0; --r) {
        const int ky = i - r * S;
        if (ky < 0 || ky >= K) continue;
        FC_UNROLL for (int kx = 0; kx < K; ++kx) {
          wk[r][kx] = r > 0 && S == 1 ? wk[r - 1][kx] : vload(w + (ky * K + kx) * W);
          vkeep(wk[r][kx]);
        }
      }
      const float* const x = rows[i] + c;
      for_each_constant<kColumns>([&](auto position) __attribute__((always_inline)) {
        constexpr int j = decltype(position)(), e = j < kEdge ? j : j - kColumns + 2 * kEdge;
        vf v;
        if constexpr (Edge && (j < kEdge || j >= kColumns - kEdge))
          v = vload(edges[i][e] + c);
        else
          v = vload(x + j * x_col);
        vkeep(v);
        FC_UNROLL for (int r = 0; r < R; ++r) FC_UNROLL for (int kx = 0; kx < K; ++kx) {
          const int ky = i - r * S, p = (j - kx) / S;
          if (ky >= 0 && ky < K && j >= kx && (j - kx) % S == 0 && p < P)
            acc[r][p] = vfma(v, wk[r][kx], acc[r][p]);
        }
      });
    });
    if (clamped) clamp(acc, low, high);
    if (rounded) {
      FC_UNROLL for (int r = 0; r < R; ++r) FC_UNROLL for (int p = 0; p < P; ++p)
          store_bf16(rounded + c + r * y_row + p * y_col, acc[r][p], W);
      continue;
    }
    FC_UNROLL for (int r = 0; r < R; ++r) {
      float* const to = y + c + r * y_row;
      FC_UNROLL for (int p = 0; p < P; ++p) vstore(to + p * y_col, acc[r][p]);
    }
  }
}

// Rows r to r + R.
template <int K, int S, int R, int P>
void depthwise_rows(const GroupedBand& t, dim_t r, dim_t b, dim_t blocks) {
  constexpr int kRows = (R - 1) * S + K, kColumns = (P - 1) * S + K;
  const dim_t top = t.row_first + r * S;
  const bool rows_inside = top >= 0 && top + kRows <= t.rows_in;
  for (dim_t p = 0; p < t.pixels; p += P) {
    if (p + P > t.pixels) p = t.pixels - P;
    const dim_t column = t.col_first + p * S;
    const DepthwisePlace at = {top, column, b, blocks, r * t.y_row + p * t.y_col + b * W};
    if (rows_inside && column >= 0 && column + kColumns <= t.cols_in)
      depthwise_tile<K, S, R, P, false>(t, at);
    else
      depthwise_tile<K, S, R, P, true>(t, at);
  }
}

template <int K, int S, int R>
void depthwise_band(const GroupedBand& t) {
  const auto steps = [&](dim_t size) { return (t.pixels + size - 1) / size * size; };
  const bool sevens = steps(7) < steps(8);
  for (dim_t b = t.block_begin; b < t.block_end; b += 2 * t.ring_pairs) {
    const dim_t blocks = t.block_end - b < 2 * t.ring_pairs ? t.block_end - b : 2 * t.ring_pairs;
    float* const zeros = zero_row<K, S>(t);
    for (dim_t j = 0; j < 7 * S + K; ++j)
      for (dim_t i = 0; i < blocks; ++i) vstore(zeros + j * t.x_col + i * W, vzero());
    for (dim_t r = 0; r < t.rows; r += R) {
      if (r + R > t.rows) r = t.rows - R;
      if (sevens)
        depthwise_rows<K, S, R, 7>(t, r, b, blocks);
      else
        depthwise_rows<K, S, R, 8>(t, r, b, blocks);
      if (t.epilogue.activation.afterwards())
        for (dim_t i = r; i < r + R; ++i)
          apply_activation(t.y + i * t.y_row + b * W, t.pixels, nullptr, t.y_col, blocks * W,
                           t.epilogue.activation);
    }
  }
}

void fill_depthwise_f32(ConvKernels& k) {
  constexpr int R = W == 16 ? 2 : 1;
  k.depthwise_rows = R;
  k.depthwise_band[3][1] = depthwise_band<3, 1, R>;
  k.depthwise_band[3][2] = depthwise_band<3, 2, 1>;
  k.depthwise_band[5][1] = depthwise_band<5, 1, R>;
  k.depthwise_band[5][2] = depthwise_band<5, 2, 1>;
}

}  // namespace
}  // namespace fastconv
