// L3 gemm: see codebook.h.
#include "gemm/codebook.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>

#include "core/check.h"
#include "core/parallel.h"
#include "gemm/row_tiles.h"

namespace fastconv {
namespace {

constexpr dim_t kChunk = 1 << 16;  // numbers that a thread looks at together

uint32_t bits_of(float x) noexcept {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

// Numbers by their bits, so that 0 and -0, and NaN of all kinds, stay what they are. It allocates
// nothing: what threads run may not throw.
class ValueIndex {
 public:
  // The place of a number, a new one if need be; -1 where it would be one too many.
  int add(float x) noexcept {
    const uint32_t bits = bits_of(x);
    for (uint32_t at = start(bits);; at = (at + 1) % kSlots) {
      if (place_[at] && bits_[at] == bits) return place_[at] - 1;
      if (place_[at]) continue;
      if (count_ == kMostCodes) return -1;
      values_[count_++] = x;
      bits_[at] = bits;
      place_[at] = static_cast<int8_t>(count_);
      return place_[at] - 1;
    }
  }
  const float* begin() const noexcept { return values_; }
  const float* end() const noexcept { return values_ + count_; }

 private:
  static constexpr uint32_t kSlots = 1024;
  static uint32_t start(uint32_t bits) noexcept { return bits * 0x9e3779b1u >> 22; }

  float values_[kMostCodes];
  int count_ = 0;
  uint32_t bits_[kSlots] = {};
  int8_t place_[kSlots] = {};  // 1 and up; 0: free
};

}  // namespace

std::vector<float> distinct_values(const float* w, dim_t n) {
  ValueIndex all;
  std::mutex joining;
  std::atomic<bool> too_many{false};
  parallel_for(ceil_div(n, kChunk), 4, [&](dim_t begin, dim_t end) {
    ValueIndex mine;
    for (dim_t i = begin * kChunk; i < std::min(n, end * kChunk); ++i) {
      if (mine.add(w[i]) < 0) too_many = true;
      if (too_many.load(std::memory_order_relaxed)) return;
    }
    const std::lock_guard<std::mutex> lock(joining);
    for (const float x : mine)
      if (all.add(x) < 0) too_many = true;
  });
  std::vector<float> found;
  if (!too_many) found.assign(all.begin(), all.end());
  std::sort(found.begin(), found.end(), [](float x, float y) { return bits_of(x) < bits_of(y); });
  return found;
}

CodedB::CodedB(const CodebookKernels& kernels, dim_t K, dim_t N, const float* w,
               BufferSource& source)
    : kernels_(&kernels), K_(K), N_(N), bits_(source.take<int32_t>(1)) {
  const bool stored = source.filled();
  std::vector<float> values;
  if (!stored) {
    values = distinct_values(w, K * N);
    FC_CHECK(!values.empty() || K * N == 0, ArgumentError, "w: expected at most ", kMostCodes,
             " different weights, got more");
    while (which_ + 1 < kCodebooks && values.size() > size_t{1} << bits()) ++which_;
    bits_.data()[0] = bits();
  } else {
    FC_CHECK(bits_.size() == 1, ShapeError,
             "stored weights: expected the bits of an index, got none");
    while (which_ + 1 < kCodebooks && bits() != bits_.data()[0]) ++which_;
    FC_CHECK(bits() == bits_.data()[0], ShapeError, "stored weights: expected indices of ",
             kCodebookBits[0], " or ", kCodebookBits[1], " bits, got ", bits_.data()[0]);
  }
  table_ = source.take<float>(dim_t{1} << bits());
  codes_ = source.take<uint32_t>(panels() * words() * width());
  FC_CHECK(table_.size() == dim_t{1} << bits() && codes_.size() == panels() * words() * width(),
           ShapeError, "stored weights: expected ", panels() * words() * width(),
           " words of indices, got ", source.bytes(), " bytes");
  if (!stored) pack(values, w);
}

int CodedB::stored_values(const void* data, dim_t bytes) noexcept {
  int32_t bits = 0;
  if (bytes >= dim_t{sizeof bits}) std::memcpy(&bits, data, sizeof bits);
  return bits == kCodebookBits[0] ? 1 << kCodebookBits[0] : kMostCodes;
}

void CodedB::pack(const std::vector<float>& values, const float* w) {
  std::fill_n(table_.data(), table_.size(), 0.0f);
  std::copy(values.begin(), values.end(), table_.data());
  const dim_t in_word = codes_in_word(bits());
  parallel_for(panels(), 1, [&](dim_t begin, dim_t end) {
    ValueIndex index;
    for (const float x : values) index.add(x);
    for (dim_t p = begin; p < end; ++p) {
      uint32_t* const to = codes_.data() + p * words() * width();
      std::fill_n(to, words() * width(), 0u);
      for (dim_t n = p * width(); n < std::min(N_, (p + 1) * width()); ++n)
        for (dim_t k = 0; k < K_; ++k)
          to[k / in_word * width() + n % width()] |= static_cast<uint32_t>(index.add(w[n * K_ + k]))
                                                     << k % in_word * bits();
    }
  });
}

std::string CodedB::tile() const {
  return message(kernels().mr, "x", width(), ", ", bits(), " bits a weight");
}

namespace {

// Panels outside, as in multiply_block of gemm/multiply.cpp.
void multiply_block(const CodedProduct& p, const CodedGroup& g, const float* a,
                    const float* residual, float* c, Range rows, Range panels) {
  for (dim_t panel = panels.begin; panel < panels.end; ++panel) {
    CodebookTile t = {};
    t.b = g.b->panel(panel);
    t.table = g.b->table();
    place_tile(t, p, g, a, residual, c, rows.begin, panel * g.b->width(), g.b->width());
    run_rows(g.b->kernels(), t, rows.end - rows.begin, {0, 0, nullptr});
  }
}

}  // namespace

void multiply_coded(const CodedProduct& p, const float* a, const float* residual,
                    float* c) noexcept {
  if (p.M == 0 || p.group_count == 0) return;
  const dim_t weights = p.groups[0].b->K() * p.groups[0].b->N();
  for_each_block(p, weights, true, [&](const CodedGroup& g, Range rows, Range panels) {
    multiply_block(p, g, a, residual, c, rows, panels);
  });
}

}  // namespace fastconv
