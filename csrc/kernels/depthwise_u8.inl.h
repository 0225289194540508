// L2 micro-kernel: convolutions of bytes with one input channel for each output channel, exact. The
// contract is IntegerDepthwiseBand in kernel_table.h; called by conv/integer_depthwise.cpp. Start
// at depthwise_band.
//
// A multiply-add of two numbers of 16 bits takes two rows of the kernel at once (DotS16 of
// simd/dot_<set>.h). So the ring holds rows of x in pairs, one row_dilation below the other, their
// bytes side by side: spreading them to 16 bits is one instruction for each vector of them. A pair
// serves every row of outputs that sees it. What lies outside the image is there too, so that sums
// know no edges.
#pragma once
#include "kernels/kernel_table.h"
#include "kernels/product/finish.inl.h"
#include "kernels/unroll.h"

namespace fastconv {
namespace {

// Pairs of rows, [slot][two blocks][column][2 W][2] bytes. The pair whose upper row is i, counted
// from the first that the band sees, goes to slot i % slots.
struct PairRing {
  uint8_t* bytes;
  dim_t unit;        // bytes of two blocks
  dim_t slot_bytes;  // of ring_pairs units
  dim_t slots;
  dim_t step;   // slots from a pair to the next that one output sees
  dim_t pairs;  // that it sees
};
constexpr dim_t kPairBytes = 4 * W;  // of a pixel in a unit

// Columns [begin, begin + columns) of rows i and i + row_dilation, `blocks` blocks from b.
inline void copy_pair(const IntegerDepthwiseBand& t, dim_t i, dim_t begin, dim_t columns, dim_t b,
                      dim_t blocks, uint8_t* slot, dim_t unit) {
  const dim_t row[2] = {i, i + t.row_dilation};
  const bool inside[2] = {row[0] >= 0 && row[0] < t.rows_in, row[1] >= 0 && row[1] < t.rows_in};
  dim_t left = begin < 0 ? -begin : 0;
  dim_t right = begin + columns > t.cols_in ? t.cols_in - begin : columns;
  if (left > columns || right < left || !(inside[0] || inside[1])) left = right = columns;
  const dim_t units = (blocks + 1) / 2;
  for (dim_t k = 0; k < units; ++k) {
    memset(slot + k * unit, t.zero, static_cast<size_t>(left * kPairBytes));
    memset(slot + k * unit + right * kPairBytes, t.zero,
           static_cast<size_t>((columns - right) * kPairBytes));
  }

  // A row outside of the image is one pixel over and over.
  uint8_t outside[kMaxRingPairs * 2 * W];
  memset(outside, t.zero, sizeof outside);
  const dim_t first = t.weights.channel ? 0 : b * W;
  const uint8_t* x[2];
  dim_t step[2];
  for (int k = 0; k < 2; ++k) {
    x[k] = inside[k] ? t.x + row[k] * t.x_row + (begin + left) * t.x_col + first : outside;
    step[k] = inside[k] ? t.x_col : 0;
  }
  const dim_t rest_of_oc = t.weights.oc - b * W;
  const dim_t channels = rest_of_oc < blocks * W ? rest_of_oc : blocks * W;
  uint8_t* to = slot + left * kPairBytes;
  if (t.weights.channel) {
    uint8_t pixel[2][kMaxRingPairs * 2 * W];
    memset(pixel, t.zero, sizeof pixel);
    const int32_t* channel = t.weights.channel + b * W;
    for (dim_t j = left; j < right; ++j, to += kPairBytes, x[0] += step[0], x[1] += step[1]) {
      for (int k = 0; k < 2; ++k)
        if (inside[k])
          for (dim_t c = 0; c < channels; ++c) pixel[k][c] = x[k][channel[c]];
      for (dim_t k = 0; k < units; ++k)
        vpair_bytes(to + k * unit, pixel[0] + k * 2 * W, pixel[1] + k * 2 * W);
    }
    return;
  }
  const dim_t whole = channels / (2 * W) * 2 * W;
  const int rest = static_cast<int>(channels - whole);
  for (dim_t j = left; j < right; ++j, to += kPairBytes, x[0] += step[0], x[1] += step[1]) {
    uint8_t* pair = to;
    dim_t c = 0;
    for (; c < whole; c += 2 * W, pair += unit) vpair_bytes(pair, x[0] + c, x[1] + c);
    if (rest) vpair_bytes_tail(pair, x[0] + c, x[1] + c, rest);
  }
}

// The sums of P pixels of a row and one block of channels, 2 W apart. `at` is the first pixel's
// first column in slot 0, `slot` where the first pair is. K and S are kw and the column stride, or
// K is 0: any. For each pair its K weights are in registers, and a vector of pixels is spread once
// for the K / S outputs that it is part of.
template <class Dot, int K, int S, int P>
inline void depthwise_sums(const IntegerDepthwiseBand& t, const PairRing& ring, const uint8_t* at,
                           dim_t slot, const int32_t* w, int32_t* sums) {
  vi acc[P];
  FC_UNROLL for (int p = 0; p < P; ++p) acc[p] = vizero();
  for (dim_t pair = 0; pair < ring.pairs; ++pair) {
    const uint8_t* const x = at + slot * ring.slot_bytes;
    if constexpr (K > 0) {
      typename Dot::Row wk[K];
      FC_UNROLL for (int kx = 0; kx < K; ++kx) wk[kx] = Dot::row(w + kx * W);
      for_each_constant<(P - 1) * S + K>([&](auto position) {
        constexpr int j = decltype(position)();
        const vi v = vipairs(x + j * kPairBytes);
        FC_UNROLL for (int kx = 0; kx < K;
                       ++kx) if ((j - kx) % S == 0 && j >= kx && (j - kx) / S < P)
            acc[(j - kx) / S] = Dot::dot(acc[(j - kx) / S], v, wk[kx]);
      });
      w += K * W;
    } else {
      for (dim_t kx = 0; kx < t.weights.kw; ++kx, w += W) {
        const typename Dot::Row wk = Dot::row(w);
        const uint8_t* const column = x + kx * t.col_dilation * kPairBytes;
        FC_UNROLL for (int p = 0; p < P; ++p) acc[p] =
            Dot::dot(acc[p], vipairs(column + p * t.col_stride * kPairBytes), wk);
      }
    }
    slot += ring.step;
    if (slot >= ring.slots) slot -= ring.slots;
  }
  FC_UNROLL for (int p = 0; p < P; ++p) vistore(sums + p * 2 * W, acc[p]);
}

// The sums of `pixels` pixels of a row and one block of channels.
template <class Dot, int K, int S>
__attribute__((noinline)) void depthwise_row(const IntegerDepthwiseBand& t, const PairRing& ring,
                                             const uint8_t* at, dim_t slot, const int32_t* w,
                                             dim_t pixels, int32_t* sums) {
  const dim_t step = (K > 0 ? S : t.col_stride) * kPairBytes;
  dim_t p = 0;
  const auto tiles = [&](auto size) {
    constexpr int P = decltype(size)();
    for (; p + P <= pixels; p += P)
      depthwise_sums<Dot, K, S, P>(t, ring, at + p * step, slot, w, sums + p * 2 * W);
  };
  // Images are 7 * 2^k pixels wide.
  if (pixels % 7 == 0 && pixels % 8 != 0) tiles(Constant<7>());
  tiles(Constant<8>());
  tiles(Constant<4>());
  tiles(Constant<1>());
}

template <class Dot, int K, int S>
void depthwise_band(const IntegerDepthwiseBand& t) {
  const IntegerDepthwiseWeights& weights = t.weights;
  const dim_t stride = K > 0 ? S : t.col_stride, reach = (weights.kw - 1) * t.col_dilation + 1;
  PairRing ring;
  ring.bytes = static_cast<uint8_t*>(t.ring);
  ring.unit = ((t.segment - 1) * stride + reach) * kPairBytes;
  ring.slot_bytes = t.ring_pairs * ring.unit;
  ring.pairs = (weights.kh + 1) / 2;
  ring.step = 2 * t.row_dilation;
  ring.slots = (ring.pairs - 1) * ring.step + 1;
  int32_t* const sums = reinterpret_cast<int32_t*>(ring.bytes + ring.slots * ring.slot_bytes);
  dim_t* const held = reinterpret_cast<dim_t*>(sums + t.segment * 2 * W);  // rows of the slots
  const auto wrapped = [&](dim_t slot) {
    while (slot >= ring.slots) slot -= ring.slots;
    return slot;
  };
  // The upper row of the first pair that the band's first output sees.
  const dim_t top = t.row_first - (weights.kh % 2 ? t.row_dilation : 0);
  const dim_t size = kStoreBytes[static_cast<int>(t.finish.type)];
  const dim_t w_block = ring.pairs * weights.kw * W;
  const int32_t* const w = reinterpret_cast<const int32_t*>(weights.w);

  IntegerTile tile = {};
  tile.ldc = t.y_col;
  tile.finish = t.finish;
  for (dim_t b = t.block_begin; b < t.block_end; b += 2 * t.ring_pairs) {
    const dim_t blocks = t.block_end - b < 2 * t.ring_pairs ? t.block_end - b : 2 * t.ring_pairs;
    for (dim_t p0 = 0; p0 < t.pixels; p0 += t.segment) {
      const dim_t pixels = t.pixels - p0 < t.segment ? t.pixels - p0 : t.segment;
      for (dim_t k = 0; k < ring.slots; ++k) held[k] = -1;
      dim_t top_slot = 0;
      for (dim_t r = 0; r < t.rows; ++r) {
        dim_t slot = top_slot, row = r * t.row_stride;
        for (dim_t pair = 0; pair < ring.pairs;
             ++pair, row += ring.step, slot = wrapped(slot + ring.step)) {
          if (held[slot] == row) continue;
          held[slot] = row;
          copy_pair(t, top + row, t.col_first + p0 * stride, (pixels - 1) * stride + reach, b,
                    blocks, ring.bytes + slot * ring.slot_bytes, ring.unit);
        }
        char* const y = static_cast<char*>(t.y) + (r * t.y_row + p0 * t.y_col) * size;
        for (dim_t k = 0; k < blocks; k += 2) {
          const dim_t o = (b + k) * W, two = blocks - k < 2 ? 1 : 2;
          for (dim_t i = 0; i < two; ++i)
            depthwise_row<Dot, K, S>(t, ring, ring.bytes + k / 2 * ring.unit + i * 2 * W, top_slot,
                                     w + (b + k + i) * w_block, pixels, sums + i * W);
          tile.n_cur = static_cast<int>(weights.oc - o < two * W ? weights.oc - o : two * W);
          if (t.finish.bias) tile.finish.bias = t.finish.bias + o;
          if (t.finish.scale) tile.finish.scale = t.finish.scale + o;
          if (t.finish.shift) tile.finish.shift = t.finish.shift + o;
          FinishIntegers::run<2>(tile, {y + o * size, nullptr, 0}, static_cast<int>(pixels),
                                 reinterpret_cast<int32_t (*)[2 * W]>(sums));
        }
        top_slot = wrapped(top_slot + t.row_stride);
      }
    }
  }
}

template <class Dot>
void fill_depthwise(IntegerDepthwiseKernels& k) {
  k.any = depthwise_band<Dot, 0, 0>;
  k.band[3][1] = depthwise_band<Dot, 3, 1>;
  k.band[3][2] = depthwise_band<Dot, 3, 2>;
  k.band[5][1] = depthwise_band<Dot, 5, 1>;
  k.band[5][2] = depthwise_band<Dot, 5, 2>;
  k.band[7][1] = depthwise_band<Dot, 7, 1>;
  k.band[7][2] = depthwise_band<Dot, 7, 2>;
}

}  // namespace
}  // namespace fastconv
