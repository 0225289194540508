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

// Whether each group has one or two vectors of input and as many of output channels, so that a
// channel is broadcast to all lanes; otherwise every block's span must fit a vector.
bool fills_vectors(const ConvParams& p, dim_t lanes);
// Whether there is a kernel that works by bands for these strides and dilations; else rows are
// done one by one, slowly.
bool has_bands(const ConvShape& s, const ConvKernels& kernels);

// The kernels by bands do.
bool grouped_stores_bf16(const ConvShape& s, const KernelTable& table);
std::shared_ptr<const PackedConv> prepack_grouped(const ConvSpec& spec);

}  // namespace fastconv
