// L3 gemm: products of 8-bit integers, exact on every tier, on the tile of kernels/product/.
// PackedWords is a B in the order that the tile reads; multiply() is multiply.cpp's macro-kernel
// for bytes: A is read in place through row and tap offsets. qgemm() is the product of two matrices
// with zero points. Sums are modulo 2^32 and those of integers: their order changes no bit.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "core/buffer.h"
#include "core/tiles.h"
#include "gemm/gemm.h"

namespace fastconv {

constexpr dim_t kWordBytes = 4;  // of A, and of B for each column

// Whether products may use tile registers, for which the process asks at the first call.
inline bool has_tiles(const IntegerKernels& kernels) noexcept {
  return kernels.tiles[0].mr && (kernels.tiles_emulated || cpu_permits_tiles());
}

// A matrix of bytes by strides in elements, which are bytes: a number of u8, or, where is_signed,
// of s8.
struct ByteMatrix {
  const uint8_t* data = nullptr;
  dim_t rows = 0, columns = 0;
  dim_t row_step = 0, column_step = 0;
  bool is_signed = false;
};

// B, taps * k_run rows and N columns, as panels; the tiles and their forms are described in
// kernels/kernel_table.h. Numbers of u8 lie as u8 - 128, which is s8.
//
// Where the tier's instruction saturates, a pair of weights that are too large together is halved,
// and the other halves go to a list that the tile runs over after its sums. Where lists would be
// long, A's rows are copied and put in an order that pairs large weights with small ones, for as
// many panels together as have such an order. Where none has, B is packed wide, which has no bound.
//
// A's rows are read in place, or copied, a block at a time, so that each is one run: as bytes, where
// they are ordered and where the runs of the taps would leave too much of their last words empty,
// and as numbers of 16 bits where B is wide. For tile registers they are copied unless they lie as these want them.
class PackedWords {
 public:
  PackedWords(const IntegerKernels& kernels, dim_t taps, const ByteMatrix& b);

  dim_t taps() const noexcept { return taps_; }
  dim_t k_run() const noexcept { return k_run_; }
  dim_t K() const noexcept { return taps_ * k_run_; }
  dim_t N() const noexcept { return N_; }
  bool wide() const noexcept { return form_ == Form::wide; }
  bool ordered() const noexcept { return form_ == Form::ordered; }
  bool for_tiles() const noexcept { return form_ == Form::tiles; }
  // Whether a row of A is read as one run, and whether it need not be copied where it is one.
  bool one_run() const noexcept { return form_ != Form::in_place; }
  bool reads_runs_in_place() const noexcept {
    return form_ == Form::ordered
               ? K() >= kOrderBlock
               : form_ != Form::wide && (form_ != Form::tiles || K() % kTileRun == 0);
  }
  // What a tile reads of a row for each tap; a copied row, with what lies between it and the next;
  // and all that is kept of a row while it is multiplied.
  dim_t run_bytes() const noexcept;
  dim_t copied_row_bytes() const noexcept;
  dim_t scratch_row_bytes() const noexcept { return (ordered() ? 2 : 1) * copied_row_bytes(); }
  dim_t panels() const noexcept { return panel_count(*kernels_, N_); }
  int width(dim_t p) const noexcept { return panel_width(*kernels_, N_, p); }
  // Four bytes of A, or two numbers of 16 bits.
  dim_t words() const noexcept { return words_; }
  dim_t panel_bytes(int width) const noexcept { return words_ * row_bytes(width); }
  static dim_t row_bytes(int width) noexcept { return dim_t{width} * kWordBytes; }
  const char* panel(dim_t p) const noexcept {
    return reinterpret_cast<const char*>(data_.data()) + p * panel_bytes(kernels_->nr);
  }
  // One list for each vector of the panel, or null.
  const ExcessList* excess(dim_t p) const noexcept {
    return excess_words_.empty() ? nullptr : lists_.data() + 2 * p;
  }
  const IntegerPanel& panel_kernels(int width) const noexcept {
    const auto& panels = wide() ? kernels_->wide : for_tiles() ? kernels_->tiles : kernels_->bytes;
    return panels[2 * width / kernels_->nr - 1];
  }
  // Whether its whole panels are for IntegerKernels::in_turns, and the rows of most of its tiles.
  // Where K is long, what follows the sums matters little, and higher tiles read B less often.
  bool in_turns() const noexcept {
    return kernels_->in_turns.mr && !wide() && !for_tiles() && (one_run() || taps_ == 1) &&
           run_bytes() % kWordBytes == 0 && words_ >= kWordsOfTurn && words_ <= kMostWordsInTurns;
  }
  int tile_rows() const noexcept {
    return in_turns() ? kernels_->in_turns.mr : panel_kernels(width(0)).mr;
  }
  const IntegerKernels& kernels() const noexcept { return *kernels_; }
  // Of ordered rows: how many panels have them in the same order, from the first panel on, and that
  // order, as permute_rows() wants it.
  dim_t panels_of_order() const noexcept { return panels_of_order_; }
  const uint8_t* order_of_panel(dim_t p) const noexcept {
    return order_.data() + p / panels_of_order_ * round_up(K(), kOrderBlock);
  }
  // [N] of the numbers as they lie.
  const int32_t* column_sums() const noexcept { return column_sums_.data(); }
  // Vectors of weights, and how many others the lists add.
  dim_t vectors() const noexcept { return words_ * ceil_div(N_, lanes()); }
  dim_t excess_vectors() const noexcept { return static_cast<dim_t>(excess_words_.size()); }
  dim_t bytes() const noexcept;

 private:
  enum class Form { in_place, copied, ordered, wide, tiles };
  static constexpr dim_t kTileRun = 64;  // bytes of K in a tile register
  static constexpr dim_t kMostWordsInTurns = 64;

  struct Excess;
  int lanes() const noexcept { return kernels_->nr / 2; }
  // The row of B that lies in panel p where row k would; K where there is none.
  dim_t ordered_row(dim_t p, dim_t k) const noexcept {
    const dim_t number = order_of_panel(p)[k], begin = k / kOrderBlock * kOrderBlock;
    return number < kOrderBlock ? start_of_block(begin, K()) + number : K();
  }
  void set_form(Form form) noexcept;
  template <class F>
  void each_word(const ByteMatrix& b, F f);
  double cost_of_bytes(double cycles) const;
  void choose_form(const ByteMatrix& b);
  dim_t count_saturating(const ByteMatrix& b);
  void pack_bytes(const ByteMatrix& b);
  void pack_wide(const ByteMatrix& b);

  const IntegerKernels* kernels_;
  dim_t taps_, k_run_, N_, words_ = 0;
  Form form_ = Form::in_place;
  Buffer<std::byte> data_;
  dim_t panels_of_order_ = 1;
  Buffer<uint8_t> order_;
  std::vector<int32_t> column_sums_;
  std::vector<ExcessWord> excess_words_;
  std::vector<int8_t> excess_bytes_;
  std::vector<ExcessList> lists_;  // two for each panel, three for the last
};

// a - b * c modulo 2^32: what a zero point takes from a bias.
inline int32_t less_product(int32_t a, int32_t b, int32_t c) noexcept {
  return static_cast<int32_t>(static_cast<uint32_t>(a) -
                              static_cast<uint32_t>(b) * static_cast<uint32_t>(c));
}
// IntegerFinish::fits of n columns.
inline bool fits(const float* scale, const float* shift, dim_t n) noexcept {
  constexpr float kMostScale = 0.25f, kMostShift = 1 << 29;  // of sums of 2^31 at most
  return scale &&
         std::all_of(scale, scale + n, [](float s) { return std::abs(s) <= kMostScale; }) &&
         (!shift ||
          std::all_of(shift, shift + n, [](float s) { return std::abs(s) <= kMostShift; }));
}
// Of a byte they are rounded as the results are, which may then be rounded first.
inline void set_limits(IntegerFinish& f, float low, float high) noexcept {
  const bool bytes = f.type == StoreAs::u8 || f.type == StoreAs::s8;
  f.low = bytes ? std::nearbyint(low) : low;
  f.high = bytes ? std::nearbyint(high) : high;
}
// What becomes of the sums from column n on; its terms are the caller's to move.
inline IntegerFinish from_column(IntegerFinish f, dim_t n) noexcept {
  if (f.bias) f.bias += n;
  if (f.scale) f.scale += n;
  if (f.shift) f.shift += n;
  return f;
}

inline dim_t store_bytes(StoreAs type) noexcept { return kStoreBytes[static_cast<int>(type)]; }

// C[m, n] = finish(sum over taps t, k of A[row(m) + tap_offset[t] + k] * B[t * k_run + k, n]); A
// has bytes of u8. finish points at C's first row and column.
struct IntegerProduct {
  dim_t M = 0;
  const dim_t* a_row = nullptr;  // [M], or null: m * lda
  dim_t lda = 0;
  const dim_t* tap_offset = nullptr;  // [taps of b]
  const PackedWords* b = nullptr;
  const dim_t* c_row = nullptr;  // [M], or null: m * ldc, in elements of C
  dim_t ldc = 0;
  IntegerFinish finish;
  int threads = 0;              // at most so many, and get_num_threads(); 0: as many as these
  std::byte* copies = nullptr;  // copies_bytes(), from a multiple of kAlignment on
};
// Orders of the rows of b, as permute_rows() wants them, such that few pairs of neighbours saturate:
// one for every so many columns, and for the rest. And the share of the words of so many lanes that have such pairs then, about, from a part
// of b.
Buffer<uint8_t> orders_of_rows(const ByteMatrix& b, dim_t columns, dim_t orders);
double saturating_when_ordered(const ByteMatrix& b, dim_t columns, dim_t orders, int lanes);

// Of the rows of A that a product of M rows with b copies.
dim_t copies_bytes(dim_t M, const PackedWords& b, dim_t result_bytes, int threads) noexcept;
// Partitioned over rows and columns; allocates nothing.
void multiply(const IntegerProduct& product, const uint8_t* a, void* c) noexcept;

// B of qgemm: its numbers, packed, and its zero points.
class PackedIntegers {
 public:
  // zero: one number, or N of them.
  PackedIntegers(const ByteMatrix& b, const int32_t* zero, dim_t zeros);
  dim_t K() const noexcept { return words_.K(); }
  dim_t N() const noexcept { return words_.N(); }
  const PackedWords& words() const noexcept { return words_; }
  // Of the numbers as they lie; null: they are 0.
  const int32_t* zero() const noexcept { return zero_.empty() ? nullptr : zero_.data(); }
  // [N] sums over k of b - its zero point.
  const int32_t* sums() const noexcept { return sums_.data(); }

 private:
  PackedWords words_;
  std::vector<int32_t> zero_, sums_;
};

struct QgemmResult {
  StoreAs type = StoreAs::s32;
  void* data = nullptr;           // columns are contiguous
  dim_t row_step = 0;             // in elements
  const int32_t* bias = nullptr;  // [N] or null
  const float* scale = nullptr;   // [N], but for s32
  const float* shift = nullptr;   // [N] or null, added to f32
  float low = 0.0f, high = 0.0f;
  int32_t zero = 0;
};
// result = finish((a - a_zero) @ (b - its zero points) + bias); a_zero is one number, or one for
// each row of a. The result must not overlap a.
void qgemm(const ByteMatrix& a, const int32_t* a_zero, dim_t a_zeros, const PackedIntegers& b,
           const QgemmResult& result);

}  // namespace fastconv
