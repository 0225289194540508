// L2 kernels: the epilogue in registers, for every kernel that stores f32 results. The formula is in
// core/epilogue.h. A kernel without a bias for each row leaves that out, and one whose sums begin
// with the bias that.
//
// A tile of R x V vectors has a pass over its registers for each thing that there is to do: one
// branch for the tile, and not one for each of its vectors.
#pragma once
#include "core/epilogue.h"
#include "kernels/unroll.h"

namespace fastconv {
namespace {

// bias(v): a vector of it.
template <int R, int V, class Bias>
inline void add_bias(vf (&y)[R][V], Bias bias) {
  vf b[V];
  FC_UNROLL for (int v = 0; v < V; ++v) b[v] = bias(v);
  FC_UNROLL for (int r = 0; r < R; ++r) FC_UNROLL for (int v = 0; v < V; ++v) y[r][v] =
      vadd(y[r][v], b[v]);
}
// bias: [R], one for each row.
template <int R, int V>
inline void add_row_bias(vf (&y)[R][V], const float* bias) {
  FC_UNROLL for (int r = 0; r < R; ++r) {
    const vf b = vbroadcast(bias + r);
    FC_UNROLL for (int v = 0; v < V; ++v) y[r][v] = vadd(y[r][v], b);
  }
}
// residual(r, v): a vector of it.
template <int R, int V, class Residual>
inline void add_residual(vf (&y)[R][V], float scale, Residual residual) {
  const vf factor = vset(scale);
  FC_UNROLL for (int r = 0; r < R; ++r) FC_UNROLL for (int v = 0; v < V; ++v) y[r][v] =
      vfma(residual(r, v), factor, y[r][v]);
}
template <int R, int V>
inline void clamp(vf (&y)[R][V], vf low, vf high) {
  FC_UNROLL for (int r = 0; r < R; ++r) FC_UNROLL for (int v = 0; v < V; ++v) y[r][v] =
      vmin(high, vmax(low, y[r][v]));
}

// The first `lanes` of a vector.
inline vf load(const float* p, int lanes) { return lanes == W ? vload(p) : vload_tail(p, lanes); }
inline void store(float* p, vf v, int lanes) {
  if (lanes == W)
    vstore(p, v);
  else
    vstore_tail(p, v, lanes);
}

// Where vectors are of pixels: bias, residual and clamp of the planes o to o + R of t.y, at the pixels
// from p on; then they are stored. lanes(v): how many pixels of a vector there are.
template <int R, int V, class Planes, class Lanes>
inline void finish_planes(const Planes& t, dim_t o, dim_t p, vf (&acc)[R][V], Lanes lanes) {
  const Epilogue& e = t.epilogue;
  if (e.row_bias) add_row_bias(acc, e.row_bias + o);
  if (e.residual)
    add_residual(acc, e.residual_scale, [&](int r, int v) {
      return load(e.residual + (o + r) * e.ldr + p + v * W, lanes(v));
    });
  if (e.activation.act == Act::clamp) clamp(acc, vset(e.activation.alpha), vset(e.activation.beta));
  FC_UNROLL for (int r = 0; r < R; ++r) FC_UNROLL for (int v = 0; v < V; ++v) if (lanes(v) > 0)
      store(t.y + (o + r) * t.ldy + p + v * W, acc[r][v], lanes(v));
}

}  // namespace
}  // namespace fastconv
