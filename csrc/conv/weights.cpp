// L4 conv: see weights.h.
#include "conv/weights.h"

#include <algorithm>
#include <cstring>

#include "core/parallel.h"
#include "kernels/dispatch.h"

namespace fastconv {
namespace {

constexpr dim_t kNumbersWorthAThread = 16384;  // that are moved

std::vector<ChannelPanel> panels_of(PackedB& b) {
  std::vector<ChannelPanel> panels;
  dim_t first = 0;
  for (dim_t p = 0; p < b.panels(); ++p) {
    const dim_t width = b.width(p), channels = std::min(width, b.N() - first);
    panels.push_back({first, channels, width, b.panel(p)});
    first += width;
  }
  return panels;
}

// f(panel, rows) for each, with `rows` rows of zeros as wide as the panel, which a panel's zeros may
// stay in; `numbers` of weights in all.
template <class F>
void for_each_panel(const std::vector<ChannelPanel>& panels, dim_t rows, dim_t numbers, F f) {
  const dim_t count = static_cast<dim_t>(panels.size());
  dim_t widest = 0;
  for (const ChannelPanel& panel : panels) widest = std::max(widest, panel.width);
  const dim_t chunk = rows * widest;
  const int threads = static_cast<int>(
      std::min<dim_t>({get_num_threads(), count, 1 + numbers / kNumbersWorthAThread}));
  Buffer<float> scratch(threads * chunk);
  parallel_run(threads, [&](int tid) {
    float* const part = scratch.data() + tid * chunk;
    const Range mine = partition(count, threads, tid);
    for (dim_t p = mine.begin; p < mine.end; ++p) {
      std::memset(part, 0, static_cast<size_t>(chunk) * sizeof(float));
      f(panels[static_cast<size_t>(p)], part);
    }
  });
}

// Weights [ic][oc][taps] of a transposed convolution, all of whose phases are filled at once: where
// the taps of a channel lie side by side, a phase reads as many lines as all of them.
void pack_transposed(const KernelTable& kernels, const float* w, dim_t ic, dim_t oc, dim_t taps,
                     const std::vector<Phase>& phases, const std::vector<PackedB*>& bs) {
  const dim_t nr = kernels.gemm.nr;
  for_each_panel(
      panels_of(*bs.front()), taps, ic * oc * taps, [&](const ChannelPanel& panel, float* rows) {
        for (dim_t i = 0; i < ic; ++i) {
          kernels.layout.transpose(panel.channels, taps, w + (i * oc + panel.first) * taps, taps,
                                   rows, panel.width);
          for (size_t phase = 0; phase < phases.size(); ++phase) {
            float* to = bs[phase]->panel(panel.first / nr) + i * panel.width;
            for (const Tap& tap : phases[phase].taps) {
              std::memcpy(to, rows + tap.weight * panel.width,
                          static_cast<size_t>(panel.width) * sizeof(float));
              to += ic * panel.width;
            }
          }
        }
      });
}

}  // namespace

// Where the taps of a channel lie side by side, packing them one after another would read every
// cache line of w `taps` times. So a few channels are transposed at once, in L1, and their rows put
// in place.
void pack_taps(const KernelTable& kernels, const float* w, dim_t ic, dim_t taps,
               const std::vector<ChannelPanel>& panels) {
  constexpr dim_t kChannels = 16;
  const dim_t most = std::min(kChannels, ic);
  dim_t numbers = 0;
  for (const ChannelPanel& panel : panels) numbers += panel.channels * ic * taps;
  for_each_panel(panels, most * taps, numbers, [&](const ChannelPanel& panel, float* rows) {
    const dim_t width = panel.width;
    for (dim_t i0 = 0; i0 < ic; i0 += kChannels) {
      const dim_t some = std::min(kChannels, ic - i0);
      kernels.layout.transpose(panel.channels, some * taps, w + (panel.first * ic + i0) * taps,
                               ic * taps, rows, width);
      for (dim_t t = 0; t < taps; ++t)
        for (dim_t i = 0; i < some; ++i)
          std::memcpy(panel.to + (t * ic + i0 + i) * width, rows + (i * taps + t) * width,
                      static_cast<size_t>(width) * sizeof(float));
    }
  });
}

void pack_group(const ConvSpec& spec, const std::vector<Phase>& phases, dim_t group,
                const std::vector<PackedB*>& bs) {
  const ConvParams& p = spec.params;
  const dim_t taps = p.kernel[0] * p.kernel[1] * p.kernel[2];
  const dim_t ic = p.ic / p.groups, oc = p.oc / p.groups;
  const float* const w = spec.w + group * oc * ic * taps;
  if (taps == 1)  // which one phase has
    bs.front()->pack(0, ic, w, p.transposed ? oc : 1, p.transposed ? 1 : ic);
  else if (p.transposed)
    pack_transposed(spec.kernels, w, ic, oc, taps, phases, bs);
  else
    pack_taps(spec.kernels, w, ic, taps, panels_of(*bs.front()));
}

}  // namespace fastconv
