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

// Two rows of a panel as one row of words; a row that is null is one of zeros.
void pack_pair(const Bf16Kernels& kernels, const float* first, const float* second, dim_t width,
               uint16_t* scratch, uint16_t* to) {
  std::fill_n(scratch, 2 * width, uint16_t{0});
  if (first) kernels.round(first, width, scratch);
  if (second) kernels.round(second, width, scratch + width);
  for (dim_t n = 0; n < width; ++n) {
    to[2 * n] = scratch[n];
    to[2 * n + 1] = scratch[width + n];
  }
}

}  // namespace

Bf16Form bf16_form(const KernelTable& table, dim_t k) {
  const Bf16Kernels& tiles = table.bf16_tiles;
  if (!tiles.mr || round_up(k, dim_t{tiles.depth}) > 2 * k) return {&table.bf16, table.bf16.depth};
  return {tiles.emulated || cpu_permits_tiles() ? &tiles : &table.bf16, tiles.depth};
}

std::string bf16_packing(const KernelTable& table) {
  return message("bf16 ", table.bf16_tiles.mr ? table.bf16_tiles.depth : table.bf16.depth);
}

PackedBf16::PackedBf16(const Bf16Form& form, dim_t K, dim_t N, Buffer<uint16_t> data)
    : kernels_(form.kernels), depth_(form.depth), K_(K), N_(N), data_(std::move(data)) {}

std::string PackedBf16::tile() const {
  const char* const registers = kernels_->depth > 2 ? " of AMX" : "";
  return message(panel_kernels(*kernels_, width(0)).mr, "x", width(0), registers);
}

void PackedBf16::pack(const PackedB& b, dim_t taps, dim_t k_run) {
  parallel_for(panels(), 1 + 65536 / (K_ * kernels_->nr + 1), [&](dim_t begin, dim_t end) {
    std::vector<uint16_t> scratch(static_cast<size_t>(2 * widest_panel(*kernels_, N_)));
    for (dim_t p = begin; p < end; ++p) {
      const dim_t w = width(p);
      const float* from = b.panel(p);
      uint16_t* to = panel(p);
      const auto row = [&](dim_t k) { return k < k_run ? from + k * w : nullptr; };
      for (dim_t tap = 0; tap < taps; ++tap, from += k_run * w)
        for (dim_t k = 0; k < round_up(k_run, depth_); k += 2, to += 2 * w)
          pack_pair(*kernels_, row(k), row(k + 1), w, scratch.data(), to);
    }
  });
}

void gemm_bf16(const View& a, const View& b, const View* c, const View& out, float alpha,
               float beta, const float* bias, const Activation& activation) {
  const dim_t M = out.shape[0], N = out.shape[1], K = a.shape[1];
  if (M == 0 || N == 0) return;
  const KernelTable& table = kernels();
  const Bf16Form form = bf16_form(table, K);
  const Bf16Kernels& kernels = *form.kernels;
  const dim_t whole = round_up(K, form.depth);
  PackedB panels(table.gemm, K, N);
  panels.pack(0, K, b.as<float>(), b.stride[0], b.stride[1]);
  PackedBf16 packed(form, whole, N, Buffer<uint16_t>(PackedBf16::numbers(form, whole, N)));
  packed.pack(panels, 1, K);

  Bf16Group group{&packed, 0, 0, bias};
  Bf16Product p;
  p.M = M;
  p.lda = whole + (bytes_alias(kernels.mr, whole * 2) ? 2 * kRowGap : 0);
  p.tap_offset = &kZeroTap;
  p.k_run = whole;
  p.ldc = N;
  p.groups = &group;
  p.group_count = 1;
  p.alpha = alpha;
  p.residual_scale = beta;
  p.activation = activation;

  Buffer<uint16_t> rows(M * p.lda);
  const bool in_place = a.stride[1] == 1 || K <= 1;
  parallel_for(M, 1 + 65536 / (whole + 1), [&](dim_t begin, dim_t end) {
    std::vector<float> row(static_cast<size_t>(in_place ? 0 : K));
    for (dim_t m = begin; m < end; ++m) {
      const float* from = a.as<float>() + m * a.stride[0];
      if (!in_place) {
        for (dim_t k = 0; k < K; ++k) row[static_cast<size_t>(k)] = from[k * a.stride[1]];
        from = row.data();
      }
      uint16_t* const to = rows.data() + m * p.lda;
      kernels.round(from, K, to);
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
double measured_gain(const PeakLoop& f32, const PeakLoop& bf16) {
  constexpr int kSamples = 40;
  constexpr dim_t kSteps = 1000;
  const auto rate = [](const PeakLoop& loop) {
    float sink = 0.0f;
    const auto start = std::chrono::steady_clock::now();
    const double operations = loop.run(kSteps, &sink);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    return operations / seconds.count();
  };
  double of_f32 = 0, of_bf16 = 0;
  for (int i = 0; i < kSamples; ++i) {
    of_f32 = std::max(of_f32, rate(f32));
    of_bf16 = std::max(of_bf16, rate(bf16));
  }
  return of_bf16 / of_f32;
}

}  // namespace

double bf16_gain(const KernelTable& table, const Bf16Kernels& kernels) {
  if (!kernels.peak.run) return 0;
  static ForkMutex mutex;
  static std::map<const Bf16Kernels*, double> known;
  const std::lock_guard<ForkMutex> lock(mutex);
  const auto [found, is_new] = known.try_emplace(&kernels, 0);
  if (is_new) found->second = measured_gain(table.peak.f32, kernels.peak);
  return found->second;
}

}  // namespace fastconv
