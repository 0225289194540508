// L4 conv: direct convolution of groups with few channels: depthwise with a multiplier,
// ResNeXt-like groups of up to two vectors. See grouped.h.
#include "conv/grouped.h"
#include "core/check.h"
#include "core/cpu.h"

namespace fastconv {
namespace {

std::string reject(const ConvParams& p, const KernelTable& kernels) {
  if (p.transposed) return "transposed";
  if (p.groups == 1) return "one group: a product over whole channels keeps the lanes full";
  const dim_t lanes = kernels.lanes;
  if (fills_vectors(p, lanes)) return "";
  if (p.oc / p.groups > lanes)
    return message("a group's ", p.oc / p.groups, " output channels are more than a vector of ",
                   lanes);
  for (dim_t b = 0; b * lanes < p.oc; ++b)
    if (const dim_t count = channel_span(p, b, lanes).count; count > lanes)
      return message(lanes, " output channels read ", count,
                     " input channels, more than a vector of ", lanes);
  return "";
}

// Groups of one vector broadcast their channels, which is faster than the dense tile. Two vectors, if
// they are not of four lanes, fill that tile, and Winograd does fewer products still; but dense
// algorithms read the image once for each group, and one that does not stay in cache is better read
// once for all. A group as wide as a vector, but with more or fewer input channels, has a
// permutation for each FMA and no lane to spare: a tile of the dense product, which broadcasts each
// of its channels, is better. Where permutations are cheap none of that holds.
bool pays(const ConvParams& p, const ConvShape& s, bool, const KernelTable& kernels) {
  if (s.group_ic() == s.group_oc() && s.group_oc() >= kernels.lanes) {
    const bool fills_tile = s.group_oc() > kernels.lanes && kernels.lanes > 4;
    const bool for_winograd = s.group_oc() > kernels.lanes && s.stride[1] == 1 &&
                              s.stride[2] == 1 && s.kernel[1] == s.kernel[2] && s.kernel[2] <= 5;
    const dim_t image = s.in[0] * s.in[1] * s.in[2] * p.ic * static_cast<dim_t>(sizeof(float));
    return has_bands(s, kernels.conv) && !for_winograd && (!fills_tile || image > caches().l3 / 2);
  }
  return s.group_oc() < kernels.lanes || kernels.cheap_permute;
}

}  // namespace

extern const Algo algo_direct;
const Algo algo_direct = {"direct", reject, prepack_grouped, pays, nullptr, grouped_stores_bf16};

}  // namespace fastconv
