// L2 micro-kernel: a run of output pixels of a grouped convolution with few channels per group,
// f32, channels-last. The contract is GroupedRow in kernel_table.h. Called by conv/algo_direct.cpp;
// calls apply_activation.
//
// A vector of output channels spans several groups. The input channels that those groups read lie
// within one vector, so one load per tap serves all of them, and for input channel i of its group
// each lane picks its own with a permutation: lanes stay full where a GEMM per group would leave W
// - oc / groups of them empty. Tile: 4 pixels; per (tap, i) one load of w, one of the index and 4
// permutations for 4 FMAs: the shuffle port (one a cycle) is the limit, half the FMA peak.
#pragma once
#include "kernels/eltwise.inl.h"
#include "kernels/kernel_table.h"

namespace fastconv {
namespace {

// P pixels from p of block b; n output channels of it exist.
template <int P>
inline void grouped_tile(const GroupedRow& r, dim_t p, dim_t b, int n) {
  const int span = r.span[b];
  const dim_t c = b * W;
  const int32_t* index = r.index + b * r.group_ic * W;
  const float* x = r.x + p * r.x_step + r.base[b];
  vf acc[P];
  const vf bias = r.epilogue.bias ? vload_tail(r.epilogue.bias + c, n) : vzero();
  for (int i = 0; i < P; ++i) acc[i] = bias;
  for (dim_t t = 0; t < r.taps; ++t) {
    const float* xt = x + r.x_tap[t];
    const float* w = r.w + (b * r.w_taps + r.w_tap[t]) * r.group_ic * W;
    vf pixel[P];
    for (int i = 0; i < P; ++i)
      pixel[i] = span == W ? vload(xt + i * r.x_step) : vload_tail(xt + i * r.x_step, span);
    for (dim_t ch = 0; ch < r.group_ic; ++ch) {
      const vi lanes = vindex(index + ch * W);
      const vf wv = vload(w + ch * W);
      for (int i = 0; i < P; ++i) acc[i] = vfma(vpermute(pixel[i], lanes), wv, acc[i]);
    }
  }
  const Epilogue& e = r.epilogue;
  const bool clamped = e.activation.act == Act::clamp;
  for (int i = 0; i < P; ++i) {
    vf y = acc[i];
    if (e.residual) y = vadd(y, vload_tail(e.residual + (p + i) * e.ldr + c, n));
    if (clamped) y = vmin(vset(e.activation.beta), vmax(vset(e.activation.alpha), y));
    vstore_tail(r.y + (p + i) * r.y_step + c, y, n);
  }
}

void grouped_row(const GroupedRow& r) {
  for (dim_t b = 0; b * W < r.oc; ++b) {
    const int n = static_cast<int>(r.oc - b * W < W ? r.oc - b * W : W);
    dim_t p = 0;
    for (; p + 4 <= r.pixels; p += 4) grouped_tile<4>(r, p, b, n);
    for (; p < r.pixels; ++p) grouped_tile<1>(r, p, b, n);
  }
  if (r.epilogue.activation.act > Act::clamp)
    for (dim_t p = 0; p < r.pixels; ++p)
      apply_activation(r.y + p * r.y_step, r.oc, r.epilogue.activation);
}

}  // namespace
}  // namespace fastconv
