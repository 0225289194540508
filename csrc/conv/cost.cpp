// L4 conv: see cost.h.
#include "conv/cost.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <vector>

#include "conv/axis_tiles.h"
#include "core/check.h"
#include "core/cpu.h"
#include "core/division.h"
#include "core/parallel.h"
#include "gemm/codebook.h"

namespace fastconv {

const WinogradForm* winograd_form(const KernelTable& table, int m, dim_t r) {
  if (m == 4 && r == 3) return &table.winograd.f4x3;
  if (m == 2 && r == 3) return &table.winograd.f2x3;
  if (m == 2 && r == 5) return &table.winograd.f2x5;
  return nullptr;
}

std::string winograd_rejects(const ConvParams& p, int m, const KernelTable& table) {
  if (p.transposed) return "transposed";
  if (p.kernel[0] != 1 || p.kernel[1] != p.kernel[2] || !winograd_form(table, m, p.kernel[2]))
    return message("no transform for a kernel of ", p.kernel[0], "x", p.kernel[1], "x",
                   p.kernel[2]);
  for (int i = 0; i < kMaxSpatial; ++i)
    if (p.stride[i] != 1) return "stride is not 1";
  if (p.pad_lo[0] || p.pad_hi[0]) return "padding in depth";
  if (p.exact && winograd_form(table, m, p.kernel[2])->n > 4)
    return message("precision is exact; F(", m, "x", m, ") is accurate to about 2e-6");
  return "";
}

namespace {

// Estimates of the time for one image in cycles, from measurements on Zen 5 (avx512 and avx2), and
// on Zen 3 where it says so.
//   products  of the direct method 93 % of two FMAs a cycle, the n^2 small ones 85 %
//   weights   8 bytes a cycle, or 4 where they fill more than most last-level caches: the slower of
//             products and weights counts
//   rest      10 cycles a row and vector of a small product; a transform 3.3 n^2 a vector of input
//             channels, 2.6 n^2 a vector of output channels; in a group, whose taps do not merge,
//             each tap 1.5 a pixel and vector (Zen 3)
double product_cycles(double fmas, double efficiency, double weights) {
  const double bytes = weights * sizeof(float);
  return std::max(fmas / (2 * efficiency), bytes / (bytes > 32e6 ? 4 : 8));
}

}  // namespace

double direct_cycles(const ConvShape& s, int lanes) {
  const double k = static_cast<double>(s.taps() * s.group_ic()),
               vectors = static_cast<double>(ceil_div(s.group_oc(), lanes));
  const double pixels = static_cast<double>(s.out_pixels()) * vectors,
               tap_cycles = s.groups == 1 ? 0 : 1.5 * static_cast<double>(s.taps());
  return static_cast<double>(s.groups) *
         (product_cycles(pixels * k, 0.93, k * static_cast<double>(s.group_oc())) +
          pixels * tap_cycles);
}
// A tile of four filters by three vectors does 90 % of two FMAs a cycle. A filter alone does half of that,
// and so do the vectors of a row beyond the last three. Where the rows of x that a tile sees outgrow half
// of L1 it takes three times as long, and where a vector is made of two 1.3 times. Storing a vector
// takes 1.5 cycles, a number of planes that are copied for their padding 0.15 (Zen 5).
double planar_direct_cycles(const ConvShape& s, int lanes) {
  const dim_t vectors = ceil_div(s.out[2], dim_t{lanes}), last = vectors % 3;
  const dim_t filters = s.group_oc(), alone = filters % kPlanarFilters == 1;
  const double k = static_cast<double>(s.taps() * s.group_ic());
  const double tiles = static_cast<double>((filters - alone) * (vectors - last)) / 1.8 +
                       static_cast<double>((filters - alone) * last + alone * vectors) / 0.9;
  const dim_t seen = s.group_ic() * s.kernel[0] * s.kernel[1] * (filters == 1 ? 8 : 3) * lanes *
                     s.stride[2] * dim_t{sizeof(float)};
  const double slower = (seen > caches().l1d / 2 ? 3 : 1) * (s.stride[2] == 1 ? 1 : 1.3);
  const double copied =
      s.padded() ? 0.15 * static_cast<double>(s.ic * s.in[0] * s.in[1] * s.in[2]) : 0;
  return copied + static_cast<double>(s.groups * s.out[0] * s.out[1]) *
                      (tiles * k * slower + 1.5 * static_cast<double>(filters * vectors));
}
// Where pixels of channels are made of planes, and back, a number takes 0.3 cycles; what follows a
// vector of sums takes 3.
double planar_cycles(const ConvShape& s, int lanes) {
  const bool in_place = s.taps() == 1 && !s.padded();
  const double numbers =
      static_cast<double>(s.ic * s.in[0] * s.in[1] * s.in[2] + s.oc * s.out_pixels());
  const double vectors =
      static_cast<double>(s.out_pixels() * s.groups * ceil_div(s.group_oc(), dim_t{lanes}));
  return direct_cycles(s, lanes) + 3 * vectors + (in_place ? 0 : 0.3 * numbers);
}
double winograd_cycles(const ConvShape& s, const WinogradForm& f, int lanes) {
  const double n2 = f.n * f.n, ic = static_cast<double>(s.group_ic());
  const double in_vectors = static_cast<double>(ceil_div(s.group_ic(), lanes)),
               out_vectors = static_cast<double>(ceil_div(s.group_oc(), lanes));
  const double tiles =
      static_cast<double>(s.out[0]) * count_axis_tiles(s, 1, f.m) * count_axis_tiles(s, 2, f.m);
  return static_cast<double>(s.groups) *
         (product_cycles(tiles * n2 * ic * out_vectors, 0.85,
                         n2 * ic * static_cast<double>(s.group_oc())) +
          tiles * n2 * (3.3 * in_vectors + (10 + 2.6) * out_vectors));
}

// Packing takes 2.3 cycles a float, most of them waiting for memory.
double packing_cycles(const ConvShape& s, dim_t floats) {
  return 2.3 * static_cast<double>(s.group_ic() * s.oc * floats);
}

double dense_cycles(const ConvParams& p, const ConvShape& s, const KernelTable& table) {
  double best = direct_cycles(s, table.lanes);
  for (int m : {2, 4})
    if (winograd_rejects(p, m, table).empty())
      best = std::min(best, winograd_cycles(s, *winograd_form(table, m, s.kernel[2]), table.lanes));
  return best;
}

// In NCHW layers of one tap the planar algorithm reads and writes planes in place; an algorithm of
// pixels transposes both sides.
static double transposing_cycles(const ConvParams& p, const ConvShape& s) {
  const bool in_place = p.planar && s.taps() == 1 && !s.padded();
  return in_place ? 0.65 * static_cast<double>(s.out_pixels() * (s.ic + s.oc)) : 0;
}

// Of panels of one width, a row of A and a row of the panel: 71 % of two FMAs a cycle where each of
// them loads its own number of A, and 90 % where two vectors share it (Zen 5).
static double sparse_row_cycles(const SparsePanel& panels, int lanes) {
  const int vectors = panels.width / lanes;
  return vectors / (2 * (vectors == 1 ? 0.71 : 0.9));
}

int sparse_panel_width(const Zeros& zeros, const KernelTable& table) {
  int best = 0;
  double least = 0;
  for (int i = 0; i < 2; ++i) {
    const SparsePanel& panels = table.sparse.panels[i];
    if (!panels.mr) continue;
    const double cycles =
        (1 - zeros.blocks[i]) * sparse_row_cycles(panels, table.lanes) / panels.width;
    if (!best || cycles < least) best = panels.width, least = cycles;
  }
  return best;
}

// Besides, 6 cycles a row and vector of a panel, and of each tap 0.5.
double sparse_panels_cycles(const ConvParams& p, const ConvShape& s, const KernelTable& table) {
  const int width = sparse_panel_width(p.zeros, table), which = width == kSparseWidths[1];
  const double panels = static_cast<double>(s.groups * ceil_div(s.group_oc(), dim_t{width})),
               taps = static_cast<double>(s.taps());
  const double kept = static_cast<double>(s.group_ic()) * taps * (1 - p.zeros.blocks[which]);
  const double row = kept * sparse_row_cycles(table.sparse.panels[which], table.lanes) +
                     6.0 * width / table.lanes + 0.5 * taps;
  return static_cast<double>(s.out_pixels()) * panels * row + transposing_cycles(p, s);
}

// A vector of pixels takes for each weight that is left 0.85 cycles, and more where the channels of a
// block outgrow L1; for each channel that is read 6, for each that is written 5, and where these are
// pixels of channels 4 more to transpose them (Zen 5, avx512).
double sparse_planes_cycles(const ConvParams& p, const ConvShape& s, const KernelTable& table) {
  const double vectors = static_cast<double>(ceil_div(s.out_pixels(), dim_t{table.lanes}));
  const double weights = static_cast<double>(s.oc * s.group_ic()) * (1 - p.zeros.single);
  const double block =
      static_cast<double>(s.group_ic() * kSparseVectors * table.lanes) * sizeof(float);
  const double weight =
      0.85 + 0.25 * std::log2(std::max(1.0, block / static_cast<double>(caches().l1d)));
  const double transpose = p.planar ? 0 : 4;
  return vectors * (weights * weight + (6 + transpose) * static_cast<double>(s.ic) +
                    (5 + transpose) * static_cast<double>(s.oc));
}

const CodebookTable& codebook_of(const ConvParams& p, const KernelTable& table) {
  const bool few = p.values <= 1 << kCodebookBits[0];
  return table.codebook.table[few ? 0 : 1];
}

double codebook_cycles(const ConvParams& p, const ConvShape& s, const KernelTable& table) {
  const double weights = static_cast<double>(s.ic * s.oc);
  const int bits = kCodebookBits[&codebook_of(p, table) - table.codebook.table];
  return std::max(weights / codebook_of(p, table).lookups,
                  product_cycles(0, 1, weights / static_cast<double>(codes_in_word(bits))));
}

// A number of x takes 0.15 cycles to be read, rounded and written.
double bf16_cycles(const ConvParams& p, const ConvShape& s, const KernelTable& table, double gain) {
  const double k = static_cast<double>(s.taps() * s.group_ic()),
               vectors = static_cast<double>(ceil_div(s.group_oc(), dim_t{table.lanes}));
  const double numbers = static_cast<double>(s.ic * s.in[0] * s.in[1] * s.in[2]);
  return product_cycles(static_cast<double>(s.out_pixels()) * vectors * k / gain, 0.93,
                        k * static_cast<double>(s.oc) / 2) +
         0.15 * numbers + transposing_cycles(p, s);
}

namespace {

// Sets used[i] where w[i] is not 0, and returns how many are not. Of names of its own, for bytes may alias
// whatever is captured, and of 32-bit sums: a plan of weights without zeros pays for it too.
dim_t mark(const float* w, dim_t n, uint8_t* __restrict used) noexcept {
  dim_t total = 0;
  constexpr dim_t kPiece = 4096;
  for (dim_t start = 0; start < n; start += kPiece) {
    const dim_t end = std::min(n, start + kPiece);
    int32_t found = 0;
    for (dim_t i = start; i < end; ++i) found += w[i] != 0.0f;
    for (dim_t i = start; i < end; ++i) used[i] |= w[i] != 0.0f;
    total += found;
  }
  return total;
}

}  // namespace

Zeros count_zeros(const ConvParams& p, const float* w) {
  constexpr dim_t kNarrow = kSparseWidths[0], kWide = kSparseWidths[1];
  const dim_t taps = p.kernel[0] * p.kernel[1] * p.kernel[2], ic = p.ic / p.groups,
              oc = p.oc / p.groups, panels = ceil_div(oc, kWide);
  // Of an output channel, runs of weights that lie side by side, and how far apart these are.
  const dim_t runs = p.transposed ? ic : 1, run = p.transposed ? taps : ic * taps,
              run_step = p.transposed ? oc * taps : 0, o_step = p.transposed ? taps : ic * taps;
  std::mutex sum;
  dim_t single = 0, narrow = 0, wide = 0;  // that are not zeros
  parallel_for(p.groups * panels, 1 + 65536 / (ic * taps * kWide), [&](dim_t begin, dim_t end) {
    std::vector<uint8_t> used(static_cast<size_t>(run)), below(static_cast<size_t>(run));
    dim_t weights = 0, halves = 0, rows = 0;
    const auto used_by = [&](const float* at, dim_t first, dim_t last, std::vector<uint8_t>& by) {
      std::fill(by.begin(), by.end(), uint8_t{0});
      for (dim_t o = first; o < last; ++o) weights += mark(at + o * o_step, run, by.data());
      halves += std::count(by.begin(), by.end(), uint8_t{1});
    };
    for (dim_t i = begin; i < end; ++i) {
      const dim_t first = i % panels * kWide, last = std::min(oc, first + kWide),
                  middle = std::min(oc, first + kNarrow);
      for (dim_t r = 0; r < runs; ++r) {
        const float* const at = w + i / panels * ic * oc * taps + r * run_step;
        used_by(at, first, middle, used);
        used_by(at, middle, last, below);
        for (dim_t j = 0; j < run; ++j)
          rows += used[static_cast<size_t>(j)] | below[static_cast<size_t>(j)];
      }
    }
    const std::lock_guard<std::mutex> lock(sum);
    single += weights;
    narrow += halves;
    wide += rows;
  });
  const auto share = [](dim_t left, dim_t all) {
    return all ? 1 - static_cast<double>(left) / static_cast<double>(all) : 0;
  };
  const dim_t K = p.groups * ic * taps;
  return {share(single, oc * K),
          {share(narrow, ceil_div(oc, kNarrow) * K), share(wide, panels * K)}};
}

int count_values(const ConvParams& p, const float* w) {
  const dim_t taps = p.kernel[0] * p.kernel[1] * p.kernel[2];
  return static_cast<int>(distinct_values(w, p.oc * (p.ic / p.groups) * taps).size());
}

std::string zeros_below(double share, const char* of_what, double least) {
  const auto percent = [](double x) { return static_cast<int>(100 * x); };
  return message(percent(share), " % of its ", of_what, "weights are zeros, it takes ",
                 percent(least), " %");
}

}  // namespace fastconv
