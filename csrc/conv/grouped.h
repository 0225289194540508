// L4 conv: convolutions with one or few channels per group, channels-last: a vector of output
// channels spans several groups. Nothing is padded or copied when x and y are channels-last. Used
// by algo_depthwise.cpp and algo_direct.cpp; calls kernels/grouped_f32.inl.h.
#pragma once
#include "conv/algo.h"

namespace fastconv {

// The input channels that output channels [b * lanes, (b + 1) * lanes) read.
struct ChannelSpan {
  dim_t first, count;
};
ChannelSpan channel_span(const ConvParams& p, dim_t b, dim_t lanes);

// Every block's span must fit `lanes`.
std::shared_ptr<const PackedConv> prepack_grouped(const ConvSpec& spec);

}  // namespace fastconv
