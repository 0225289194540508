// L3 gemm: packing B into panels of words for the integer tile; see PackedWords in integer.h.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <type_traits>

#include "core/parallel.h"
#include "gemm/integer.h"

namespace fastconv {
namespace {

constexpr dim_t kWorthAThread = 65536;  // bytes

// What a form costs beside the products of bytes, in parts of these: a vector of a list as much as
// two others, and products of wide weights a quarter more.
constexpr double kListedVector = 2, kWideProducts = 0.25;
// Products of bytes that take a cycle: three instructions for a vector where pairs may saturate,
// else one.
double products_in_a_cycle(const IntegerKernels& kernels) {
  return (kernels.saturates ? 0.8 : 1.6) * 4 * (kernels.nr / 2);
}
// Cycles to copy a byte of A that lies in runs, and to order it for some of the columns.
double copy_of_byte(dim_t k_run) { return 0.06 + 4 / static_cast<double>(k_run); }
constexpr double kOrderOfByte = 0.1;

// A word of a panel whose width the compiler knows, V vectors of W lanes: row[i][j] is number k + i
// of column j, as it lies, s8; zero where there is none.
template <int W, int V>
struct Word {
  static constexpr int kWidth = W * V;
  int8_t row[4][kWidth];

  // The first n of the panel's columns of rows of b; null where there is no row.
  void read(const ByteMatrix& b, const uint8_t* const (&rows)[4], int n) {
    const uint8_t flip = b.is_signed ? 0 : 0x80;
    std::memset(row, 0, sizeof row);
    for (int i = 0; i < 4; ++i) {
      const uint8_t* const from = rows[i];
      if (!from) continue;
      uint8_t* const to = reinterpret_cast<uint8_t*>(row[i]);
      if (b.column_step == 1 && n == kWidth)
        for (int j = 0; j < kWidth; ++j) to[j] = from[j] ^ flip;
      else
        for (int j = 0; j < n; ++j) to[j] = from[j * b.column_step] ^ flip;
    }
  }
  void add_to(int32_t* sums) const {
    for (int j = 0; j < kWidth; ++j)
      sums[j] += static_cast<int16_t>(row[0][j] + row[1][j] + row[2][j] + row[3][j]);
  }
  // Whether two products of any bytes of u8 with these weights may be more than 16 bits hold.
  static bool saturate(int w0, int w1) noexcept { return w0 + w1 < -128 || w0 + w1 > 128; }
  bool any_saturates(int v) const {
    uint16_t found = 0;
    for (int j = v * W; j < v * W + W; ++j) {
      const auto low = static_cast<uint16_t>(row[0][j] + row[1][j] + 128);
      const auto high = static_cast<uint16_t>(row[2][j] + row[3][j] + 128);
      found = static_cast<uint16_t>(found | (low > 256) | (high > 256));
    }
    return found != 0;
  }
  // Halves pairs that saturate, and adds the other halves of a vector to a list. Half of -128 and
  // -128 is just what 16 bits hold, and so is the other half.
  void halve(int v, std::vector<int8_t>& excess) {
    for (int j = v * W; j < v * W + W; ++j)
      for (int i = 0; i < 4; i += 2) {
        int8_t &w0 = row[i][j], &w1 = row[i + 1][j];
        const bool split = saturate(w0, w1);
        const int half0 = split ? w0 / 2 : 0, half1 = split ? w1 / 2 : 0;
        excess.push_back(static_cast<int8_t>(half0));
        excess.push_back(static_cast<int8_t>(half1));
        w0 = static_cast<int8_t>(w0 - half0);
        w1 = static_cast<int8_t>(w1 - half1);
      }
  }
  void write_bytes(int8_t* to) const {
    for (int j = 0; j < kWidth; ++j)
      for (int i = 0; i < 4; ++i) to[4 * j + i] = row[i][j];
  }
  // The first of the two pairs, or both.
  void write_pairs(int16_t* to, int pairs) const {
    for (int pair = 0; pair < pairs; ++pair)
      for (int j = 0; j < kWidth; ++j)
        for (int i = 0; i < 2; ++i) to[(pair * kWidth + j) * 2 + i] = row[2 * pair + i][j];
  }
};

// f(Word<W, V>()) for W lanes and panels V vectors wide.
template <int W, class F>
void with_word_of(int vectors, F f) {
  if (vectors == 1) return f(Word<W, 1>());
  if (vectors == 2) return f(Word<W, 2>());
  return f(Word<W, 3>());
}
template <class F>
void with_word(int lanes, int width, F f) {
  if (lanes == 4) return with_word_of<4>(width / lanes, f);
  if (lanes == 8) return with_word_of<8>(width / lanes, f);
  return with_word_of<16>(width / lanes, f);
}

}  // namespace

// What is in excess in one panel, for each of its vectors.
struct PackedWords::Excess {
  std::vector<ExcessWord> words[3];
  std::vector<int8_t> b[3];
};

PackedWords::PackedWords(const IntegerKernels& kernels, dim_t taps, const ByteMatrix& b)
    : kernels_(&kernels), taps_(taps), k_run_(b.rows / taps), N_(b.columns) {
  column_sums_.resize(static_cast<size_t>(round_up(N_, lanes())));
  const dim_t in_place = taps * ceil_div(k_run_, 4), copied = ceil_div(K(), 4);
  if (K() >= kTileRun && has_tiles(kernels)) {
    set_form(Form::tiles);
  } else {
    set_form(copied + cost_of_bytes(copy_of_byte(k_run_)) * ceil_div(K(), 4) < in_place
                 ? Form::copied
                 : Form::in_place);
    if (kernels.saturates) choose_form(b);
  }
  if (wide())
    pack_wide(b);
  else
    pack_bytes(b);
}

// Of so many cycles for each byte of A, beside the products.
double PackedWords::cost_of_bytes(double cycles) const {
  return cycles * products_in_a_cycle(*kernels_) / static_cast<double>(std::max<dim_t>(1, N_));
}

// Of the forms that hold pairs of any size.
void PackedWords::choose_form(const ByteMatrix& b) {
  const double copy = cost_of_bytes(copy_of_byte(k_run_));
  const double lists = kListedVector * static_cast<double>(count_saturating(b)) /
                       static_cast<double>(std::max<dim_t>(1, vectors()));
  if (lists == 0) return;
  double least = lists + (form_ == Form::copied ? copy : 0);
  Form form = form_;
  if (copy + kWideProducts < least) {
    least = copy + kWideProducts;
    form = Form::wide;
  }
  // Columns that share an order: the fewer, the better it suits them, and the more orders.
  for (dim_t panels = 1; panels < 2 * this->panels(); panels *= 2) {
    const dim_t orders = ceil_div(this->panels(), panels);
    double cost = (taps_ == 1 && K() >= kOrderBlock ? 0 : copy) +
                  cost_of_bytes(kOrderOfByte) * static_cast<double>(orders);
    if (cost < least)
      cost += kListedVector * saturating_when_ordered(b, panels * kernels_->nr, orders, lanes());
    if (cost >= least) continue;
    least = cost;
    form = Form::ordered;
    panels_of_order_ = panels;
  }
  set_form(form);
  if (ordered())
    order_ =
        orders_of_rows(b, panels_of_order_ * kernels_->nr, ceil_div(panels(), panels_of_order_));
}

dim_t PackedWords::count_saturating(const ByteMatrix& b) {
  std::atomic<dim_t> count{0};
  each_word(b, [&](dim_t, auto& word, dim_t, dim_t, dim_t) {
    constexpr int kWidth = std::remove_reference_t<decltype(word)>::kWidth;
    dim_t found = 0;
    for (int v = 0; v < kWidth / lanes(); ++v) found += word.any_saturates(v);
    if (found) count.fetch_add(found, std::memory_order_relaxed);
  });
  return count.load();
}

void PackedWords::set_form(Form form) noexcept {
  form_ = form;
  words_ = form == Form::in_place ? taps_ * ceil_div(k_run_, 4)
           : form == Form::wide   ? ceil_div(K(), 2)
           : form == Form::tiles  ? round_up(K(), kTileRun) / kWordBytes
                                  : ceil_div(K(), 4);
}

dim_t PackedWords::run_bytes() const noexcept {
  return form_ == Form::in_place ? k_run_ : form_ == Form::copied ? K() : words_ * kWordBytes;
}

dim_t PackedWords::copied_row_bytes() const noexcept {
  const dim_t row = round_up(words_ * kWordBytes, kAlignment);
  const dim_t bytes = row == kAlignment ? row : row + kAlignment;
  return bytes_alias(panel_kernels(width(0)).mr, bytes) ? bytes + 64 : bytes;
}

dim_t PackedWords::bytes() const noexcept {
  return words_ * round_up(N_, lanes()) * kWordBytes + order_.bytes() +
         static_cast<dim_t>(excess_bytes_.size() + excess_words_.size() * sizeof(ExcessWord));
}

// f(panel, word, tap, k, number of the word) for every word of the panels, by all threads.
template <class F>
void PackedWords::each_word(const ByteMatrix& b, F f) {
  const dim_t taps = one_run() ? 1 : taps_, k_run = one_run() ? K() : k_run_;
  const dim_t run = ceil_div(k_run, 4);
  const bool shares_last_word = run_bytes() % 4 != 0 && k_run > 4;
  const dim_t grain = ceil_div(kWorthAThread, std::max<dim_t>(1, K() * kernels_->nr));
  std::fill(column_sums_.begin(), column_sums_.end(), 0);
  parallel_for(panels(), grain, [&](dim_t begin, dim_t end) {
    for (dim_t p = begin; p < end; ++p)
      with_word(lanes(), width(p), [&](auto word) {
        const dim_t n0 = p * kernels_->nr;
        const int n = static_cast<int>(std::min<dim_t>(word.kWidth, N_ - n0));
        for (dim_t tap = 0, i = 0; tap < taps; ++tap) {
          const uint8_t* const first = b.data + tap * k_run * b.row_step + n0 * b.column_step;
          for (dim_t k = 0; i < (tap + 1) * run; ++i, k += 4) {
            // The last word ends where the run does, and has zeros for what it shares with the
            // one before: nothing is read that is not the run's.
            const dim_t from = shares_last_word ? std::min(k, k_run - 4) : k;
            const uint8_t* rows[4];
            for (int j = 0; j < 4; ++j) {
              const dim_t row = ordered() ? ordered_row(p, k + j) : from + j;
              const bool shared = from + j < k;
              rows[j] = !shared && row < k_run ? first + row * b.row_step : nullptr;
            }
            word.read(b, rows, n);
            word.add_to(column_sums_.data() + n0);
            f(p, word, tap, from, i);
          }
        }
      });
  });
}

void PackedWords::pack_bytes(const ByteMatrix& b) {
  const bool saturates = kernels_->saturates && !for_tiles();
  const dim_t panels = this->panels();
  data_ = Buffer<std::byte>(kWordBytes * words_ * round_up(N_, lanes()));
  if (for_tiles()) std::memset(data_.data(), 0, static_cast<size_t>(data_.bytes()));
  std::vector<Excess> excess(static_cast<size_t>(saturates ? panels : 0));
  each_word(b, [&](dim_t p, auto& word, dim_t tap, dim_t k, dim_t i) {
    constexpr int kWidth = std::remove_reference_t<decltype(word)>::kWidth;
    const int vectors = kWidth / lanes();
    if (saturates) {
      Excess& e = excess[static_cast<size_t>(p)];
      for (int v = 0; v < vectors; ++v)
        if (word.any_saturates(v)) {
          e.words[v].push_back({static_cast<int32_t>(tap), static_cast<int32_t>(k)});
          word.halve(v, e.b[v]);
        }
    }
    word.write_bytes(reinterpret_cast<int8_t*>(data_.data()) + p * panel_bytes(kernels_->nr) +
                     i * 4 * kWidth);
  });

  for (const Excess& e : excess)
    for (int v = 0; v < 3; ++v) {
      excess_words_.insert(excess_words_.end(), e.words[v].begin(), e.words[v].end());
      excess_bytes_.insert(excess_bytes_.end(), e.b[v].begin(), e.b[v].end());
    }
  if (excess_words_.empty()) return;
  lists_.resize(static_cast<size_t>(2 * panels + 1));
  dim_t done = 0;
  for (dim_t p = 0; p < panels; ++p)
    for (int v = 0; v < width(p) / lanes(); ++v) {
      const auto count = static_cast<dim_t>(excess[static_cast<size_t>(p)].words[v].size());
      lists_[static_cast<size_t>(2 * p + v)] = {excess_words_.data() + done,
                                                excess_bytes_.data() + done * 4 * lanes(), count};
      done += count;
    }
}

void PackedWords::pack_wide(const ByteMatrix& b) {
  data_ = Buffer<std::byte>(kWordBytes * words_ * round_up(N_, lanes()));
  each_word(b, [&](dim_t p, auto& word, dim_t, dim_t k, dim_t i) {
    constexpr int kWidth = std::remove_reference_t<decltype(word)>::kWidth;
    int16_t* const panel = reinterpret_cast<int16_t*>(data_.data() + p * panel_bytes(kernels_->nr));
    word.write_pairs(panel + i * 4 * kWidth, k + 2 < K() ? 2 : 1);
  });
}

}  // namespace fastconv
