// L2 micro-kernels: convolutions with one channel (depthwise) or few per group, f32, channels-last.
// The contracts are GroupedBand and GroupedRow in kernel_table.h. Called by conv/grouped.cpp; calls
// apply_activation. Start at band_tiles. Most depthwise layers are left to depthwise_f32.inl.h.
//
// A vector of output channels spans several groups. The input channels that those groups read lie
// within one vector, so one load serves all of them, and for input channel i of its group each lane
// picks its own with a permutation: lanes stay full where a GEMM per group would leave W - oc /
// groups of them empty. In a depthwise convolution lane l reads lane l, and there is none. Groups
// of W or 2 * W channels fill their vectors: all lanes read the same channel, which is broadcast
// from memory.
//
// band: some pairs of blocks of channels at a time, row by row. The rows that the kernel sees are
// copied to rings in L1, one a pair, with zeros for what lies beyond the image's sides: pixels are
// a whole image row of channels apart, and where that is a power of two they fall into few sets of
// L1. No hardware prefetcher follows them, and tiles at the edges would need masks. A pair, because
// two AVX2 vectors are a cache line: its second half is written to y while the line is still in L1.
//
// band_tiles: P pixels of a row. For each row of the kernel its kw weights are in registers, and
// each vector of x is loaded (and permuted) once for the kw / stride outputs that it contributes
// to. With P = 8 and kw = 3 a row of the kernel has 10 loads of x and 3 of w for 24 FMAs in 8
// chains, which two FMA ports with a latency of 4 cycles just need. 8 + 3 + 3 = 14 registers fit
// AVX2. P is 8 or 7, because images are 7 * 2^k pixels wide.
//
// grouped_row is the form for every kernel, stride and dilation: it reads its taps from a list, a
// permutation for each FMA.
#pragma once
#include "kernels/eltwise.inl.h"
#include "kernels/epilogue.inl.h"
#include "kernels/kernel_table.h"
#include "kernels/round_bf16.inl.h"
#include "kernels/unroll.h"

namespace fastconv {
namespace {

// Floats from a pixel to the next in a ring: it holds two blocks side by side.
constexpr dim_t kRingStep = 2 * W;

// Where lane l finds input channel i of its group: it has one channel, its own; the index says; all
// lanes read the same.
enum class GroupLanes { depthwise, permuted, broadcast };

// Outputs p to p + P of a row, `blocks` blocks from b. row[ky]: the tile's first column in the
// first pair's ring; null where the row lies outside of the image. A function of its own, because
// inlined into band() it spills what it needs for every tile: 60 of 230 instructions.
template <int K, int S, int P, GroupLanes L>
__attribute__((noinline)) void band_tiles(const GroupedBand& t, const float* const* row,
                                          dim_t ring_size, float* y, uint16_t* rounded,
                                          const float* residual, dim_t b, dim_t blocks) {
  const GroupedWeights& g = t.weights;
  const dim_t group_ic = L == GroupLanes::depthwise ? 1 : g.group_ic, step = t.y_col;
  const float* w = g.w + b * g.taps * group_ic * W;
  const float* bias = t.epilogue.bias ? t.epilogue.bias + b * W : nullptr;
  const int32_t* index = L == GroupLanes::permuted ? g.index + b * group_ic * W : nullptr;
  // A group of 2 * W channels is a pair of blocks, and both read it from its start.
  const bool whole_pair = L == GroupLanes::broadcast && group_ic == kRingStep;
  const bool clamped = t.epilogue.activation.act == Act::clamp;
  const vf low = vset(t.epilogue.activation.alpha), high = vset(t.epilogue.activation.beta);
  const float residual_scale = t.epilogue.residual_scale;
  dim_t left = g.oc - b * W, ring = 0;
  for (dim_t i = 0; i < blocks; ++i, left -= W) {
    const int lanes = static_cast<int>(left < W ? left : W);
    vf acc[P][1];
    vf start = vzero();
    if (bias) start = load_lanes(bias, lanes), bias += W;
    FC_UNROLL for (int p = 0; p < P; ++p) acc[p][0] = start;

    for (dim_t ky = 0; ky < t.kh; ++ky, w += K * group_ic * W) {
      if (!row[ky]) continue;
      const float* x = row[ky] + ring;
      for (dim_t c = 0; c < group_ic; ++c) {
        vi lane;
        if constexpr (L == GroupLanes::permuted) lane = vindex(index + c * W);
        vf wk[K];
        FC_UNROLL for (int kx = 0; kx < K; ++kx) wk[kx] = vload(w + (kx * group_ic + c) * W);
        for_each_constant<(P - 1) * S + K>([&](auto position) {
          constexpr int j = decltype(position)();
          vf v = L == GroupLanes::broadcast ? vbroadcast(x + c + j * kRingStep)
                                            : vload(x + j * kRingStep);
          vkeep(v);
          if constexpr (L == GroupLanes::permuted) v = vpermute(v, lane);
          FC_UNROLL for (int kx = 0; kx < K;
                         ++kx) if ((j - kx) % S == 0 && j >= kx && (j - kx) / S < P)
              acc[(j - kx) / S][0] = vfma(v, wk[kx], acc[(j - kx) / S][0]);
        });
      }
    }
    if constexpr (L == GroupLanes::permuted) index += group_ic * W;
    const dim_t half = whole_pair ? 0 : W;
    ring += i % 2 ? ring_size - half : half;

    if (residual) {
      add_residual(acc, residual_scale,
                   [&](int p, int) { return load_lanes(residual + p * step, lanes); });
      residual += W;
    }
    if (clamped) clamp(acc, low, high);
    if (rounded) {
      uint16_t* to = rounded;
      FC_UNROLL for (int p = 0; p < P; ++p, to += step) store_bf16(to, acc[p][0], lanes);
      rounded += W;
      continue;
    }
    float* to = y;
    if (lanes == W) {
      FC_UNROLL for (int p = 0; p < P; ++p, to += step) vstore(to, acc[p][0]);
    } else {
      FC_UNROLL for (int p = 0; p < P; ++p, to += step) vstore_tail(to, acc[p][0], lanes);
    }
    y += W;
  }
}

// What is asked for two rows before it is read has arrived from L3. On Zen 5 it pays; on Zen 3 each
// prefetch takes as long as the load that it saves.
#if defined(FASTCONV_ROW_PREFETCH)
constexpr bool kPrefetchRows = true;
#else
constexpr bool kPrefetchRows = false;
#endif

// Columns [begin, begin + columns) of an input row to the rings of `blocks` blocks from b, zeros
// where they are outside the image.
inline void copy_row(const GroupedBand& t, const float* row, dim_t begin, dim_t columns, dim_t b,
                     dim_t blocks, float* ring, dim_t ring_size) {
  const dim_t left = begin < 0 ? -begin : 0;
  const dim_t right = begin + columns > t.cols_in ? t.cols_in - begin : columns;
  const dim_t step = t.x_col, ahead = 2 * t.x_row;
  const auto slot = [&](dim_t i) { return ring + i / 2 * ring_size + i % 2 * W; };
  for (dim_t i = 0; i < blocks; ++i) {
    float* to = slot(i);
    for (dim_t j = 0; j < left && j < columns; ++j) vstore(to + j * kRingStep, vzero());
    for (dim_t j = right < left ? left : right; j < columns; ++j)
      vstore(to + j * kRingStep, vzero());
  }
  row += begin * step;
  const dim_t* base = t.weights.base + b;
  const int32_t* span = t.weights.span + b;
  // Blocks by fours as long as all their channels exist and follow each other: what lies side by
  // side in a pixel is read together.
  dim_t fours = 0;
  while (4 * fours + 4 <= blocks && span[4 * fours + 3] == W &&
         base[4 * fours + 3] == base[0] + (4 * fours + 3) * W)
    ++fours;
  for (dim_t j = fours ? left : right; j < right; ++j) {
    const float* x = row + base[0] + j * step;
    float* to = ring + j * kRingStep;
    for (dim_t four = 0; four < fours; ++four, x += 4 * W, to += 2 * ring_size)
      FC_UNROLL for (int k = 0; k < 4; ++k) {
        if constexpr (kPrefetchRows) __builtin_prefetch(x + ahead + k * W, 0, 2);
        vstore(to + k / 2 * ring_size + k % 2 * W, vload(x + k * W));
      }
  }
  for (dim_t i = 4 * fours; i < blocks; ++i) {
    const float* x = row + base[i];
    float* to = slot(i);
    const int lanes = span[i];
    if (lanes == W)
      for (dim_t j = left; j < right; ++j) {
        if constexpr (kPrefetchRows) __builtin_prefetch(x + ahead + j * step, 0, 2);
        vstore(to + j * kRingStep, vload(x + j * step));
      }
    else
      for (dim_t j = left; j < right; ++j)
        vstore(to + j * kRingStep, vload_tail(x + j * step, lanes));
  }
}

template <int K, int S, GroupLanes L>
void band(const GroupedBand& t) {
  const dim_t oc = t.weights.oc;
  const dim_t ring_rows = (t.kh - 1) * t.row_dilation + 1,
              ring_row = ((t.segment - 1) * S + K) * kRingStep, ring_size = ring_rows * ring_row;
  for (dim_t b = t.block_begin; b < t.block_end; b += 2 * t.ring_pairs) {
    const dim_t blocks = t.block_end - b < 2 * t.ring_pairs ? t.block_end - b : 2 * t.ring_pairs;
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
        const float* row[kMaxBandKernel];
        dim_t slot = top_slot;
        for (dim_t ky = 0, in = top; ky < t.kh;
             ++ky, in += t.row_dilation, slot = wrapped(slot + t.row_dilation))
          row[ky] = in < 0 || in >= t.rows_in ? nullptr : t.ring + slot * ring_row;
        const dim_t offset = r * t.y_row + p0 * t.y_col + b * W;
        float* y = t.y ? t.y + offset : nullptr;
        uint16_t* rounded = t.rounded ? t.rounded + offset : nullptr;
        const float* residual = t.epilogue.residual ? t.epilogue.residual + offset : nullptr;
        const auto tiles = [&](dim_t p, auto size) {
          constexpr int P = decltype(size)();
          for (; p + P <= pixels; p += P) {
            float* to = y ? y + p * t.y_col : nullptr;
            uint16_t* narrow = rounded ? rounded + p * t.y_col : nullptr;
            const float* added = residual ? residual + p * t.y_col : nullptr;
            band_tiles<K, S, P, L>(t, row, ring_size, to, narrow, added, b, blocks);
            for (dim_t ky = 0; ky < t.kh; ++ky)
              if (row[ky]) row[ky] += P * S * kRingStep;
          }
          return p;
        };
        dim_t p = sevens ? tiles(0, Constant<7>()) : tiles(0, Constant<8>());
        p = tiles(p, Constant<4>());
        tiles(p, Constant<1>());
        if (t.epilogue.activation.afterwards())
          apply_activation(y, pixels, nullptr, t.y_col,
                           blocks * W < oc - b * W ? blocks * W : oc - b * W,
                           t.epilogue.activation);
        top_slot = wrapped(top_slot + t.row_stride);
      }
    }
  }
}

template <int K, int S>
void grouped_band(const GroupedBand& t) {
  if (t.weights.index)
    band<K, S, GroupLanes::permuted>(t);
  else if (t.weights.group_ic > 1)
    band<K, S, GroupLanes::broadcast>(t);
  else
    band<K, S, GroupLanes::depthwise>(t);
}

// P pixels from p of block b; n output channels of it exist.
template <int P>
inline void grouped_tile(const GroupedRow& r, dim_t p, dim_t b, int n) {
  const GroupedWeights& g = r.weights;
  const int span = g.span[b];
  const dim_t c = b * W;
  const float* x = r.x + p * r.x_step + g.base[b];
  const bool broadcast = !g.index && g.group_ic > 1;
  if (broadcast) x -= c % g.group_ic;  // to the group's first channel
  vf acc[P][1];
  const vf bias = r.epilogue.bias ? load_lanes(r.epilogue.bias + c, n) : vzero();
  for (int i = 0; i < P; ++i) acc[i][0] = bias;
  for (dim_t t = 0; t < r.taps; ++t) {
    const float* xt = x + r.x_tap[t];
    const float* w = g.w + (b * g.taps + r.w_tap[t]) * g.group_ic * W;
    if (broadcast) {
      for (dim_t ch = 0; ch < g.group_ic; ++ch) {
        const vf wv = vload(w + ch * W);
        for (int i = 0; i < P; ++i)
          acc[i][0] = vfma(vbroadcast(xt + i * r.x_step + ch), wv, acc[i][0]);
      }
      continue;
    }
    vf pixel[P];
    for (int i = 0; i < P; ++i) pixel[i] = load_lanes(xt + i * r.x_step, span);
    if (!g.index) {
      const vf wv = vload(w);
      for (int i = 0; i < P; ++i) acc[i][0] = vfma(pixel[i], wv, acc[i][0]);
      continue;
    }
    for (dim_t ch = 0; ch < g.group_ic; ++ch) {
      const vi lanes = vindex(g.index + (b * g.group_ic + ch) * W);
      const vf wv = vload(w + ch * W);
      for (int i = 0; i < P; ++i) acc[i][0] = vfma(vpermute(pixel[i], lanes), wv, acc[i][0]);
    }
  }
  const Epilogue& e = r.epilogue;
  if (e.residual)
    add_residual(acc, e.residual_scale,
                 [&](int i, int) { return load_lanes(e.residual + (p + i) * e.ldr + c, n); });
  if (e.activation.act == Act::clamp) clamp(acc, vset(e.activation.alpha), vset(e.activation.beta));
  for (int i = 0; i < P; ++i) vstore_tail(r.y + (p + i) * r.y_step + c, acc[i][0], n);
}

void grouped_row(const GroupedRow& r) {
  const dim_t oc = r.weights.oc;
  for (dim_t b = 0; b * W < oc; ++b) {
    const int n = static_cast<int>(oc - b * W < W ? oc - b * W : W);
    dim_t p = 0;
    for (; p + 4 <= r.pixels; p += 4) grouped_tile<4>(r, p, b, n);
    for (; p < r.pixels; ++p) grouped_tile<1>(r, p, b, n);
  }
  if (r.epilogue.activation.afterwards())
    apply_activation(r.y, r.pixels, nullptr, r.y_step, oc, r.epilogue.activation);
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
