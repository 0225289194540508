// L2 micro-kernel: a convolution of planes of channels, f32, without a copy of its windows. Contract:
// PlanarRow in planar.h. Called by conv/algo_planar_direct.cpp.
//
// A tile is R filters by V vectors of pixels: twelve sums, three vectors of x and a weight fill the
// registers of AVX2. Fewer filters take more vectors, for eight sums at least hide an FMA's latency.
// Every second pixel of a row comes as two vectors of which one is made.
#pragma once
#include "kernels/eltwise.inl.h"
#include "kernels/epilogue.inl.h"
#include "kernels/kernel_table.h"
#include "kernels/unroll.h"

namespace fastconv {
namespace {

struct WholeVector {
  constexpr operator int() const { return W; }
};

// Pixels of x `step` apart, of which a vector of results sees `lanes`.
template <int step>
inline vf load_pixels(const float* x, int lanes) {
  if constexpr (step == 1) return load(x, lanes);
  const int seen = 2 * lanes - 1;
  return seen <= W ? veven(load(x, seen), vzero()) : veven(vload(x), load(x + W, seen - W));
}
// Of a whole vector, where another pixel follows.
template <int step>
inline vf load_pixels(const float* x, WholeVector) {
  return step == 1 ? vload(x) : veven(vload(x), vload(x + W));
}

// Filters o to o + R, pixels p to p + V * W, of which the last vector has `lanes`; of W, a constant.
template <int step, int R, int V, class Lanes>
inline void planar_tile(const PlanarRow& t, dim_t o, dim_t p, Lanes lanes) {
  const auto lanes_of = [&](int v) { return v + 1 < V ? W : int{lanes}; };
  vf acc[R][V];
  FC_UNROLL for (int r = 0; r < R; ++r) FC_UNROLL for (int v = 0; v < V; ++v) acc[r][v] = vzero();
  const float* w = t.w + o * t.K;
  const float* const x = t.x + p * step;
  for (dim_t k = 0; k < t.K; ++k, w += kPlanarFilters) {
    const float* const at = x + t.offset[k];
    vf pixels[V];
    FC_UNROLL for (int v = 0; v < V; ++v) {
      pixels[v] = v + 1 < V ? load_pixels<step>(at + v * W * step, WholeVector())
                            : load_pixels<step>(at + v * W * step, lanes);
    }
    FC_UNROLL for (int r = 0; r < R; ++r) {
      const vf weight = vbroadcast(w + r);
      FC_UNROLL for (int v = 0; v < V; ++v) acc[r][v] = vfma(weight, pixels[v], acc[r][v]);
    }
  }
  finish_planes(t, o, p, acc, lanes_of);
}

template <int step, int R, int V>
void planar_filters(const PlanarRow& t, dim_t o) {
  // A whole vector of every second pixel is read up to the pixel that follows.
  const dim_t whole = t.pixels - (step - 1);
  dim_t p = 0;
  for (; p + V * W <= whole; p += V * W) planar_tile<step, R, V>(t, o, p, WholeVector());
  for (; p + W <= whole; p += W) planar_tile<step, R, 1>(t, o, p, WholeVector());
  if (p < t.pixels) planar_tile<step, R, 1>(t, o, p, static_cast<int>(t.pixels - p));
}

template <int step>
void planar_channels(const PlanarRow& t) {
  static_assert(kPlanarFilters == 4);
  dim_t o = 0;
  for (; o + 4 <= t.channels; o += 4) planar_filters<step, 4, 3>(t, o);
  const dim_t rest = t.channels - o;
  if (rest == 3) planar_filters<step, 3, 3>(t, o);
  if (rest == 2) planar_filters<step, 2, 4>(t, o);
  if (rest == 1) planar_filters<step, 1, 8>(t, o);
}

void planar_row(const PlanarRow& t) {
  if (t.step == 1)
    planar_channels<1>(t);
  else
    planar_channels<2>(t);
  if (t.epilogue.activation.afterwards())
    apply_activation(t.y, t.channels, nullptr, t.ldy, t.pixels, t.epilogue.activation);
}

}  // namespace
}  // namespace fastconv
