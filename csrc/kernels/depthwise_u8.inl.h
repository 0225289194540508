// L2 micro-kernel: convolutions of bytes with one input channel for each output channel, exact. The
// contract is IntegerDepthwiseBand in kernel_table.h; called by conv/integer_depthwise.cpp. Start
// at depthwise_band.
//
// An instruction takes several rows of the kernel at once: two as numbers of 16 bits, which hold
// any weight less its zero point, or four as bytes where such products are exact (DotS16 and
// DotU8S8 of simd/dot_<set>.h). So the ring holds rows of x in groups of so many, one row_dilation
// below the other, their bytes side by side. A group serves every row of outputs that sees it; where
// it has room, several rows see the same groups, by weights that are shifted down. What
// lies outside the image is there too, so that sums know no edges.
#pragma once
#include "kernels/kernel_table.h"
#include "kernels/product/finish_integers.inl.h"
#include "kernels/unroll.h"

namespace fastconv {
namespace {

// The bytes of 2 W channels of so many rows that begin `pitch` apart; and of the first n, 1 <= n <= 2
// W, of the rows whose bit is set, with `fill` for the others. Those of two rows are spread to 16 bits
// as they are read.
struct Pairs {
  static constexpr int kRows = 2;
  static void join(uint8_t* to, const uint8_t* x, dim_t pitch) { vpair_bytes(to, x, pitch); }
  static void join_some(uint8_t* to, const uint8_t* x, dim_t pitch, int n, unsigned rows,
                        uint8_t fill) {
    vpair_bytes_some(to, x, pitch, n, rows, fill);
  }
  static vi read(const uint8_t* p) { return vipairs(p); }
};
struct Quads {
  static constexpr int kRows = 4;
  static void join(uint8_t* to, const uint8_t* x, dim_t pitch) { vquad_bytes(to, x, pitch); }
  static void join_some(uint8_t* to, const uint8_t* x, dim_t pitch, int n, unsigned rows,
                        uint8_t fill) {
    vquad_bytes_some(to, x, pitch, n, rows, fill);
  }
  static vi read(const uint8_t* p) { return viload(reinterpret_cast<const int32_t*>(p)); }
};

// Groups of rows, [slot][two blocks][column][2 W][rows] bytes. The group whose uppermost row is i,
// counted from the first that the band sees, goes to slot i % slots.
struct RowRing {
  uint8_t* bytes;
  dim_t unit;        // bytes of two blocks
  dim_t slot_bytes;  // of ring_pairs units
  dim_t slots;
  dim_t step;    // slots from a group to the next that one output sees
  dim_t groups;  // that it sees
};
template <class Rows>
constexpr dim_t kPixelBytes = 2 * W * Rows::kRows;  // of a unit

// Columns [begin, begin + columns) of the group whose first row is i, `blocks` blocks from b.
template <class Rows>
void copy_group(const IntegerDepthwiseBand& t, dim_t i, dim_t begin, dim_t columns, dim_t b,
                dim_t blocks, uint8_t* slot, dim_t unit) {
  constexpr int kRows = Rows::kRows;
  constexpr dim_t kBytes = kPixelBytes<Rows>;
  constexpr unsigned kAll = (1u << kRows) - 1;
  unsigned inside = 0;
  for (int k = 0; k < kRows; ++k) {
    const dim_t row = i + k * t.row_dilation;
    inside |= static_cast<unsigned>(row >= 0 && row < t.rows_in) << k;
  }
  dim_t left = begin < 0 ? -begin : 0;
  dim_t right = begin + columns > t.cols_in ? t.cols_in - begin : columns;
  if (left > columns || right < left || inside == 0) left = right = columns;
  const dim_t units = (blocks + 1) / 2;
  for (dim_t k = 0; k < units; ++k) {
    memset(slot + k * unit, t.zero, static_cast<size_t>(left * kBytes));
    memset(slot + k * unit + right * kBytes, t.zero,
           static_cast<size_t>((columns - right) * kBytes));
  }

  const dim_t rest_of_oc = t.weights.oc - b * W;
  const dim_t channels = rest_of_oc < blocks * W ? rest_of_oc : blocks * W;
  const dim_t pitch = t.row_dilation * t.x_row, corner = i * t.x_row + begin * t.x_col;
  uint8_t* to = slot + left * kBytes;
  if (!t.weights.channel) {
    const dim_t whole = inside == kAll ? channels / (2 * W) * 2 * W : 0;
    for (dim_t j = left; j < right; ++j, to += kBytes) {
      const uint8_t* const x = t.x + (corner + j * t.x_col + b * W);
      uint8_t* group = to;
      dim_t c = 0;
      for (; c < whole; c += 2 * W, group += unit) Rows::join(group, x + c, pitch);
      for (; c < channels; c += 2 * W, group += unit) {
        const int n = static_cast<int>(channels - c < 2 * W ? channels - c : 2 * W);
        Rows::join_some(group, x + c, pitch, n, inside, t.zero);
      }
    }
    return;
  }
  constexpr dim_t kGathered = kMaxRingPairs * 2 * W;
  uint8_t pixels[kRows * kGathered];
  memset(pixels, t.zero, sizeof pixels);
  const int32_t* const channel = t.weights.channel + b * W;
  for (dim_t j = left; j < right; ++j, to += kBytes) {
    for (int k = 0; k < kRows; ++k) {
      const uint8_t* const x = t.x + (corner + k * pitch + j * t.x_col);
      if (inside >> k & 1)
        for (dim_t c = 0; c < channels; ++c) pixels[k * kGathered + c] = x[channel[c]];
    }
    for (dim_t k = 0; k < units; ++k) Rows::join(to + k * unit, pixels + k * 2 * W, kGathered);
  }
}

// The sums of P pixels of a row and one block of channels, 2 W apart. `at` is the first pixel's
// first column in slot 0, `slot` where the first group is. K and S are kw and the column stride, or
// K is 0: any. For each group its K weights are in registers, and a vector of pixels is read once
// for the K / S outputs that it is part of.
template <class Dot, class Rows, int K, int S, int P>
inline void depthwise_sums(const IntegerDepthwiseBand& t, const RowRing& ring, const uint8_t* at,
                           dim_t slot, const int32_t* w, int32_t* sums) {
  constexpr dim_t kBytes = kPixelBytes<Rows>;
  vi acc[P];
  FC_UNROLL for (int p = 0; p < P; ++p) acc[p] = vizero();
  for (dim_t group = 0; group < ring.groups; ++group) {
    const uint8_t* const x = at + slot * ring.slot_bytes;
    if constexpr (K > 0) {
      typename Dot::Row wk[K];
      FC_UNROLL for (int kx = 0; kx < K; ++kx) wk[kx] = Dot::row(w + kx * W);
      for_each_constant<(P - 1) * S + K>([&](auto position) {
        constexpr int j = decltype(position)();
        const vi v = Rows::read(x + j * kBytes);
        FC_UNROLL for (int kx = 0; kx < K;
                       ++kx) if ((j - kx) % S == 0 && j >= kx && (j - kx) / S < P)
            acc[(j - kx) / S] = Dot::dot(acc[(j - kx) / S], v, wk[kx]);
      });
      w += K * W;
    } else {
      for (dim_t kx = 0; kx < t.weights.kw; ++kx, w += W) {
        const typename Dot::Row wk = Dot::row(w);
        const uint8_t* const column = x + kx * t.col_dilation * kBytes;
        FC_UNROLL for (int p = 0; p < P; ++p) acc[p] =
            Dot::dot(acc[p], Rows::read(column + p * t.col_stride * kBytes), wk);
      }
    }
    slot += ring.step;
    if (slot >= ring.slots) slot -= ring.slots;
  }
  FC_UNROLL for (int p = 0; p < P; ++p) vistore(sums + p * 2 * W, acc[p]);
}

// The sums of `pixels` pixels of a row and one block of channels.
template <class Dot, class Rows, int K, int S>
__attribute__((noinline)) void depthwise_row(const IntegerDepthwiseBand& t, const RowRing& ring,
                                             const uint8_t* at, dim_t slot, const int32_t* w,
                                             dim_t pixels, int32_t* sums) {
  const dim_t step = (K > 0 ? S : t.col_stride) * kPixelBytes<Rows>;
  dim_t p = 0;
  const auto tiles = [&](auto size) {
    constexpr int P = decltype(size)();
    for (; p + P <= pixels; p += P)
      depthwise_sums<Dot, Rows, K, S, P>(t, ring, at + p * step, slot, w, sums + p * 2 * W);
  };
  // Images are 7 * 2^k pixels wide.
  if (pixels % 7 == 0 && pixels % 8 != 0) tiles(Constant<7>());
  tiles(Constant<8>());
  tiles(Constant<4>());
  tiles(Constant<1>());
}

template <class Dot, class Rows, int K, int S>
void depthwise_band(const IntegerDepthwiseBand& t) {
  const IntegerDepthwiseWeights& weights = t.weights;
  const dim_t stride = K > 0 ? S : t.col_stride, reach = (weights.kw - 1) * t.col_dilation + 1;
  constexpr dim_t kRows = Rows::kRows;
  RowRing ring;
  ring.bytes = static_cast<uint8_t*>(t.ring);
  ring.unit = ((t.segment - 1) * stride + reach) * kPixelBytes<Rows>;
  ring.slot_bytes = t.ring_pairs * ring.unit;
  ring.groups = (weights.kh + weights.shifts - 1 + kRows - 1) / kRows;
  ring.step = kRows * t.row_dilation;
  ring.slots = (ring.groups - 1) * ring.step + 1;
  int32_t* const sums = reinterpret_cast<int32_t*>(ring.bytes + ring.slots * ring.slot_bytes);
  dim_t* const held = reinterpret_cast<dim_t*>(sums + t.segment * 2 * W);  // rows of the slots
  const auto wrapped = [&](dim_t slot) {
    while (slot >= ring.slots) slot -= ring.slots;
    return slot;
  };
  // The first row of the first group that the band's first output sees.
  const dim_t above = ring.groups * kRows - (weights.kh + weights.shifts - 1);
  const dim_t top = t.row_first - above * t.row_dilation;
  const dim_t size = kStoreBytes[static_cast<int>(t.finish.type)];
  const dim_t w_block = ring.groups * weights.kw * W;
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
        const dim_t shift = r % weights.shifts;
        dim_t slot = top_slot, row = (r - shift) * t.row_stride;
        for (dim_t group = 0; group < ring.groups;
             ++group, row += ring.step, slot = wrapped(slot + ring.step)) {
          if (held[slot] == row) continue;
          held[slot] = row;
          copy_group<Rows>(t, top + row, t.col_first + p0 * stride, (pixels - 1) * stride + reach,
                           b, blocks, ring.bytes + slot * ring.slot_bytes, ring.unit);
        }
        char* const y = static_cast<char*>(t.y) + (r * t.y_row + p0 * t.y_col) * size;
        for (dim_t k = 0; k < blocks; k += 2) {
          const dim_t o = (b + k) * W, two = blocks - k < 2 ? 1 : 2;
          for (dim_t i = 0; i < two; ++i)
            depthwise_row<Dot, Rows, K, S>(
                t, ring, ring.bytes + k / 2 * ring.unit + i * W * kRows, top_slot,
                w + ((b + k + i) * weights.shifts + shift) * w_block, pixels, sums + i * W);
          tile.n_cur = static_cast<int>(weights.oc - o < two * W ? weights.oc - o : two * W);
          if (t.finish.bias) tile.finish.bias = t.finish.bias + o;
          if (t.finish.scale) tile.finish.scale = t.finish.scale + o;
          if (t.finish.shift) tile.finish.shift = t.finish.shift + o;
          FinishIntegers::run<2>(tile, {tile, y + o * size}, static_cast<int>(pixels),
                                 reinterpret_cast<int32_t (*)[2 * W]>(sums));
        }
        if (shift + 1 == weights.shifts)
          top_slot = wrapped(top_slot + weights.shifts * t.row_stride);
      }
    }
  }
}

template <class Dot, class Rows>
void fill_bands(IntegerDepthwiseKernels& k) {
  k.rows = Rows::kRows;
  k.any = depthwise_band<Dot, Rows, 0, 0>;
  k.band[3][1] = depthwise_band<Dot, Rows, 3, 1>;
  k.band[3][2] = depthwise_band<Dot, Rows, 3, 2>;
  k.band[5][1] = depthwise_band<Dot, Rows, 5, 1>;
  k.band[5][2] = depthwise_band<Dot, Rows, 5, 2>;
  k.band[7][1] = depthwise_band<Dot, Rows, 7, 1>;
  k.band[7][2] = depthwise_band<Dot, Rows, 7, 2>;
}
template <class Bytes, class Shorts>
void fill_depthwise(KernelTable& table) {
  fill_bands<Shorts, Pairs>(table.depthwise_pairs);
  if constexpr (Bytes::kSaturates)
    table.depthwise_bytes = {};  // the tier below may have some
  else
    fill_bands<Bytes, Quads>(table.depthwise_bytes);
}

}  // namespace
}  // namespace fastconv
