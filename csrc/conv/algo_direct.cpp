// L4 conv: direct convolution of groups with few channels: depthwise with a multiplier,
// ResNeXt-like groups of 2 to 8. See grouped.h.
#include "conv/grouped.h"
#include "core/check.h"

namespace fastconv {
namespace {

std::string reject(const ConvParams& p, const KernelTable& kernels) {
  if (p.transposed) return "transposed";
  if (p.groups == 1) return "one group: a product over whole channels keeps the lanes full";
  const dim_t lanes = kernels.lanes;
  if (p.oc / p.groups > lanes)
    return message("a group's ", p.oc / p.groups, " output channels are more than a vector of ",
                   lanes);
  for (dim_t b = 0; b * lanes < p.oc; ++b)
    if (const dim_t count = channel_span(p, b, lanes).count; count > lanes)
      return message(lanes, " output channels read ", count,
                     " input channels, more than a vector of ", lanes);
  return "";
}

// A group that fills an AVX2 vector is better off with a tile of the dense product, which
// broadcasts each of its channels to several pixels' sums: here each FMA has a permutation of its
// own (8 channels a group on Zen 3: 256 at 28 px 1.69 ms, implicit 1.25). Vectors of 16 lanes do
// not mind.
bool pays(const ConvShape& s, bool, const KernelTable& kernels) {
  return s.group_oc() < kernels.lanes || kernels.lanes >= 16;
}

}  // namespace

extern const Algo algo_direct;
const Algo algo_direct = {"direct", reject, prepack_grouped, pays};

}  // namespace fastconv
