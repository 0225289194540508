// L2 kernels: what becomes of a product's sums of f32, between the last FMA and memory: the Finish
// of DotF32, and of the DotBf16 of each tier, for product/tile.inl.h. The contracts are GemmTile and
// Bf16Tile in kernel_table.h; calls apply_activation for what is not a clamp.
#pragma once
#include "kernels/eltwise.inl.h"
#include "kernels/epilogue.inl.h"
#include "kernels/kernel_table.h"
#include "kernels/product/tile.inl.h"
#include "kernels/round_bf16.inl.h"
#include "kernels/unroll.h"
#include "simd/dot_f32.h"

namespace fastconv {
namespace {

// The first row of a tile in C, of numbers C, and the residual.
template <class C>
struct ResultRows {
  C* c;
  const dim_t* c_row;
  const float* residual;
  const float* row_bias;

  template <class Tile>
  ResultRows(const Tile& t, C* c)
      : c(c), c_row(t.c_row), residual(t.epilogue.residual), row_bias(t.epilogue.row_bias) {}
  template <class Tile>
  void move_down(const Tile& t, dim_t rows) {
    if (c_row) {
      c_row += rows;
    } else {
      c += rows * t.ldc;
      if (residual) residual += rows * t.epilogue.ldr;
    }
    if (row_bias) row_bias += rows;
  }
  template <class Tile>
  C* row(const Tile& t, dim_t m) const {
    return c + (c_row ? c_row[m] : m * t.ldc);
  }
  template <class Tile>
  const float* residual_row(const Tile& t, dim_t m) const {
    return residual + (c_row ? c_row[m] : m * t.epilogue.ldr);
  }
};

inline void store(uint16_t* p, vf v, int lanes) { store_bf16(p, v, lanes); }

// Rows c of numbers C. Full: all columns exist; else masks are used throughout.
template <bool Full, class Tile, class Rows, class C, int MR, int NRV>
inline void store_tile(const Tile& t, const Rows& at, vf (&acc)[MR][NRV], C* const (&c)[MR]) {
  int columns[NRV];
  FC_UNROLL for (int v = 0; v < NRV; ++v) {
    const int left = t.n_cur - v * W;
    columns[v] = left < 0 ? 0 : left < W ? left : W;
  }
  const auto load = [&](const float* p, int v) {
    return Full ? vload(p + v * W) : vload_tail(p + v * W, columns[v]);
  };
#define FC_TILE FC_UNROLL for (int m = 0; m < MR; ++m) FC_UNROLL for (int v = 0; v < NRV; ++v)

  const Epilogue& e = t.epilogue;
  if (t.alpha != 1.0f) {
    const vf alpha = vset(t.alpha);
    FC_TILE acc[m][v] = vmul(alpha, acc[m][v]);
  }
  if constexpr (sizeof(C) == sizeof(float))  // a C of bf16 holds no sums
    if (t.accumulate) FC_TILE acc[m][v] = vadd(acc[m][v], load(c[m], v));
#undef FC_TILE
  if (e.bias) add_bias(acc, [&](int v) { return load(e.bias, v); });
  if (at.row_bias) add_row_bias(acc, at.row_bias);
  if (at.residual)
    add_residual(acc, e.residual_scale,
                 [&](int m, int v) { return load(at.residual_row(t, m), v); });
  if (e.activation.act == Act::clamp) clamp(acc, vset(e.activation.alpha), vset(e.activation.beta));
  FC_UNROLL for (int v = 0; v < NRV; ++v) {
    if (Full || columns[v] == W)
      FC_UNROLL for (int m = 0; m < MR; ++m) store(c[m] + v * W, acc[m][v], W);
    else if (columns[v] > 0)
      FC_UNROLL for (int m = 0; m < MR; ++m) store(c[m] + v * W, acc[m][v], columns[v]);
  }
}

// Everything dearer than a clamp runs over stored tiles while they are in L1, which keeps exp and
// its kin out of MR x NRV instances: over 8 KiB of them at a time, because to start costs as much as
// a tile.
template <class T, int MR, int NRV>
class FinishTile {
 public:
  using Tile = T;

  explicit FinishTile(const Tile& t) : t_(t), at_(t, t.c), stored_(at_) {}
  template <class Dot>
  static dim_t row_bytes(const Tile& t) {
    return t.ldb * kWordBytes;
  }
  template <class Dot>
  typename Dot::Sum first_sum(int) const {
    return Dot::zero();
  }

  void begin() {
    FC_UNROLL for (int m = 0; m < MR; ++m) {
      c_[m] = at_.row(t_, m);
      __builtin_prefetch(c_[m], 1);
      __builtin_prefetch(c_[m] + NRV * W - 1, 1);
    }
    if (at_.residual) {
      FC_UNROLL for (int m = 0; m < MR; ++m) {
        const float* r = at_.residual_row(t_, m);
        __builtin_prefetch(r);
        __builtin_prefetch(r + NRV * W - 1);
      }
    }
  }
  void end(vf (&acc)[MR][NRV], bool last) {
    if (t_.n_cur == NRV * W)
      store_tile<true>(t_, at_, acc, c_);
    else
      store_tile<false>(t_, at_, acc, c_);
    at_.move_down(t_, MR);
    if (!afterwards_ || (++waiting_ < kTogether && !last)) return;
    apply_activation(stored_.c, waiting_ * MR, stored_.c_row, t_.ldc, t_.n_cur,
                     t_.epilogue.activation);
    stored_.move_down(t_, waiting_ * MR);
    waiting_ = 0;
  }

 protected:
  const Tile& t_;

 private:
  static constexpr dim_t kTogether = 2048 / (MR * NRV * W) > 1 ? 2048 / (MR * NRV * W) : 1;
  ResultRows<float> at_, stored_;
  float* c_[MR];
  const bool afterwards_ = t_.epilogue.activation.afterwards();
  dim_t waiting_ = 0;
};
template <int MR, int NRV>
using FinishFloats = FinishTile<GemmTile, MR, NRV>;

// The same, and where C is to be bf16, rounded and stored.
template <int MR, int NRV>
class FinishBf16 : public FinishTile<Bf16Tile, MR, NRV> {
  using Floats = FinishTile<Bf16Tile, MR, NRV>;
  using Floats::t_;

 public:
  explicit FinishBf16(const Bf16Tile& t) : Floats(t), at_(t, t.rounded) {}

  void begin() {
    if (!t_.rounded) return Floats::begin();
    FC_UNROLL for (int m = 0; m < MR; ++m) {
      rounded_[m] = at_.row(t_, m);
      __builtin_prefetch(rounded_[m], 1);
      __builtin_prefetch(rounded_[m] + NRV * W - 1, 1);
    }
  }
  void end(vf (&acc)[MR][NRV], bool last) {
    if (!t_.rounded) return Floats::end(acc, last);
    if (t_.n_cur == NRV * W)
      store_tile<true>(t_, at_, acc, rounded_);
    else
      store_tile<false>(t_, at_, acc, rounded_);
    at_.move_down(t_, MR);
  }

 private:
  ResultRows<uint16_t> at_;
  uint16_t* rounded_[MR];
};

// MR1 x W, MR2 x 2 W and MR3 x 3 W are the register tiles.
template <int MR1, int MR2, int MR3>
void fill_gemm(GemmKernels& g) {
  g.mr = MR2;
  g.nr = 2 * W;
  fill_panels<DotF32, FinishFloats, MR1, MR2, MR3>(g.panels);
}
template <class Dot, int MR1, int MR2, int MR3>
void fill_bf16(Bf16Kernels& k) {
  k.mr = MR2;
  k.nr = 2 * W;
  fill_panels<Dot, FinishBf16, MR1, MR2, MR3>(k.panels);
}

}  // namespace
}  // namespace fastconv
