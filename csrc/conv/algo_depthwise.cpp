// L4 conv: depthwise convolution, one input and one output channel per group: see grouped.h.
#include "conv/grouped.h"
#include "core/check.h"

namespace fastconv {
namespace {

std::string reject(const ConvParams& p, const KernelTable&) {
  if (p.transposed) return "transposed";
  if (p.groups == 1 || p.ic != p.groups || p.oc != p.groups)
    return message("not depthwise with multiplier 1: ", p.ic, " and ", p.oc, " channels in ",
                   p.groups, " group(s)");
  return "";
}

}  // namespace

extern const Algo algo_depthwise;
const Algo algo_depthwise = {"depthwise", reject,  prepack_grouped,
                             nullptr,     nullptr, grouped_stores_bf16};

}  // namespace fastconv
