// L2 micro-kernels: convolutions with one channel (depthwise) or few per group, f32, channels-last.
// The contracts are GroupedBand and GroupedRow in kernel_table.h. Called by conv/grouped.cpp; calls
// apply_activation. Start at band_tile.
//
// A vector of output channels spans several groups. The input channels that those groups read lie
// within one vector, so one load serves all of them, and for input channel i of its group each lane
// picks its own with a permutation: lanes stay full where a GEMM per group would leave W - oc /
// groups of them empty. In a depthwise convolution lane l reads lane l, and there is none.
//
// band: four blocks of channels at a time, row by row. The rows that the kernel sees are copied to
// a ring in L1, a vector a pixel, with zeros for what lies beyond the image's sides: pixels are a
// whole image row of channels apart, and where that is a power of two they fall into few sets of L1
// (1024 channels at 7 px: 18 us in place, 960 channels: 7 us), no hardware prefetcher follows them,
// and tiles at the edges would need masks.
//
// band_tile: P pixels of a row. For each row of the kernel its kw weights are in registers, and
// each vector of x is loaded (and permuted) once for the kw / stride outputs that it contributes
// to. With P = 8 and kw = 3: 10 loads of x and 3 of w for 24 FMAs in 8 chains, two FMA ports x 4
// cycles: 4.5 cycles an output. 8 + 3 + 3 = 14 registers fit AVX2. P is 8 or 7: images are 7 * 2^k
// pixels wide.
//
// grouped_row is the form for every kernel, stride and dilation: it reads its taps from a list, a
// permutation for each FMA.
#pragma once
#include "kernels/eltwise.inl.h"
#include "kernels/kernel_table.h"
#include "kernels/unroll.h"

namespace fastconv {
namespace {

// Outputs p to p + P of row r, block b. row[ky]: the input row in the ring at the tile's first
// column, or null where it lies outside the image.
template <int K, int S, int P, bool Permute>
inline void band_tile(const GroupedBand& t, const float* const* row, dim_t column, float* y,
                      const float* residual, dim_t b, int lanes) {
  const GroupedWeights& g = t.weights;
  vf acc[P];
  const vf bias = t.epilogue.bias ? load_lanes(t.epilogue.bias + b * W, lanes) : vzero();
  FC_UNROLL for (int i = 0; i < P; ++i) acc[i] = bias;

  const dim_t group_ic = Permute ? g.group_ic : 1;
  const float* w = g.w + b * g.taps * group_ic * W;
  for (dim_t ky = 0; ky < t.kh; ++ky, w += K * group_ic * W) {
    if (!row[ky]) continue;
    const float* x = row[ky] + column;
    for (dim_t i = 0; i < group_ic; ++i) {
      vi lane;
      if constexpr (Permute) lane = vindex(g.index + (b * group_ic + i) * W);
      vf wk[K];
      FC_UNROLL for (int kx = 0; kx < K; ++kx) wk[kx] = vload(w + (kx * group_ic + i) * W);
      for_each_constant<(P - 1) * S + K>([&](auto position) {
        constexpr int j = decltype(position)();
        vf v = vload(x + j * W);
        vkeep(v);
        if constexpr (Permute) v = vpermute(v, lane);
        FC_UNROLL for (int kx = 0; kx < K;
                       ++kx) if ((j - kx) % S == 0 && j >= kx && (j - kx) / S < P)
            acc[(j - kx) / S] = vfma(v, wk[kx], acc[(j - kx) / S]);
      });
    }
  }

  // A pass for each thing to do, as in gemm_f32.inl.h: one branch a tile.
  const dim_t step = t.y_col;
  if (residual)
    FC_UNROLL for (int i = 0; i < P; ++i) acc[i] =
        vadd(acc[i], load_lanes(residual + i * step, lanes));
  if (t.epilogue.activation.act == Act::clamp) {
    const vf lo = vset(t.epilogue.activation.alpha), hi = vset(t.epilogue.activation.beta);
    FC_UNROLL for (int i = 0; i < P; ++i) acc[i] = vmin(hi, vmax(lo, acc[i]));
  }
  if (lanes == W) {
    FC_UNROLL for (int i = 0; i < P; ++i) vstore(y + i * step, acc[i]);
  } else {
    FC_UNROLL for (int i = 0; i < P; ++i) vstore_tail(y + i * step, acc[i], lanes);
  }
}

// Columns [begin, begin + columns) of an input row to the rings of `blocks` blocks from b, zeros
// where they are outside the image.
inline void copy_row(const GroupedBand& t, const float* row, dim_t begin, dim_t columns, dim_t b,
                     dim_t blocks, float* ring, dim_t ring_size) {
  const dim_t left = begin < 0 ? -begin : 0;
  const dim_t right = begin + columns > t.cols_in ? t.cols_in - begin : columns;
  const dim_t step = t.x_col, ahead = 2 * t.x_row;
  for (dim_t i = 0; i < blocks; ++i) {
    float* to = ring + i * ring_size;
    for (dim_t j = 0; j < left && j < columns; ++j) vstore(to + j * W, vzero());
    for (dim_t j = right < left ? left : right; j < columns; ++j) vstore(to + j * W, vzero());
  }
  // Four blocks together where all their channels exist: neighbouring cache lines of a pixel.
  row += begin * step;
  const dim_t* base = t.weights.base + b;
  const int32_t* span = t.weights.span + b;
  dim_t i = 0;
  for (; i + 4 <= blocks && span[i + 3] == W && base[i + 3] == base[i] + 3 * W; i += 4) {
    const float* x = row + base[i];
    float* to = ring + i * ring_size;
    for (dim_t j = left; j < right; ++j) FC_UNROLL for (int k = 0; k < 4; ++k) {
        // What is asked for two rows before it is read has arrived from L3.
        __builtin_prefetch(x + ahead + j * step + k * W, 0, 2);
        vstore(to + k * ring_size + j * W, vload(x + j * step + k * W));
      }
  }
  for (; i < blocks; ++i) {
    const float* x = row + base[i];
    float* to = ring + i * ring_size;
    const int lanes = span[i];
    if (lanes == W)
      for (dim_t j = left; j < right; ++j) {
        __builtin_prefetch(x + ahead + j * step, 0, 2);
        vstore(to + j * W, vload(x + j * step));
      }
    else
      for (dim_t j = left; j < right; ++j) vstore(to + j * W, vload_tail(x + j * step, lanes));
  }
}

template <int K, int S, bool Permute>
void band(const GroupedBand& t) {
  const dim_t oc = t.weights.oc;
  const dim_t ring_rows = (t.kh - 1) * t.row_dilation + 1, ring_row = ((t.segment - 1) * S + K) * W,
              ring_size = ring_rows * ring_row;
  for (dim_t b = t.block_begin; b < t.block_end; b += t.ring_blocks) {
    const dim_t blocks = t.block_end - b < t.ring_blocks ? t.block_end - b : t.ring_blocks;
    for (dim_t p0 = 0; p0 < t.pixels; p0 += t.segment) {
      const dim_t pixels = t.pixels - p0 < t.segment ? t.pixels - p0 : t.segment;
      const bool sevens = pixels % 7 == 0 && pixels % 8 != 0;
      // Input row `in` is in slot (in - row_first) % ring_rows; the slots of `top`, the first row
      // that r sees, and of `next`, the one to copy, go along with them: a division takes as long
      // as seven outputs.
      dim_t next = t.row_first, next_slot = 0, top_slot = 0;
      const auto wrapped = [&](dim_t slot) {
        while (slot >= ring_rows) slot -= ring_rows;
        return slot;
      };
      for (dim_t r = 0; r < t.rows; ++r) {
        const dim_t top = t.row_first + r * t.row_stride;
        if (next < top) next = top, next_slot = top_slot;
        for (; next < top + ring_rows; ++next, next_slot = wrapped(next_slot + 1))
          if (next >= 0 && next < t.rows_in)
            copy_row(t, t.x + next * t.x_row, t.col_first + p0 * S, (pixels - 1) * S + K, b, blocks,
                     t.ring + next_slot * ring_row, ring_size);
        for (dim_t i = 0; i < blocks; ++i) {
          const float* row[kMaxBandKernel];
          dim_t slot = top_slot;
          for (dim_t ky = 0, in = top; ky < t.kh;
               ++ky, in += t.row_dilation, slot = wrapped(slot + t.row_dilation))
            row[ky] =
                in >= 0 && in < t.rows_in ? t.ring + i * ring_size + slot * ring_row : nullptr;
          const dim_t block = b + i;
          const int lanes = static_cast<int>(oc - block * W < W ? oc - block * W : W);
          const dim_t offset = r * t.y_row + p0 * t.y_col + block * W;
          float* y = t.y + offset;
          const float* residual = t.epilogue.residual ? t.epilogue.residual + offset : nullptr;
          const auto tiles = [&](dim_t p, auto size) {
            constexpr int P = decltype(size)();
            for (; p + P <= pixels; p += P)
              band_tile<K, S, P, Permute>(t, row, p * S * W, y + p * t.y_col,
                                          residual ? residual + p * t.y_col : nullptr, block,
                                          lanes);
            return p;
          };
          dim_t p = sevens ? tiles(0, Constant<7>()) : tiles(0, Constant<8>());
          p = tiles(p, Constant<4>());
          tiles(p, Constant<1>());
        }
        top_slot = wrapped(top_slot + t.row_stride);
      }
    }
  }
  if (t.epilogue.activation.act > Act::clamp) {
    const dim_t c = t.block_begin * W, end = t.block_end * W < oc ? t.block_end * W : oc;
    for (dim_t r = 0; r < t.rows; ++r)
      for (dim_t p = 0; p < t.pixels; ++p)
        apply_activation(t.y + r * t.y_row + p * t.y_col + c, end - c, t.epilogue.activation);
  }
}

template <int K, int S>
void grouped_band(const GroupedBand& t) {
  if (t.weights.index)
    band<K, S, true>(t);
  else
    band<K, S, false>(t);
}

// P pixels from p of block b; n output channels of it exist.
template <int P>
inline void grouped_tile(const GroupedRow& r, dim_t p, dim_t b, int n) {
  const GroupedWeights& g = r.weights;
  const int span = g.span[b];
  const dim_t c = b * W;
  const float* x = r.x + p * r.x_step + g.base[b];
  vf acc[P];
  const vf bias = r.epilogue.bias ? load_lanes(r.epilogue.bias + c, n) : vzero();
  for (int i = 0; i < P; ++i) acc[i] = bias;
  for (dim_t t = 0; t < r.taps; ++t) {
    const float* xt = x + r.x_tap[t];
    const float* w = g.w + (b * g.taps + r.w_tap[t]) * g.group_ic * W;
    vf pixel[P];
    for (int i = 0; i < P; ++i) pixel[i] = load_lanes(xt + i * r.x_step, span);
    if (!g.index) {
      const vf wv = vload(w);
      for (int i = 0; i < P; ++i) acc[i] = vfma(pixel[i], wv, acc[i]);
      continue;
    }
    for (dim_t ch = 0; ch < g.group_ic; ++ch) {
      const vi lanes = vindex(g.index + (b * g.group_ic + ch) * W);
      const vf wv = vload(w + ch * W);
      for (int i = 0; i < P; ++i) acc[i] = vfma(vpermute(pixel[i], lanes), wv, acc[i]);
    }
  }
  for (int i = 0; i < P; ++i) {
    vf y = acc[i];
    if (r.epilogue.residual)
      y = vadd(y, load_lanes(r.epilogue.residual + (p + i) * r.epilogue.ldr + c, n));
    if (r.epilogue.activation.act == Act::clamp)
      y = vmin(vset(r.epilogue.activation.beta), vmax(vset(r.epilogue.activation.alpha), y));
    vstore_tail(r.y + (p + i) * r.y_step + c, y, n);
  }
}

void grouped_row(const GroupedRow& r) {
  const dim_t oc = r.weights.oc;
  for (dim_t b = 0; b * W < oc; ++b) {
    const int n = static_cast<int>(oc - b * W < W ? oc - b * W : W);
    dim_t p = 0;
    for (; p + 4 <= r.pixels; p += 4) grouped_tile<4>(r, p, b, n);
    for (; p < r.pixels; ++p) grouped_tile<1>(r, p, b, n);
  }
  if (r.epilogue.activation.act > Act::clamp)
    for (dim_t p = 0; p < r.pixels; ++p)
      apply_activation(r.y + p * r.y_step, oc, r.epilogue.activation);
}

void fill_grouped(ConvKernels& k) {
  k.grouped_row = grouped_row;
  k.grouped_band[3][1] = grouped_band<3, 1>;
  k.grouped_band[3][2] = grouped_band<3, 2>;
  k.grouped_band[5][1] = grouped_band<5, 1>;
  k.grouped_band[5][2] = grouped_band<5, 2>;
  k.grouped_band[7][1] = grouped_band<7, 1>;
  k.grouped_band[7][2] = grouped_band<7, 2>;
}

}  // namespace
}  // namespace fastconv
