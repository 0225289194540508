// L4 conv: weights in the order that f32 kernels read them, from arrays in the order of callers. A call of
// conv2d() pays for it each time, so lines of w are read once, and by all threads.
#pragma once
#include <vector>

#include "conv/algo.h"
#include "conv/phases.h"
#include "gemm/gemm.h"

namespace fastconv {

// Some output channels, side by side in memory: to[k * width + c] for the channel first + c; 0 from
// c = channels on.
struct ChannelPanel {
  dim_t first, channels, width;
  float* to;
};

// The row k of a panel is tap t of input channel i, k = t * ic + i, from w[channel][i][t].
void pack_taps(const KernelTable& kernels, const float* w, dim_t ic, dim_t taps,
               const std::vector<ChannelPanel>& panels);

// B of one group, for each phase in turn, from spec.w.
void pack_group(const ConvSpec& spec, const std::vector<Phase>& phases, dim_t group,
                const std::vector<PackedB*>& bs);

}  // namespace fastconv
