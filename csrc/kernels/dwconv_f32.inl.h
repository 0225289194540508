// L2 micro-kernel: a run of output pixels of a depthwise convolution, f32, channels-last. The
// contract is DwconvRow in kernel_table.h. Called by conv/algo_depthwise.cpp; calls
// apply_activation. Start at dwconv_tile.
//
// Tile: 4 pixels x 2 vectors of channels = 8 chains (two FMA ports x 4 cycles), 8 + 2 of w + 1 of x
// = 11 registers. Per tap 2 loads of w and 8 of x (as FMA operands) feed 8 FMAs: load-bound at 5 /
// 4 of the FMA time where x is in L1; in networks x comes from L2 or beyond and the bandwidth there
// is the limit. Two vectors side by side use each cache line of x whole (64 B with AVX2).
#pragma once
#include "kernels/eltwise.inl.h"
#include "kernels/kernel_table.h"

namespace fastconv {
namespace {

// P pixels from p, V vectors of channels from c; with TAIL, V = 1 and only n lanes exist.
template <int P, int V, bool TAIL>
inline void dwconv_tile(const DwconvRow& r, dim_t p, dim_t c, int n) {
  const auto load = [n](const float* q) { return TAIL ? vload_tail(q, n) : vload(q); };
  vf acc[P][V];
  for (int v = 0; v < V; ++v) {
    const vf bias = r.epilogue.bias ? load(r.epilogue.bias + c + v * W) : vzero();
    for (int i = 0; i < P; ++i) acc[i][v] = bias;
  }
  const float* x = r.x + p * r.x_step + c;
  for (dim_t t = 0; t < r.taps; ++t) {
    const float* xt = x + r.x_tap[t];
    const float* wt = r.w + r.w_tap[t] + c;
    vf w[V];
    for (int v = 0; v < V; ++v) w[v] = load(wt + v * W);
    for (int i = 0; i < P; ++i)
      for (int v = 0; v < V; ++v)
        acc[i][v] = vfma(load(xt + i * r.x_step + v * W), w[v], acc[i][v]);
  }
  const Epilogue& e = r.epilogue;
  const bool clamped = e.activation.act == Act::clamp;
  for (int i = 0; i < P; ++i)
    for (int v = 0; v < V; ++v) {
      vf y = acc[i][v];
      if (e.residual) y = vadd(y, load(e.residual + (p + i) * e.ldr + c + v * W));
      if (clamped) y = vmin(vset(e.activation.beta), vmax(vset(e.activation.alpha), y));
      float* out = r.y + (p + i) * r.y_step + c + v * W;
      if (TAIL)
        vstore_tail(out, y, n);
      else
        vstore(out, y);
    }
}

template <int V, bool TAIL>
inline void dwconv_channels(const DwconvRow& r, dim_t c, int n) {
  dim_t p = 0;
  for (; p + 4 <= r.pixels; p += 4) dwconv_tile<4, V, TAIL>(r, p, c, n);
  for (; p < r.pixels; ++p) dwconv_tile<1, V, TAIL>(r, p, c, n);
}

void dwconv_row(const DwconvRow& r) {
  dim_t c = 0;
  for (; c + 2 * W <= r.channels; c += 2 * W) dwconv_channels<2, false>(r, c, W);
  for (; c + W <= r.channels; c += W) dwconv_channels<1, false>(r, c, W);
  if (c < r.channels) dwconv_channels<1, true>(r, c, static_cast<int>(r.channels - c));
  if (r.epilogue.activation.act > Act::clamp)
    for (dim_t p = 0; p < r.pixels; ++p)
      apply_activation(r.y + p * r.y_step, r.channels, r.epilogue.activation);
}

}  // namespace
}  // namespace fastconv
