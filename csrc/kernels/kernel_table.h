// L2 kernels: the contracts. One KernelTable per ISA tier; the layers above see this file and
// dispatch.h, nothing else of kernels/. Read it first. Every kernel is noexcept, allocates nothing,
// starts no thread, and never reads or writes a float outside what its contract names (tests run
// them on arrays that end at an unmapped page). Plain data only: ISA translation units include this
// file.
#pragma once
#include "core/epilogue.h"
#include "core/ops.h"
#include "core/quantization.h"
#include "core/types.h"
#include "kernels/binary.h"
#include "kernels/codebook.h"
#include "kernels/limits.h"
#include "kernels/planar.h"
#include "kernels/product_tile.h"
#include "kernels/sparse_planes.h"

namespace fastconv {

// ---- product/finish_f32.inl.h -------------------------------------------------------------------
// Of f32, a word being one number:
//   C[m, n] = act(alpha * sum + bias[n] + row_bias[m] + residual_scale * residual[m, n])
// The panel is [taps * K][ldb], of which every row's first NRV * W floats are read: packed panels
// are zero-padded to that width (ldb = NRV * W), a matrix in place must have it. With accumulate,
// the tile adds to what C holds (K split into blocks; plain GEMM only).
template <class Number>
struct PanelTile : FloatTile<Number, Number> {
  dim_t ldb;  // words
};
using GemmTile = PanelTile<float>;

// ---- gemv_f32.inl.h -----------------------------------------------------------------------------
// The same for 1 to kGemvRows rows and any n_cur, which is all that is read of a row of B: a matrix
// in place, of one tap, without a_row and c_row. `sums` is scratch for rows * n_cur floats, each
// row rounded up to whole vectors. gemv_columns is for a B whose columns are contiguous: row k of
// column n is b[n * ldb + k]. Of one row its sums have an order of their own.
using GemvUkr = void (*)(const GemmTile&, float* sums);

constexpr int kMaxMR = 14, kGemvRows = 4;
constexpr int kMaxTileRows = 32;  // of tile registers
using GemmPanel = PanelKernels<GemmTile, kMaxMR>;
struct GemmKernels {
  int mr = 0, nr = 0;            // the tile of most of the work
  GemmPanel panels[3];           // nr / 2, nr and 3 nr / 2 wide; gemm/gemm.h says which where
  GemvUkr gemv[kGemvRows] = {};  // [rows - 1]
  GemvUkr gemv_columns[kGemvRows] = {};
};

// Of bf16, summed in f32, a word being two numbers: the panel is [taps][K / 2][ldb][2], and K a
// multiple of `depth`. Products are exact, and their sums those of f32 in the order of k. But with
// AVX512_BF16 and AMX, sums have another order, and denormals count as zeros.
// Where `rounded` is not null, C goes there as bf16, at the same offsets; c and the residual are null,
// and the activation is one of registers.
struct Bf16Tile : PanelTile<uint16_t> {
  uint16_t* rounded = nullptr;
};
using Bf16Panel = PanelKernels<Bf16Tile, kMaxTileRows>;
struct Bf16Kernels {
  int mr = 0, nr = 0;  // as GemmKernels has them, with the same nr
  int depth = 2;
  Bf16Panel panels[3];
  // y[i] = x[i] to the nearest number of bf16, ties to even, i < n; a NaN stays one, a quiet one.
  void (*round)(const float* x, dim_t n, uint16_t* y) = nullptr;
  // Of the instruction that multiplies them; empty where there is none.
  PeakLoop peak;
  bool emulated = false;
};

// ---- sparse_f32.inl.h ---------------------------------------------------------------------------
// Products by weights that are zeros for the most part, whose zeros are not multiplied. A sum has the
// order that GemmTile gives it, and where A is finite the same bits.
//
// Register tiles of GemmTile, with a panel of `width` columns that lacks its rows of zeros:
//   C[m, n] = act(sum over taps t, i < count[t] of A_t[m, k[s(t) + i]] * B[s(t) + i, n] + ...)
//   s(t)    = count[0] + ... + count[t - 1]
// b is [s(taps)][width]; K, ldb and next are not read.
constexpr int kSparseWidths[] = {16, 32};
struct SparseTile : GemmTile {
  const int32_t* count;  // [taps]
  const int32_t* k;      // [s(taps)]
};
struct SparsePanel : PanelKernels<SparseTile, kMaxMR> {
  int width = 0;
};
// The last two are in sparse_planes.h.
struct SparseKernels {
  // By kSparseWidths; the wider ones have no rows where a tier gains nothing by them.
  SparsePanel panels[2];
  void (*planes)(const SparsePlanes&) = nullptr;
  void (*to_pixels)(const PlanesToPixels&) = nullptr;
};

// ---- product/finish_integers.inl.h -----------------------------------------------------------------------
// Of bytes, exact modulo 2^32. A has bytes without a sign, B weights with one, in words of four, for
// the n of the panel's vectors v < NRV of W lanes l. Where K is not a multiple
// of four, a tap's last word begins at K - 4, with zeros for what the word before has; one of less
// than four bytes is filled up with zeros. B takes one of these forms, each with tiles of its own:
//   bytes  s8   [taps][ceil(K / 4)][NRV][W][4]
//   wide   s16  [taps][K / 4][NRV][W][2]: A has numbers of s16, two in a word, and K, offsets and
//               lda count their bytes
//   tiles  s8   as bytes, but that K is a multiple of 64, there is one tap at offset 0, and rows
//               are lda apart; a tile has `rows` rows
//   pairs  as wide, but that C is the sums as s32, in rows of whole panels: n_cur and finish are
//               not read but for finish.type
// Where IntegerKernels::saturates, |w0 + w1| <= 128 must hold for the first two and the last two
// weights of every word of bytes. What is in excess of that goes to a list for each vector of the
// panel.
struct ExcessWord {
  int32_t tap, k;  // what of A it multiplies: the word of that tap that begins there
};
struct ExcessList {
  const ExcessWord* words;  // [count]
  const int8_t* b;          // [count][W][4]
  dim_t count;
};

enum class StoreAs : int32_t { s32, u8, s8, f32 };
constexpr dim_t kStoreBytes[] = {4, 1, 1, 4};  // of an element of C, by StoreAs
// What a sum becomes, all arrays readable up to a whole vector beyond the last column:
//   s = sum + bias[n] + sum over i < terms of term[i].row[m] * term[i].column[n]      modulo 2^32
//   s32     s
//   f32     clamp(s * scale[n] + shift[n], low, high)
//   u8, s8  the same, rounded to nearest, ties to even, + zero
// low + zero and high + zero must be numbers of the type. bias and shift may be null. `fits` says
// that |s * scale[n] + shift[n]| <= 2^30 whatever s is: then bytes can be clamped as bytes.
struct IntegerFinish {
  struct Term {
    const int32_t *row, *column;
  };
  StoreAs type = StoreAs::s32;
  const int32_t* bias = nullptr;
  Term term[2] = {};
  int terms = 0;
  const float *scale = nullptr, *shift = nullptr;
  float low = 0.0f, high = 0.0f;
  int32_t zero = 0;
  bool fits = false;
};
struct IntegerTile : ProductTile<uint8_t, void, void> {  // C: elements of finish.type
  const ExcessList* excess;                              // [NRV], or null: nothing is
  IntegerFinish finish;
};
using IntegerPanel = PanelKernels<IntegerTile, kMaxTileRows>;
constexpr int kWordsOfTurn = 9;
constexpr dim_t kOrderBlock = 64;  // bytes
// Of a row of n bytes: blocks end with the row if that is as long as one.
FC_INLINE dim_t start_of_block(dim_t begin, dim_t n) noexcept {
  return begin + kOrderBlock <= n || n < kOrderBlock ? begin : n - kOrderBlock;
}
struct IntegerKernels {
  int mr = 0, nr = 0;                        // the tile of most of the work; nr = 2 W
  bool saturates = false;                    // see above
  IntegerPanel bytes[3], wide[3], pairs[3];  // nr / 2, nr and 3 nr / 2 wide
  // Of a processor with tile registers, or empty. Whoever calls them asks for these first
  // (core/tiles.h), but where they are emulated.
  IntegerPanel tiles[3];
  bool tiles_emulated = false;
  // Tiles of bytes, nr wide, that store each while the next one is summed, or empty. They want one tap,
  // whole words of K, kWordsOfTurn of them or more, and no excess; all columns; and a finish without
  // terms, of s32, or of u8 or s8 that `fits` and has no shift.
  IntegerPanel in_turns;
  // to[i * n + k] = row[run[i] + k] for i < runs, k < n, of u8 and of s16; nothing else is read or
  // written.
  void (*copy_runs)(const uint8_t* row, const dim_t* run, dim_t runs, dim_t n, void* to) = nullptr;
  void (*widen_runs)(const uint8_t* row, const dim_t* run, dim_t runs, dim_t n, void* to) = nullptr;
  // The n bytes of each of `count` rows, by blocks: byte i of a block of `to` is byte order[i] of that
  // block, or 0 where order[i] is no less than kOrderBlock. Whole blocks are read and written.
  void (*permute_rows)(const uint8_t* rows, dim_t step, dim_t count, dim_t n, const uint8_t* order,
                       uint8_t* to, dim_t to_step) = nullptr;
};

// ---- grouped_f32.inl.h --------------------------------------------------------------------------
// Convolutions with one or few channels per group, depthwise ones among them, channels-last: a
// vector (block) holds the output channels of several groups, and the input channels that they need
// span at most W: one load, and a permutation per input channel of a group, feed all lanes. Groups
// of W or 2 * W input and as many output channels have no index: each channel is broadcast.
struct GroupedWeights {
  const float* w;       // [blocks][taps][group_ic][W], zero-padded
  dim_t taps;           // of the whole kernel
  dim_t group_ic;       // input channels per group
  const dim_t* base;    // [blocks] first input channel of the block's span; without index b * W
  const int32_t* span;  // [blocks] channels in the span, <= W
  // [blocks][group_ic][W] lanes of the span. Null where groups have one channel each and lane l
  // reads lane l, or where a group fills its vectors.
  const int32_t* index;
  dim_t oc;
};
// A run of `pixels` output pixels of one row, all channels:
//   y[p * y_step + o] = act(bias[o] + residual_scale * residual + sum over taps t, i < group_ic of
//                           x[x_tap[t] + p * x_step + base[b] + index[b][i][l]]
//                           * w[b][w_tap[t]][i][l])
// for output channel o = b * W + l. The caller lists the taps that are in bounds for the run, so
// that no padding is materialised.
struct GroupedRow {
  const float* x;
  dim_t x_step;
  const dim_t* x_tap;
  const dim_t* w_tap;
  dim_t taps;
  GroupedWeights weights;
  float* y;
  dim_t y_step;
  dim_t pixels;
  Epilogue epilogue;  // residual addressed like y with pixel step ldr
};
// A band of `rows` x `pixels` outputs, blocks [block_begin, block_end), of a kernel kh x kw, both
// at most kMaxBandKernel, with column stride s. Output (r, p) reads the inputs (i, j) for
//   i = row_first + r * row_stride + ky * row_dilation
//   j = col_first + p * s + kx
// of which those outside [0, rows_in) x [0, cols_in) count as zero. x is pixel (0, 0). Rows are
// done in pieces of `segment` pixels, blocks 2 * ring_pairs at a time. `ring` is scratch, for each
// of the ring_pairs
//   ((kh - 1) * row_dilation + 1) * ((segment - 1) * s + kw) * 2 * W floats
struct GroupedBand {
  const float* x;
  dim_t x_row, x_col;
  dim_t rows_in, cols_in;
  dim_t row_first, row_stride, row_dilation, col_first;
  dim_t kh;
  GroupedWeights weights;
  dim_t block_begin, block_end;
  float* y;
  dim_t y_row, y_col;
  dim_t rows, pixels;
  // Where it is not null, the results go there as bf16, at y's offsets; y and the residual are null,
  // and the activation is one of registers.
  uint16_t* rounded;
  float* ring;
  dim_t segment, ring_pairs;
  Epilogue epilogue;  // residual addressed like y
};
constexpr int kMaxBandKernel = 7, kMinDepthwisePixels = 7;

struct ConvKernels {
  void (*grouped_row)(const GroupedRow&) = nullptr;
  // [kw][column stride]; null where there is no instance
  void (*grouped_band[kMaxBandKernel + 1][3])(const GroupedBand&) = {};
  // The same, read in place, without a residual, of blocks that have W channels, one a group, where
  // kh = kw, the strides are equal, row_dilation is 1, there are `depthwise_rows` rows of outputs
  // or more and kMinDepthwisePixels pixels, and at most kw / 2 columns are outside the image at
  // either side. The segment is not heeded. `ring` is scratch of
  //   (7 * s + kw) * |x_col| + 2 * ring_pairs * W floats.
  void (*depthwise_band[kMaxBandKernel + 1][3])(const GroupedBand&) = {};
  int depthwise_rows = 1;
  void (*planar_row)(const PlanarRow&) = nullptr;  // planar.h
};

// ---- depthwise_u8.inl.h -------------------------------------------------------------------------
// Convolutions of bytes in which each output channel has one input channel, channels-last, exact
// modulo 2^32. A band of `rows` x `pixels` outputs, channels o of blocks [block_begin, block_end)
// of W:
//   y[r * y_row + p * y_col + o] = finish(sum over ky < kh, kx < kw of X(i, j) * w[o, ky, kx])
//   i = row_first + r * row_stride + ky * row_dilation
//   j = col_first + p * col_stride + kx * col_dilation
// X(i, j) is x[i * x_row + j * x_col + channel[o]], or `zero` where (i, j) is outside
// [0, rows_in) x [0, cols_in). finish.terms is 0.
struct IntegerDepthwiseWeights {
  // Groups of IntegerDepthwiseKernels::rows rows of the kernel, one below the other:
  // [blocks][shifts][groups][kw][W][rows], s16 in pairs, s8 in fours, groups = ceil((kh + shifts - 1)
  // / rows). The kernel ends shifts - 1 rows above the last, or so much further down as the shift
  // says, among rows of zeros. Where row_stride and row_dilation are 1, `shifts` rows of outputs see
  // the same groups; elsewhere it is 1.
  const void* w;
  dim_t shifts;
  dim_t kh, kw;
  const int32_t* channel;  // null: channel o is its own
  dim_t oc;
};
// Rows are done in pieces of `segment` pixels, blocks 2 * ring_pairs at a time. `ring` is scratch,
// at a cache line, of
//   2 W (rows * slots * ring_pairs * columns + 4 * segment) + 8 * slots bytes
//   slots   = rows * (groups - 1) * row_dilation + 1
//   columns = (segment - 1) * col_stride + (kw - 1) * col_dilation + 1
struct IntegerDepthwiseBand {
  const uint8_t* x;  // pixel (0, 0)
  dim_t x_row, x_col;
  dim_t rows_in, cols_in;
  dim_t row_first, row_stride, row_dilation, col_first, col_stride, col_dilation;
  uint8_t zero;
  IntegerDepthwiseWeights weights;
  dim_t block_begin, block_end;  // begins at an even one
  void* y;                       // elements of finish.type
  dim_t y_row, y_col;
  dim_t rows, pixels;
  void* ring;
  dim_t segment, ring_pairs;  // at most kMaxRingPairs
  IntegerFinish finish;
};
constexpr int kMaxRingPairs = 4;
struct IntegerDepthwiseKernels {
  int rows = 0;  // of a group
  void (*any)(const IntegerDepthwiseBand&) = nullptr;
  // [kw][col_stride] of col_dilation 1; null where there is no instance
  void (*band[kMaxBandKernel + 1][3])(const IntegerDepthwiseBand&) = {};
};

// ---- winograd_f32.inl.h -------------------------------------------------------------------------
// One tile of n x n pixels, transformed: matrix i * n + j of V gets element (i, j) of B^T d B, of
// channel c < channels at
//   v[(i * n + j) * v_step + c]
// Pixel (i, j) of the window is x[i * row_step + j * col_step + c]; it is read where row_begin <= i
// < row_end and col_begin <= j < col_end, and 0 elsewhere: the image's border needs no padding.
struct WinogradInput {
  const float* x;
  dim_t row_step, col_step;
  dim_t row_begin, row_end, col_begin, col_end;
  dim_t channels;
  float* v;
  dim_t v_step;
};
// Its m x m results, of which rows x cols exist:
//   y[i * row_step + j * col_step + c] = act((A^T M A)[i, j] + bias[c] + residual)
// with M's element (i, j) at m[(i * n + j) * m_step + c]. M is readable up to a whole vector beyond
// the last channel. The residual is addressed like y.
struct WinogradOutput {
  const float* m;
  dim_t m_step;
  float* y;
  dim_t row_step, col_step;
  int rows, cols;
  dim_t channels;
  Epilogue epilogue;
};
struct WinogradForm {  // F(m x m, r x r), n = m + r - 1
  int m = 0, n = 0;
  void (*input)(const WinogradInput&) = nullptr;
  void (*output)(const WinogradOutput&) = nullptr;
  // G g G^T in double of filters l < count, each r x r floats at w + l * stride; element (i, j)
  // goes to u[(i * n + j) * u_step + l], and zeros for l from count to columns, at most
  // kWinogradFilters.
  void (*weights)(const float* w, dim_t stride, int count, float* u, dim_t u_step,
                  int columns) = nullptr;
};
constexpr int kWinogradFilters = 8;
struct WinogradKernels {
  WinogradForm f2x3, f4x3, f2x5;  // by output tile and taps along an axis
};

// ---- winograd_s16.inl.h -------------------------------------------------------------------------
// The same for bytes, exactly: V, U and M are integers, U = G' g G'^T with a multiple G' of G, and M
// is the sums of V U by `pairs` above, modulo 2^32. Nothing is rounded, and what a sum lost above
// 32 bits does not matter, for the result fits: |y| < 2^(31 - shift).
//
// Numbers of u8 less `zero`, and 0 outside the image. Rows of V have room for whole vectors of 2 W
// beyond the last channel.
struct IntegerWinogradInput {
  const uint8_t* x;
  dim_t row_step, col_step;
  dim_t row_begin, row_end, col_begin, col_end;
  dim_t channels;
  int32_t zero;
  int16_t* v;
  dim_t v_step;
};
// y[i * row_step + j * col_step + c] = finish(the sum of (x - zero) w), steps in elements of
// finish.type, channel c the finish's column; of finish.terms there are none.
struct IntegerWinogradOutput {
  const int32_t* m;
  dim_t m_step;
  void* y;
  dim_t row_step, col_step;
  int rows, cols;
  dim_t channels;
  IntegerFinish finish;
};
struct IntegerWinogradForm {  // F(m x m, 3 x 3), n = m + 2
  int m = 0, n = 0;
  int shift = 0;
  void (*input)(const IntegerWinogradInput&) = nullptr;
  void (*output)(const IntegerWinogradOutput&) = nullptr;
  // As WinogradForm's, of 3 x 3 filters of s8; filter l's go to u[(i * n + j) * u_step + 2 * l].
  void (*weights)(const int8_t* w, dim_t stride, int count, int16_t* u, dim_t u_step,
                  int columns) = nullptr;
};
struct IntegerWinogradKernels {
  IntegerWinogradForm f2x3, f4x3;
};

// ---- layout.inl.h -------------------------------------------------------------------------------
struct LayoutKernels {
  // dst[j * ldd + i] = src[i * lds + j] for i < rows, j < cols
  void (*transpose)(dim_t rows, dim_t cols, const float* src, dim_t lds, float* dst,
                    dim_t ldd) = nullptr;
  void (*transpose_bytes)(dim_t rows, dim_t cols, const uint8_t* src, dim_t lds, uint8_t* dst,
                          dim_t ldd) = nullptr;
};

// ---- eltwise.inl.h ------------------------------------------------------------------------------
// Contiguous runs of n elements; an operand with step 0 is one value that serves all of them. y may
// be an operand.
struct EltwiseKernels {
  // y = act(x)
  void (*activate)(dim_t n, const float* x, float* y, Activation activation) = nullptr;
  // y = a op b, steps 0 or 1
  void (*binary)(BinaryOp op, dim_t n, const float* a, dim_t a_step, const float* b, dim_t b_step,
                 float* y) = nullptr;
  // y = x * scale + shift, step 0 or 1 for both
  void (*affine)(dim_t n, const float* x, const float* scale, const float* shift, dim_t step,
                 float* y) = nullptr;
};

// ---- compare.inl.h ------------------------------------------------------------------------------
// Contiguous runs of n elements, steps 0 or 1; y = 1 or 0, and may be an operand of bytes.
struct CompareKernels {
  void (*compare)(CompareOp op, dim_t n, const float* a, dim_t a_step, const float* b, dim_t b_step,
                  uint8_t* y) = nullptr;
  void (*logic)(LogicOp op, dim_t n, const uint8_t* a, dim_t a_step, const uint8_t* b, dim_t b_step,
                uint8_t* y) = nullptr;
  // y = condition ? a : b, any four bytes each; y may be a or b.
  void (*choose)(dim_t n, const uint8_t* condition, dim_t condition_step, const float* a,
                 dim_t a_step, const float* b, dim_t b_step, float* y) = nullptr;
};

// ---- pool.inl.h ---------------------------------------------------------------------------------
// A run of `pixels` windows, n channels each (for NCHW, n = 1 and the windows are neighbouring
// columns):
//   y[p * y_step + i] = max, or sum / divisor, over r < rows, c < cols of
//       x[p * x_step + r * row_step + c * col_step + i]
// for i < n. The rows x cols taps are in bounds and there is at least one. NaN wins a maximum.
template <class T>
struct PoolRowOf {
  const T* x;
  dim_t x_step;
  dim_t rows, row_step;
  dim_t cols, col_step;
  T* y;
  dim_t y_step;
  dim_t pixels;
  dim_t n;
  float divisor;                    // average only
  Quantization from = {}, to = {};  // average of bytes only: x's and y's
};
using PoolRow = PoolRowOf<float>;
struct PoolKernels {
  void (*max_row)(const PoolRow&) = nullptr;
  void (*average_row)(const PoolRow&) = nullptr;
};

// ---- reduce.inl.h -------------------------------------------------------------------------------
// `mean` is summed here and divided by the caller. The order of summation depends on n and rows
// alone.
struct ReduceKernels {
  float (*row)(ReduceOp op, dim_t n, const float* x) = nullptr;  // over x[0..n), n >= 1
  // y[i] = over rows r of x[r * ldx + i], i < n, rows >= 1
  void (*columns)(ReduceOp op, dim_t rows, dim_t n, const float* x, dim_t ldx, float* y) = nullptr;
  // The first i, a multiple of W, where sign * x[j] < limit does not hold for all of i <= j < i + W
  // and j < n; n where there is none.
  dim_t (*beyond)(dim_t n, const float* x, float sign, float limit) = nullptr;
};

// ---- softmax.inl.h ------------------------------------------------------------------------------
struct SoftmaxKernels {
  void (*row)(dim_t n, const float* x, float* y) = nullptr;  // over x[0..n); y may be x
  // over rows r of x[r * ldx + i], for each i < n; y may be x with ldy = ldx
  void (*columns)(dim_t rows, dim_t n, const float* x, dim_t ldx, float* y, dim_t ldy) = nullptr;
};

// ---- norm.inl.h ---------------------------------------------------------------------------------
// For i < n, where y must not overlap x:
//   y[i] = x[i] * (k + alpha * sum over taps t of x[i + first + t * step]^2)^-beta
struct LrnRun {
  const float* x;
  float* y;
  dim_t n;
  dim_t first, step, taps;
  float alpha, beta, k;
};
// For i < n, where y may be x:
//   y[i] = (x[i] - m) / sqrt(v + epsilon) * scale[i * step] + shift[i * step]
// m and v are the mean and the variance of x[0..n), n >= 1; step is 0 or 1.
struct LayerNormRow {
  const float* x;
  float* y;
  dim_t n;
  const float *scale, *shift;
  dim_t step;
  float epsilon;
};
struct NormKernels {
  void (*lrn_run)(const LrnRun&) = nullptr;
  void (*layer_norm_row)(const LayerNormRow&) = nullptr;
};

// ---- resize.inl.h -------------------------------------------------------------------------------
struct ResizeKernels {
  // y[i] = wa * a[i] + wb * b[i], i < n
  void (*blend)(dim_t n, const float* a, float wa, const float* b, float wb, float* y) = nullptr;
  // y[i] = sum over t < taps of weight[t] * x[t][i], i < n, in order; 0 without taps
  void (*weighted)(dim_t n, int taps, const float* const* x, const float* weight,
                   float* y) = nullptr;
};

// ---- quantized.inl.h ----------------------------------------------------------------------------
// Numbers T of 8 bits, uint8_t or int8_t, that stand for real ones (core/quantization.h), in
// contiguous runs of n. saturated(v) is the number of T nearest to round(v) + zero, ties to even,
// and 0 where v is NaN; every other operation is one of f32.
template <class T>
struct QuantizedKernels {
  // y = saturated(x / scale)
  void (*quantize)(dim_t n, const float* x, Quantization q, T* y) = nullptr;
  // y = (x - zero) * scale
  void (*dequantize)(dim_t n, const T* x, Quantization q, float* y) = nullptr;
  // y = saturated(((a - a's zero) * a's scale op (b - b's zero) * b's scale) / to.scale), op add or
  // mul; steps 0 or 1, and y may be an operand, as in EltwiseKernels.
  void (*binary)(BinaryOp op, dim_t n, const T* a, dim_t a_step, Quantization from_a, const T* b,
                 dim_t b_step, Quantization from_b, T* y, Quantization to) = nullptr;
  // As PoolKernels. The average is
  //   y = saturated(sum of (x - from.zero) * from.scale / divisor / to.scale)
  // of a sum in 32 bits: at most kMaxSummedBytes taps.
  void (*max_row)(const PoolRowOf<T>&) = nullptr;
  void (*average_row)(const PoolRowOf<T>&) = nullptr;
};
constexpr dim_t kMaxSummedBytes = 1 << 23;
struct ByteKernels {
  QuantizedKernels<uint8_t> u8;
  QuantizedKernels<int8_t> s8;
  // y = x * scale, as of int32 rounded to f32
  void (*scale_s32)(dim_t n, const int32_t* x, float scale, float* y) = nullptr;
  // y = table[x], of 256 bytes; y may be x.
  void (*lookup)(dim_t n, const uint8_t* x, const uint8_t* table, uint8_t* y) = nullptr;
};

// ---- recurrent.inl.h ----------------------------------------------------------------------------
// The product of a few rows with weights that many steps use, packed in panels of kRecurrentPanel
// vectors, b[panel][K][kRecurrentPanel * W], the last filled up with zeros:
//   y[m * ldy + n] = sum over k < depth of a[m * lda + k] * B[k, n] + addend[m * ld_addend + n]
// for columns n of panels [begin, end) with n < N. Each sum is over ascending k from 0, whatever
// M. addend may be null, or y itself with its step. A panel begins panel_step floats after the one
// before it; b is where row 0 of panel 0 is.
constexpr int kRecurrentPanel = 4;
struct RecurrentProduct {
  dim_t M, N, depth;
  const float* a;
  dim_t lda;
  const float* b;
  dim_t panel_step;
  const float* addend;
  dim_t ld_addend;
  float* y;
  dim_t ldy;
};
struct RecurrentKernels {
  void (*product)(const RecurrentProduct& p, dim_t begin, dim_t end) = nullptr;
  // y = a * b + c * d, d null: + c; y may be any operand.
  void (*multiply_add)(dim_t n, const float* a, const float* b, const float* c, const float* d,
                       float* y) = nullptr;
  // y = (1 - z) * a + z * b; y may be any operand.
  void (*blend)(dim_t n, const float* z, const float* a, const float* b, float* y) = nullptr;
  // y = clamp(round(x / scale) + zero, 0, 255) - zero
  void (*centred)(dim_t n, const float* x, float scale, float zero, float* y) = nullptr;
};

struct KernelTable {
  int lanes = 0;               // W
  bool cheap_permute = false;  // a fact of cmake/isa.cmake
  GemmKernels gemm;
  Bf16Kernels bf16;
  // With tile registers: no rows where the processor has none. Whoever calls them asks for these
  // first (core/tiles.h), but where they are emulated.
  Bf16Kernels bf16_tiles;
  SparseKernels sparse;
  BinaryKernels binary;
  CodebookKernels codebook;
  IntegerKernels integer;
  ConvKernels conv;
  // By weights of 16 bits; and of 8, whose entries are null where such products are not exact.
  IntegerDepthwiseKernels depthwise_pairs, depthwise_bytes;
  WinogradKernels winograd;
  IntegerWinogradKernels integer_winograd;
  LayoutKernels layout;
  EltwiseKernels eltwise;
  CompareKernels compare;
  PoolKernels pool;
  ReduceKernels reduce;
  SoftmaxKernels softmax;
  NormKernels norm;
  ResizeKernels resize;
  ByteKernels bytes;
  RecurrentKernels recurrent;
  // Both in limits.h.
  PeakKernels peak;
  BandwidthKernels bandwidth;
};

}  // namespace fastconv
