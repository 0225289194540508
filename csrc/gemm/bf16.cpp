// L3 gemm: see bf16.h.
#include "gemm/bf16.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <mutex>
#include <vector>

#include "core/check.h"
#include "core/fork_mutex.h"
#include "core/parallel.h"
#include "core/tiles.h"
#include "kernels/dispatch.h"

namespace fastconv {
namespace {

constexpr dim_t kZeroTap = 0;

// Two rows of a panel as one row of words.
void pack_pair(const Bf16Kernels& kernels, const float* first, const float* second, dim_t width,
               uint16_t* scratch, uint16_t* to) {
  kernels.round(first, width, scratch);
  if (second)
    kernels.round(second, width, scratch + width);
  else
    std::fill_n(scratch + width, width, uint16_t{0});
  for (dim_t n = 0; n < width; ++n) {
    to[2 * n] = scratch[n];
    to[2 * n + 1] = scratch[width + n];
  }
}

}  // namespace

PackedBf16::PackedBf16(const Bf16Kernels& kernels, dim_t K, dim_t N, Buffer<uint16_t> data)
    : kernels_(&kernels), K_(K), N_(N), data_(std::move(data)) {}

std::string PackedBf16::tile() const {
  return message(panel_kernels(*kernels_, width(0)).mr, "x", width(0));
}

void PackedBf16::pack(const PackedB& b, dim_t taps, dim_t k_run) {
  parallel_for(panels(), 1 + 65536 / (K_ * kernels_->nr + 1), [&](dim_t begin, dim_t end) {
    std::vector<uint16_t> scratch(static_cast<size_t>(2 * widest_panel(*kernels_, N_)));
    for (dim_t p = begin; p < end; ++p) {
      const dim_t w = width(p);
      const float* from = b.panel(p);
      uint16_t* to = panel(p);
      for (dim_t tap = 0; tap < taps; ++tap, from += k_run * w)
        for (dim_t k = 0; k < k_run; k += 2, to += 2 * w)
          pack_pair(*kernels_, from + k * w, k + 1 < k_run ? from + (k + 1) * w : nullptr, w,
                    scratch.data(), to);
    }
  });
}

void gemm_bf16(const View& a, const View& b, const View* c, const View& out, float alpha,
               float beta, const float* bias, const Activation& activation) {
  const dim_t M = out.shape[0], N = out.shape[1], K = a.shape[1];
  if (M == 0 || N == 0) return;
  const KernelTable& table = kernels();
  const dim_t even = round_up(K, dim_t{2});
  PackedB panels(table.gemm, K, N);
  panels.pack(0, K, b.as<float>(), b.stride[0], b.stride[1]);
  PackedBf16 packed(table.bf16, even, N,
                    Buffer<uint16_t>(PackedBf16::numbers(table.bf16, even, N)));
  packed.pack(panels, 1, K);

  Bf16Group group{&packed, 0, 0, bias};
  Bf16Product p;
  p.M = M;
  p.lda = even + (bytes_alias(table.bf16.mr, even * 2) ? 2 * kRowGap : 0);
  p.tap_offset = &kZeroTap;
  p.k_run = even;
  p.ldc = N;
  p.groups = &group;
  p.group_count = 1;
  p.alpha = alpha;
  p.residual_scale = beta;
  p.activation = activation;

  Buffer<uint16_t> rows(M * p.lda);
  const bool in_place = a.stride[1] == 1 || K <= 1;
  parallel_for(M, 1 + 65536 / (even + 1), [&](dim_t begin, dim_t end) {
    std::vector<float> row(static_cast<size_t>(in_place ? 0 : K));
    for (dim_t m = begin; m < end; ++m) {
      const float* from = a.as<float>() + m * a.stride[0];
      if (!in_place) {
        for (dim_t k = 0; k < K; ++k) row[static_cast<size_t>(k)] = from[k * a.stride[1]];
        from = row.data();
      }
      uint16_t* const to = rows.data() + m * p.lda;
      table.bf16.round(from, K, to);
      std::fill(to + K, to + p.lda, uint16_t{0});
    }
  });

  // C is the addend, in rows that lie as those of the result do.
  const bool dense = out.stride[1] == 1 && out.stride[0] == N;
  Buffer<float> copy(dense ? 0 : M * N);
  float* const y = dense ? out.as<float>() : copy.data();
  const View* const addend = beta == 0.0f ? nullptr : c;
  if (addend)
    for (dim_t m = 0; m < M; ++m)
      for (dim_t n = 0; n < N; ++n)
        y[m * N + n] = addend->as<float>()[m * addend->stride[0] + n * addend->stride[1]];
  multiply(p, rows.data(), addend ? y : nullptr, y);
  if (!dense)
    for (dim_t m = 0; m < M; ++m)
      for (dim_t n = 0; n < N; ++n)
        out.as<float>()[m * out.stride[0] + n * out.stride[1]] = y[m * N + n];
}

namespace {

// Samples of a few microseconds, in turns: the best one of each was not interrupted.
double measured_gain(const PeakKernels& peak) {
  constexpr int kSamples = 40;
  constexpr dim_t kSteps = 1000;
  const auto rate = [](const PeakLoop& loop) {
    float sink = 0.0f;
    const auto start = std::chrono::steady_clock::now();
    const double operations = loop.run(kSteps, &sink);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    return operations / seconds.count();
  };
  double f32 = 0, bf16 = 0;
  for (int i = 0; i < kSamples; ++i) {
    f32 = std::max(f32, rate(peak.f32));
    bf16 = std::max(bf16, rate(peak.bf16));
  }
  return bf16 / f32;
}

}  // namespace

double bf16_gain(const KernelTable& table) {
  const PeakLoop& loop = table.peak.bf16;
  if (!loop.run || (loop.uses_tiles && !cpu_permits_tiles())) return 0;
  static ForkMutex mutex;
  static std::map<const KernelTable*, double> known;
  const std::lock_guard<ForkMutex> lock(mutex);
  const auto [found, is_new] = known.try_emplace(&table, 0);
  if (is_new) found->second = measured_gain(table.peak);
  return found->second;
}

}  // namespace fastconv
