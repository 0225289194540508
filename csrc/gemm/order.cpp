// L3 gemm: an order of B's rows that pairs large weights with small ones; see PackedWords in
// integer.h. A pair is two rows that become neighbours in a word; its cost is the number of columns
// in which the two weights would saturate. Pairs are chosen greedily, the hardest rows first, and
// then exchange partners while that pays, as 2-opt does for tours.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "core/parallel.h"
#include "gemm/integer.h"

namespace fastconv {
namespace {

constexpr int kRows = kOrderBlock;
constexpr uint8_t kNoByte = 0xFF;
constexpr dim_t kWorthAThread = 4;  // blocks of an order
using PairCosts = std::array<std::array<int32_t, kRows>, kRows>;

// A block of B, column by column: what is positive of each row, and what is negative, as sizes of at
// most 127. That makes -128 one less than it is, which may cost a list that is not seen here.
class Sizes {
 public:
  Sizes(const ByteMatrix& b, dim_t first) : columns_(b.columns), sizes_(2 * kRows * b.columns) {
    constexpr uint8_t kZero = 128;  // weights are 128 more: in u8 the compiler has vectors for them
    const auto flip = static_cast<uint8_t>(b.is_signed ? 0x80 : 0);
    const int rows = static_cast<int>(std::min<dim_t>(kRows, b.rows - first));
    for (dim_t j = 0; j < columns_; ++j) {
      const uint8_t* from = b.data + first * b.row_step + j * b.column_step;
      uint8_t column[kRows];
      std::memset(column, kZero, sizeof column);
      for (int i = 0; i < rows; ++i, from += b.row_step)
        column[i] = static_cast<uint8_t>(*from ^ flip);
      uint8_t *const positive = sizes_.data() + j * 2 * kRows, *const negative = positive + kRows;
      for (int i = 0; i < kRows; ++i) {
        positive[i] = static_cast<uint8_t>(std::max(column[i], kZero) - kZero);
        const auto size = static_cast<uint8_t>(kZero - std::min(column[i], kZero));
        negative[i] = std::min<uint8_t>(size, 127);
      }
    }
  }
  // For every two rows, in how many columns two of the same sign are more than 128 together.
  void count(PairCosts& costs) const {
    for (int i = 0; i < kRows; ++i) {
      costs[static_cast<size_t>(i)].fill(0);
      for (dim_t begin = 0; begin < columns_; begin += 255)
        count_some(i, begin, std::min(begin + 255, columns_), costs[static_cast<size_t>(i)]);
    }
  }

 private:
  // Of so few columns that counts are as narrow as the weights, for the compiler's vectors.
  void count_some(int i, dim_t begin, dim_t end, std::array<int32_t, kRows>& costs) const {
    uint8_t counts[kRows] = {};
    for (dim_t j = begin; j < end; ++j) {
      const uint8_t* const positive = sizes_.data() + j * 2 * kRows;
      const uint8_t* const negative = positive + kRows;
      const uint8_t p = positive[i], n = negative[i];
      for (int k = 0; k < kRows; ++k) {
        const auto sum_p = static_cast<uint8_t>(positive[k] + p);
        const auto sum_n = static_cast<uint8_t>(negative[k] + n);
        counts[k] = static_cast<uint8_t>(counts[k] + (std::max(sum_p, sum_n) > 128));
      }
    }
    for (size_t k = 0; k < kRows; ++k) costs[k] += counts[k];
  }

  dim_t columns_;
  Buffer<uint8_t> sizes_;
};

struct Pair {
  int first, second;
};

std::vector<Pair> greedy_pairs(const PairCosts& costs, int rows) {
  std::vector<int32_t> hardness(static_cast<size_t>(rows));
  for (int i = 0; i < rows; ++i)
    hardness[static_cast<size_t>(i)] = std::accumulate(
        costs[static_cast<size_t>(i)].begin(), costs[static_cast<size_t>(i)].begin() + rows, 0);
  std::vector<int> left(static_cast<size_t>(rows));
  std::iota(left.begin(), left.end(), 0);
  std::stable_sort(left.begin(), left.end(), [&](int a, int b) {
    return hardness[static_cast<size_t>(a)] > hardness[static_cast<size_t>(b)];
  });
  std::vector<Pair> pairs;
  while (!left.empty()) {
    const auto& of_first = costs[static_cast<size_t>(left.front())];
    const auto partner = std::min_element(left.begin() + 1, left.end(), [&](int a, int b) {
      return of_first[static_cast<size_t>(a)] < of_first[static_cast<size_t>(b)];
    });
    pairs.push_back({left.front(), *partner});
    left.erase(partner);
    left.erase(left.begin());
  }
  return pairs;
}

void exchange_partners(const PairCosts& costs, std::vector<Pair>& pairs) {
  constexpr int kMostRounds = 16;
  const auto cost = [&](int a, int b) {
    return costs[static_cast<size_t>(a)][static_cast<size_t>(b)];
  };
  bool better = true;
  for (int round = 0; better && round < kMostRounds; ++round) {
    better = false;
    for (Pair& x : pairs)
      for (Pair& y : pairs) {
        if (&x == &y) break;
        const int32_t now = cost(x.first, x.second) + cost(y.first, y.second);
        if (now == 0) continue;
        const int32_t straight = cost(x.first, y.first) + cost(x.second, y.second),
                      crossed = cost(x.first, y.second) + cost(x.second, y.first);
        if (std::min(straight, crossed) >= now) continue;
        if (crossed < straight) std::swap(y.first, y.second);
        std::swap(x.second, y.first);
        better = true;
      }
  }
}

// Pairs of the rows of b from `first` on, as many as a block has in whole words, those that cost least
// first: a word's two pairs share a list. Returns their cost.
int32_t pair_rows(const ByteMatrix& b, dim_t first, std::vector<Pair>& pairs) {
  const int rows = static_cast<int>(std::min(round_up(b.rows - first, dim_t{4}), kOrderBlock));
  PairCosts costs;
  Sizes(b, first).count(costs);
  pairs = greedy_pairs(costs, rows);
  exchange_partners(costs, pairs);
  const auto cost = [&](const Pair& pair) {
    return costs[static_cast<size_t>(pair.first)][static_cast<size_t>(pair.second)];
  };
  std::stable_sort(pairs.begin(), pairs.end(),
                   [&](const Pair& x, const Pair& y) { return cost(x) < cost(y); });
  return std::accumulate(pairs.begin(), pairs.end(), int32_t{0},
                         [&](int32_t sum, const Pair& pair) { return sum + cost(pair); });
}

// The columns of one order.
ByteMatrix columns_of(dim_t order, ByteMatrix b, dim_t columns, dim_t orders) {
  b.data += order * columns * b.column_step;
  b.columns = order + 1 == orders ? b.columns - order * columns : columns;
  return b;
}

}  // namespace

Buffer<uint8_t> orders_of_rows(const ByteMatrix& b, dim_t columns, dim_t orders) {
  const dim_t blocks = ceil_div(b.rows, kOrderBlock);
  Buffer<uint8_t> all(orders * blocks * kOrderBlock);
  parallel_for(orders * blocks, kWorthAThread, [&](dim_t begin, dim_t end) {
    std::vector<Pair> pairs;
    for (dim_t i = begin; i < end; ++i) {
      pair_rows(columns_of(i / blocks, b, columns, orders), i % blocks * kOrderBlock, pairs);
      // A block that ends with the row begins earlier than its part of the words.
      const dim_t begin = i % blocks * kOrderBlock, start = start_of_block(begin, b.rows);
      const auto number = [&](int row) {
        return begin + row < b.rows ? static_cast<uint8_t>(begin + row - start) : kNoByte;
      };
      uint8_t* const order = all.data() + i * kOrderBlock;
      std::fill(order, order + kOrderBlock, kNoByte);
      for (size_t pair = 0; pair < pairs.size(); ++pair) {
        order[2 * pair] = number(pairs[pair].first);
        order[2 * pair + 1] = number(pairs[pair].second);
      }
    }
  });
  return all;
}

double saturating_when_ordered(const ByteMatrix& b, dim_t columns, dim_t orders, int lanes) {
  constexpr dim_t kMostBlocks = 2, kMostOrders = 2;
  const dim_t blocks = ceil_div(b.rows, kOrderBlock);
  const dim_t some_blocks = std::min(blocks, kMostBlocks),
              some_orders = std::min(orders, kMostOrders);
  double found = 0, words = 0;
  std::vector<Pair> pairs;
  for (dim_t o = 0; o < some_orders; ++o)
    for (dim_t k = 0; k < some_blocks; ++k) {
      const ByteMatrix part = columns_of(o * (orders / some_orders), b, columns, orders);
      found += pair_rows(part, k * (blocks / some_blocks) * kOrderBlock, pairs);
      words += static_cast<double>(pairs.size()) / 2 *
               static_cast<double>(ceil_div(part.columns, dim_t{lanes}));
    }
  // Pairs that saturate are anywhere: some are of the same word.
  return words > 0 ? 1 - std::exp(-found / words) : 0;
}

}  // namespace fastconv
