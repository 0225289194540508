// L4 coding: the decoder, by one table a code and four streams at a time.
#include "coding/huffman.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <vector>

#include "core/check.h"
#include "core/parallel.h"

namespace fastconv {
namespace {

constexpr int kInterleaved =
    4;  // streams at a time: one waits for its table less than it would alone
constexpr int kPerRefill = 56 / kCodeBits;  // codes that a full buffer holds for certain

// The symbol that begins a run of bits, for each run as long as the longest code. Codes are complete,
// so that there is no run without one.
class CodeTable {
 public:
  // `lengths` holds two codes' lengths a byte, 0 where a symbol has none.
  CodeTable(const char* what, std::span<const uint8_t> lengths, int symbols) {
    std::array<int, kCodeBits + 1> of_length{};
    std::vector<int> length(static_cast<size_t>(symbols));
    int room = 1 << kCodeBits;
    for (int s = 0; s < symbols; ++s) {
      const int n = (lengths[static_cast<size_t>(s / 2)] >> (s % 2 * 4)) & 15;
      FC_CHECK(n <= kCodeBits, ArgumentError, what, ": expected codes of at most ", kCodeBits,
               " bits, got one of ", n);
      length[static_cast<size_t>(s)] = n;
      if (n == 0) continue;
      ++of_length[static_cast<size_t>(n)];
      room -= 1 << (kCodeBits - n);
      bits_ = std::max(bits_, n);
    }
    FC_CHECK(room == 0, ArgumentError, what,
             ": expected a complete code, got lengths that make none");
    FC_CHECK(symbols % 2 == 0 || lengths.back() >> 4 == 0, ArgumentError, what,
             ": expected zero bits after the lengths, got others");
    unsigned code = 0;
    std::array<unsigned, kCodeBits + 1> next{};
    for (size_t n = 1; n <= kCodeBits; ++n) {
      next[n] = code;
      code = (code + static_cast<unsigned>(of_length[n])) << 1;
    }
    for (int s = 0; s < symbols; ++s)
      if (const int n = length[static_cast<size_t>(s)]) fill(next[static_cast<size_t>(n)]++, n, s);
  }

  struct Entry {
    uint8_t symbol, length;
  };
  Entry operator[](uint64_t bits) const noexcept { return entries_[bits & ((1u << bits_) - 1)]; }

 private:
  // Codes are written from their highest bit on, and bits are read from the lowest.
  void fill(unsigned code, int n, int symbol) noexcept {
    unsigned reversed = 0;
    for (int i = 0; i < n; ++i) reversed |= (code >> i & 1) << (n - 1 - i);
    for (unsigned at = reversed; at < 1u << bits_; at += 1u << n)
      entries_[at] = {static_cast<uint8_t>(symbol), static_cast<uint8_t>(n)};
  }

  std::array<Entry, 1 << kCodeBits> entries_;
  int bits_ = 0;
};

// The bits of one stream, lowest first. Past its end they are zeros, which `finish` tells.
class BitReader {
 public:
  explicit BitReader(std::span<const uint8_t> bytes) noexcept
      : at_(bytes.data()), end_(bytes.data() + bytes.size()) {}

  // Makes sure of 56 bits.
  void refill() noexcept {
    if (std::endian::native == std::endian::little && end_ - at_ >= 8) {
      uint64_t next;
      std::memcpy(&next, at_, 8);
      bits_ |= next << count_;
      at_ += (63 - count_) >> 3;
      count_ |= 56;
      return;
    }
    for (; count_ < 56; count_ += 8) {
      if (at_ < end_)
        bits_ |= static_cast<uint64_t>(*at_++) << count_;
      else
        ++missing_;
    }
  }
  int take(const CodeTable& table) noexcept {
    const CodeTable::Entry entry = table[bits_];
    bits_ >>= entry.length;
    count_ -= entry.length;
    return entry.symbol;
  }
  void finish() const {
    const dim_t left = (end_ - at_) * 8 + count_ - missing_ * 8;
    FC_CHECK(left >= 0 && left < 8 && valid_bits() == 0, ArgumentError,
             "coded: expected streams that end with their last value, got one with ", left,
             " bits beyond it");
  }

 private:
  // A whole refill leaves bits above those that it counts.
  uint64_t valid_bits() const noexcept { return bits_ & ((uint64_t{1} << count_) - 1); }

  const uint8_t *at_, *end_;
  uint64_t bits_ = 0;
  int count_ = 0;  // of the bits, below 64
  dim_t missing_ = 0;
};

// What the bytes of an array consist of, held against their number.
struct Parts {
  std::span<const uint8_t> codebook;
  CodeTable values;
  std::vector<CodeTable> gaps;  // one or none
  std::vector<std::span<const uint8_t>> streams;
};

class Splitter {
 public:
  explicit Splitter(std::span<const uint8_t> bytes) : left_(bytes) {}
  std::span<const uint8_t> take(dim_t n) {
    FC_CHECK(n <= static_cast<dim_t>(left_.size()), ArgumentError, "coded: expected ", n,
             " more bytes, got ", left_.size());
    const auto taken = left_.first(static_cast<size_t>(n));
    left_ = left_.subspan(static_cast<size_t>(n));
    return taken;
  }
  size_t left() const noexcept { return left_.size(); }

 private:
  std::span<const uint8_t> left_;
};

Parts split(const CodedArray& coded, dim_t count, int size) {
  FC_CHECK(coded.entries >= 2 && coded.entries <= kMaxSymbols, ArgumentError,
           "entries: expected 2 to ", kMaxSymbols, ", got ", coded.entries);
  FC_CHECK(coded.gaps == 0 || (coded.gaps >= 2 && coded.gaps <= kMaxSymbols), ArgumentError,
           "gaps: expected 0 or 2 to ", kMaxSymbols, ", got ", coded.gaps);
  Splitter bytes(coded.bytes);
  const auto codebook = bytes.take(coded.entries * size);
  CodeTable values("codes of values", bytes.take((coded.entries + 1) / 2), coded.entries);
  Parts parts{codebook, values, {}, {}};
  if (coded.gaps > 0)
    parts.gaps.emplace_back("codes of gaps", bytes.take((coded.gaps + 1) / 2), coded.gaps);
  const dim_t streams = (count + kStreamValues - 1) / kStreamValues;
  const auto sizes = bytes.take(2 * streams);
  for (size_t i = 0; i < sizes.size(); i += 2)
    parts.streams.push_back(bytes.take(sizes[i] | sizes[i + 1] << 8));
  FC_CHECK(bytes.left() == 0, ArgumentError, "coded: expected nothing after the streams, got ",
           bytes.left(), " bytes");
  return parts;
}

template <class T>
using Codebook = std::array<T, kMaxSymbols>;

// Streams of as many values each, side by side.
template <class T>
void decode_interleaved(const Parts& parts, const Codebook<T>& codebook, size_t first, T* out) {
  const auto stream = [&](size_t i) { return BitReader(parts.streams[first + i]); };
  std::array<BitReader, kInterleaved> readers{stream(0), stream(1), stream(2), stream(3)};
  static_assert(kInterleaved == 4 && kStreamValues % kPerRefill == 0);
  for (dim_t i = 0; i < kStreamValues; i += kPerRefill) {
    for (BitReader& reader : readers) reader.refill();
    for (int k = 0; k < kPerRefill; ++k)
      for (size_t s = 0; s < kInterleaved; ++s)
        out[static_cast<dim_t>(s) * kStreamValues + i + k] =
            codebook[static_cast<size_t>(readers[s].take(parts.values))];
  }
  for (const BitReader& reader : readers) reader.finish();
}

template <class T>
void decode_dense(const Parts& parts, const Codebook<T>& codebook, size_t stream, T* out,
                  dim_t count) {
  BitReader reader(parts.streams[stream]);
  for (dim_t i = 0; i < count; ++i) {
    reader.refill();
    out[i] = codebook[static_cast<size_t>(reader.take(parts.values))];
  }
  reader.finish();
}

// A gap is the number of zeros before a value; the last symbol is as many zeros without one.
template <class T>
void decode_sparse(const Parts& parts, const Codebook<T>& codebook, int last, size_t stream, T* out,
                   dim_t count) {
  std::fill_n(out, count, T{});
  BitReader reader(parts.streams[stream]);
  for (dim_t i = 0; i < count;) {
    reader.refill();
    const int gap = reader.take(parts.gaps.front());
    i += gap;
    if (gap == last || i >= count) {
      FC_CHECK(i <= count, ArgumentError, "coded: expected gaps that end with their stream, got ",
               i - count, " zeros beyond it");
      continue;
    }
    out[i++] = codebook[static_cast<size_t>(reader.take(parts.values))];
  }
  reader.finish();
}

template <class T>
void decode_values(const CodedArray& coded, T* out, dim_t count) {
  const Parts parts = split(coded, count, sizeof(T));
  Codebook<T> codebook{};
  std::memcpy(codebook.data(), parts.codebook.data(), parts.codebook.size());
  const dim_t groups = (count + kInterleaved * kStreamValues - 1) / (kInterleaved * kStreamValues);
  parallel_for(groups, 1, [&](dim_t begin, dim_t end) {
    for (dim_t group = begin; group < end; ++group) {
      const dim_t first = group * kInterleaved;
      if (parts.gaps.empty() && (first + kInterleaved) * kStreamValues <= count) {
        decode_interleaved(parts, codebook, static_cast<size_t>(first),
                           out + first * kStreamValues);
        continue;
      }
      for (dim_t s = first; s < first + kInterleaved && s * kStreamValues < count; ++s) {
        T* const at = out + s * kStreamValues;
        const dim_t n = std::min(kStreamValues, count - s * kStreamValues);
        if (parts.gaps.empty())
          decode_dense(parts, codebook, static_cast<size_t>(s), at, n);
        else
          decode_sparse(parts, codebook, coded.gaps - 1, static_cast<size_t>(s), at, n);
      }
    }
  });
}

}  // namespace

void decode(const CodedArray& coded, void* out, dim_t count, int size) {
  switch (size) {
    case 1:
      return decode_values(coded, static_cast<uint8_t*>(out), count);
    case 2:
      return decode_values(coded, static_cast<uint16_t*>(out), count);
    case 4:
      return decode_values(coded, static_cast<uint32_t*>(out), count);
    default:
      throw ArgumentError(message("out: expected elements of 1, 2 or 4 bytes, got ", size));
  }
}

}  // namespace fastconv
