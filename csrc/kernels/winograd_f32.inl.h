// L2 kernels: the two transforms of Winograd convolution, f32, channels-last, vectors over
// channels. The contracts are WinogradInput and WinogradOutput in kernel_table.h; the products
// between them run on the tile of product/tile.inl.h. Called by conv/algo_winograd.cpp. Start at
// winograd_input.
//
// F(m, r) computes m outputs of a correlation with r taps from n = m + r - 1 inputs with n
// products:
//   y = A^T [(G g) . (B^T d)]
// and F(m x m, r x r) is that along both axes (Lavin and Gray, "Fast algorithms for convolutional
// neural networks", CVPR 2016). A form below is B^T and A^T as straight-line code and G as a
// table.
//
// Cost of F(4x4, 3x3) per vector of channels: 12 input transforms of 12 operations and 10 output
// transforms of 10, where the direct convolution spends 144 FMAs a vector of input channels.
//
// 36 vectors do not fit 32 registers. The input transform makes its outputs in parts of two
// columns, each from a new reading of the window, which is faster than a tile that is kept on the
// stack between the two axes. The output transform is done in registers for the same reason.
#pragma once
#include "kernels/eltwise.inl.h"
#include "kernels/epilogue.inl.h"
#include "kernels/kernel_table.h"
#include "kernels/unroll.h"

namespace fastconv {
namespace {

// One axis of an input transform, in parts that need few registers: part P turns the n inputs
// load(0) to load(n - 1) into the `width` outputs column(P, 0), column(P, 1), ...
//
// Six inputs at points 0, 1, -1, 2, -2 and infinity: serves every m + r = 7.
struct SixInputs {
  static constexpr int n = 6, parts = 3, width = 2;
  static constexpr int column(int part, int i) {
    return part == 0 ? 5 * i : 2 * part - 1 + i;  // 0 and 5; 1 and 2; 3 and 4
  }
  template <int P, class Load>
  static void input(Load load, vf* t) {
    if constexpr (P == 0) {
      t[0] = vfma(vset(4.0f), load(0), vfma(vset(-5.0f), load(2), load(4)));
      t[1] = vfma(vset(4.0f), load(1), vfma(vset(-5.0f), load(3), load(5)));
    } else if constexpr (P == 1) {
      const vf even = vfma(vset(-4.0f), load(2), load(4)),
               odd = vfma(vset(-4.0f), load(1), load(3));
      t[0] = vadd(even, odd);
      t[1] = vsub(even, odd);
    } else {
      const vf even = vsub(load(4), load(2)), odd = vsub(load(3), load(1));
      t[0] = vfma(vset(2.0f), odd, even);
      t[1] = vfma(vset(-2.0f), odd, even);
    }
  }
};

struct F4x3 : SixInputs {  // F(4, 3)
  static constexpr int m = 4, r = 3;
  static constexpr double weights[6][3] = {
      {1. / 4, 0, 0},
      {-1. / 6, -1. / 6, -1. / 6},
      {-1. / 6, 1. / 6, -1. / 6},
      {1. / 24, 1. / 12, 1. / 6},
      {1. / 24, -1. / 12, 1. / 6},
      {0, 0, 1},
  };
  static void output(const vf* t, vf* y) {
    const vf p = vadd(t[1], t[2]), q = vsub(t[1], t[2]), r = vadd(t[3], t[4]), s = vsub(t[3], t[4]);
    y[0] = vadd(vadd(t[0], p), r);
    y[1] = vfma(vset(2.0f), s, q);
    y[2] = vfma(vset(4.0f), r, p);
    y[3] = vadd(vfma(vset(8.0f), s, q), t[5]);
  }
};

struct F2x5 : SixInputs {  // F(2, 5)
  static constexpr int m = 2, r = 5;
  static constexpr double weights[6][5] = {
      {1. / 4, 0, 0, 0, 0},
      {-1. / 6, -1. / 6, -1. / 6, -1. / 6, -1. / 6},
      {-1. / 6, 1. / 6, -1. / 6, 1. / 6, -1. / 6},
      {1. / 24, 1. / 12, 1. / 6, 1. / 3, 2. / 3},
      {1. / 24, -1. / 12, 1. / 6, -1. / 3, 2. / 3},
      {0, 0, 0, 0, 1},
  };
  static void output(const vf* t, vf* y) {
    const vf p = vadd(t[1], t[2]), q = vsub(t[1], t[2]), r = vadd(t[3], t[4]), s = vsub(t[3], t[4]);
    y[0] = vadd(vadd(t[0], p), r);
    y[1] = vadd(vfma(vset(2.0f), s, q), t[5]);
  }
};

struct F2x3 {  // F(2, 3) at points 0, 1, -1, infinity
  static constexpr int m = 2, n = 4, r = 3, parts = 1, width = 4;
  static constexpr double weights[4][3] = {
      {1, 0, 0}, {1. / 2, 1. / 2, 1. / 2}, {1. / 2, -1. / 2, 1. / 2}, {0, 0, 1}};
  static constexpr int column(int, int i) { return i; }
  template <int P, class Load>
  static void input(Load load, vf* t) {
    const vf d1 = load(1), d2 = load(2);
    t[0] = vsub(load(0), d2);
    t[1] = vadd(d1, d2);
    t[2] = vsub(d2, d1);
    t[3] = vsub(load(3), d1);
  }
  static void output(const vf* t, vf* y) {
    y[0] = vadd(vadd(t[0], t[1]), t[2]);
    y[1] = vadd(vsub(t[1], t[2]), t[3]);
  }
};

// One tile, one vector of channels, of which `lanes` exist; pixel(i, j) is its n x n window. The
// window is read anew for each part: for six inputs 84 loads in all, in place of the 36 loads, 36
// stores and 36 loads of a tile kept on the stack.
template <class F, class Pixel>
inline void winograd_input_lanes(Pixel pixel, float* v, dim_t v_step, int lanes) {
  constexpr int n = F::n;
  for_each_constant<F::parts>([&](auto part) {
    vf columns[F::width][n];
    FC_UNROLL for (int i = 0; i < n; ++i) {
      vf t[F::width];
      F::template input<part>([&](int j) { return pixel(i, j); }, t);
      FC_UNROLL for (int k = 0; k < F::width; ++k) columns[k][i] = t[k];
    }
    for_each_constant<F::width>([&](auto k) {
      float* const column = v + F::column(part, k) * v_step;
      for_each_constant<F::parts>([&](auto rows) {
        vf t[F::width];
        F::template input<rows>([&](int i) { return columns[k][i]; }, t);
        FC_UNROLL for (int l = 0; l < F::width; ++l) {
          float* const out = column + F::column(rows, l) * n * v_step;
          if (lanes == W)
            vstore(out, t[l]);
          else
            vstore_tail(out, t[l], lanes);
        }
      });
    });
  });
}

template <class F>
void winograd_input(const WinogradInput& w) {
  const bool whole = w.row_begin <= 0 && w.row_end >= F::n && w.col_begin <= 0 && w.col_end >= F::n;
  for (dim_t c = 0; c < w.channels; c += W) {
    const int lanes = static_cast<int>(w.channels - c < W ? w.channels - c : W);
    const float* x = w.x + c;
    if (whole && lanes == W) {
      winograd_input_lanes<F>(
          [&](int i, int j) { return vload(x + i * w.row_step + j * w.col_step); }, w.v + c,
          w.v_step, W);
      continue;
    }
    vf window[F::n][F::n];
    for (int i = 0; i < F::n; ++i)
      for (int j = 0; j < F::n; ++j) {
        const bool inside = i >= w.row_begin && i < w.row_end && j >= w.col_begin && j < w.col_end;
        window[i][j] = inside ? load_lanes(x + i * w.row_step + j * w.col_step, lanes) : vzero();
      }
    winograd_input_lanes<F>([&](int i, int j) { return window[i][j]; }, w.v + c, w.v_step, lanes);
  }
}

template <class F>
void winograd_output(const WinogradOutput& w) {
  constexpr int n = F::n, m = F::m;
  const Epilogue& e = w.epilogue;
  const bool clamped = e.activation.act == Act::clamp;
  const vf low = vset(e.activation.alpha), high = vset(e.activation.beta);
  const float residual_scale = e.residual_scale;
  for (dim_t c = 0; c < w.channels; c += W) {
    const int lanes = static_cast<int>(w.channels - c < W ? w.channels - c : W);
    vf rows[m][n], column[n];
    FC_UNROLL for (int j = 0; j < n; ++j) {
      vf t[m];
      FC_UNROLL for (int i = 0; i < n; ++i) column[i] = vload(w.m + (i * n + j) * w.m_step + c);
      F::output(column, t);
      FC_UNROLL for (int i = 0; i < m; ++i) rows[i][j] = t[i];
    }
    const vf bias = e.bias ? load_lanes(e.bias + c, lanes) : vzero();
    FC_UNROLL for (int i = 0; i < m; ++i) {
      if (i >= w.rows) break;
      vf y[m];
      F::output(rows[i], y);
      FC_UNROLL for (int j = 0; j < m; ++j) {
        if (j >= w.cols) break;
        const dim_t offset = i * w.row_step + j * w.col_step + c;
        vf out[1][1] = {{y[j]}};
        add_bias(out, [&](int) { return bias; });
        if (e.residual)
          add_residual(out, residual_scale,
                       [&](int, int) { return load_lanes(e.residual + offset, lanes); });
        if (clamped) clamp(out, low, high);
        if (lanes == W)
          vstore(w.y + offset, out[0][0]);
        else
          vstore_tail(w.y + offset, out[0][0], lanes);
      }
    }
  }
  if (e.activation.afterwards())
    for (int i = 0; i < w.rows; ++i)
      apply_activation(w.y + i * w.row_step, w.cols, nullptr, w.col_step, w.channels, e.activation);
}

// Eight filters side by side, in GCC's vectors: once per filter, when a plan is made.
template <class F>
void winograd_weights(const float* w, dim_t stride, int count, float* u, dim_t u_step,
                      int columns) {
  typedef double Lanes __attribute__((vector_size(kWinogradFilters * sizeof(double))));
  constexpr int n = F::n, r = F::r;
  Lanes taps[r][r] = {}, half[n][r];
  for (int l = 0; l < count; ++l)
    FC_UNROLL for (int k = 0; k < r * r; ++k) taps[k / r][k % r][l] =
        static_cast<double>(w[l * stride + k]);
  for (int b = 0; b < r; ++b) FC_UNROLL for (int i = 0; i < n; ++i) {
      Lanes sum = {};
      FC_UNROLL for (int k = 0; k < r; ++k) sum += F::weights[i][k] * taps[k][b];
      half[i][b] = sum;
    }
  for (int i = 0; i < n; ++i) FC_UNROLL for (int j = 0; j < n; ++j) {
      Lanes sum = {};
      FC_UNROLL for (int k = 0; k < r; ++k) sum += F::weights[j][k] * half[i][k];
      float* out = u + (i * n + j) * u_step;
      if (columns == kWinogradFilters) {
        FC_UNROLL for (int l = 0; l < kWinogradFilters; ++l) out[l] = static_cast<float>(sum[l]);
      } else {
        for (int l = 0; l < columns; ++l) out[l] = static_cast<float>(sum[l]);
      }
    }
}

template <class F>
void fill_winograd_form(WinogradForm& f) {
  f.m = F::m;
  f.n = F::n;
  f.input = winograd_input<F>;
  f.output = winograd_output<F>;
  f.weights = winograd_weights<F>;
}

void fill_winograd(WinogradKernels& k) {
  fill_winograd_form<F2x3>(k.f2x3);
  fill_winograd_form<F4x3>(k.f4x3);
  fill_winograd_form<F2x5>(k.f2x5);
}

}  // namespace
}  // namespace fastconv
