// L2 kernels: the transforms of exact Winograd convolution of bytes, channels-last, vectors over
// channels. The contracts are IntegerWinogradInput, -Output and -Form in kernel_table.h; the
// products between them run on the tile of product/tile.inl.h. Called by conv/integer_winograd.cpp.
// Start at F4x3Integers.
//
// B^T and A^T have whole numbers; G, which has not, is multiplied by the smallest factor that makes
// it so, and the result is divided again: by an odd number, which modulo 2^32 is a product, and by a
// power of two, which is a shift. docs/kernels.md has the bounds.
#pragma once
#include "kernels/kernel_table.h"
#include "kernels/product/finish_integers.inl.h"
#include "kernels/unroll.h"

namespace fastconv {
namespace {

// Of a form: B^T as input(), A^T as output(), both along one axis, and G' as a table. B^T of equal
// inputs is 0 but for its second number, which is `equal` times as large. A result is `odd` times
// 2^shift times too large, and odd * inverse = 1 modulo 2^32.
//
// G' is 24 G, and its last row only 6 G, for U to fit 16 bits: A^T has the factor 4. |V| <= 100 * 255
// and |U| <= 144 * 128.
struct F4x3Integers {
  static constexpr int m = 4, n = 6, shift = 6, equal = -6;
  static constexpr uint32_t inverse = 954437177;  // of 9
  static constexpr int16_t weights[n][3] = {{6, 0, 0}, {-4, -4, -4}, {-4, 4, -4},
                                            {1, 2, 4}, {1, -2, 4},   {0, 0, 6}};
  static void input(const vs* d, vs* t) {
    const vs r = vssub(d[4], d[2]), s = vssub(d[3], d[1]), s2 = vsadd(s, s);
    const vs p = vssub(d[4], vsshl<2>(d[2])), q = vssub(d[3], vsshl<2>(d[1]));
    t[0] = vsadd(vsshl<2>(vssub(d[0], d[2])), r);
    t[1] = vsadd(p, q);
    t[2] = vssub(p, q);
    t[3] = vsadd(r, s2);
    t[4] = vssub(r, s2);
    t[5] = vssub(vssub(d[5], d[3]), vsadd(s2, s2));
  }
  static void output(const vi* t, vi* y) {
    const vi p = viadd(t[1], t[2]), q = visub(t[1], t[2]);
    const vi r = viadd(t[3], t[4]), s = visub(t[3], t[4]), s2 = viadd(s, s);
    y[0] = viadd(viadd(t[0], p), r);
    y[1] = viadd(q, s2);
    y[2] = viadd(p, vishl<2>(r));
    y[3] = viadd(q, vishl<2>(viadd(s2, t[5])));
  }
};

// G' is 2 G. |V| <= 4 * 255 and |U| <= 9 * 128.
struct F2x3Integers {
  static constexpr int m = 2, n = 4, shift = 2, equal = 2;
  static constexpr uint32_t inverse = 1;
  static constexpr int16_t weights[n][3] = {{2, 0, 0}, {1, 1, 1}, {1, -1, 1}, {0, 0, 2}};
  static void input(const vs* d, vs* t) {
    t[0] = vssub(d[0], d[2]);
    t[1] = vsadd(d[1], d[2]);
    t[2] = vssub(d[2], d[1]);
    t[3] = vssub(d[3], d[1]);
  }
  static void output(const vi* t, vi* y) {
    y[0] = viadd(viadd(t[0], t[1]), t[2]);
    y[1] = viadd(visub(t[1], t[2]), t[3]);
  }
};

// One tile, 2 W channels. Between the two axes it lies on the stack: 36 vectors fit no registers,
// and a pixel is dear to read again, for its bytes must be widened. The zero point is subtracted
// from all inputs alike, and so from the one number of V that equal inputs do not cancel in.
template <class F, class Pixel>
inline void integer_winograd_lanes(Pixel pixel, vs zero, int16_t* v, dim_t v_step) {
  constexpr int n = F::n;
  vs half[n][n];
  FC_UNROLL for (int i = 0; i < n; ++i) {
    vs row[n];
    FC_UNROLL for (int j = 0; j < n; ++j) row[j] = pixel(i, j);
    F::input(row, half[i]);
  }
  FC_UNROLL for (int j = 0; j < n; ++j) {
    vs column[n], t[n];
    FC_UNROLL for (int i = 0; i < n; ++i) column[i] = half[i][j];
    F::input(column, t);
    if (j == 1) t[1] = vssub(t[1], zero);
    FC_UNROLL for (int i = 0; i < n; ++i) vsstore(v + (i * n + j) * v_step, t[i]);
  }
}

template <class F>
void integer_winograd_input(const IntegerWinogradInput& w) {
  constexpr int kLanes = 2 * W;
  const bool whole = w.row_begin <= 0 && w.row_end >= F::n && w.col_begin <= 0 && w.col_end >= F::n;
  const vs zero = vsset(F::equal * F::equal * w.zero), outside = vsset(w.zero);
  for (dim_t c = 0; c < w.channels; c += kLanes) {
    const int lanes = static_cast<int>(w.channels - c < kLanes ? w.channels - c : kLanes);
    const uint8_t* const x = w.x + c;
    if (whole && lanes == kLanes) {
      integer_winograd_lanes<F>(
          [&](int i, int j) { return vswiden(x + i * w.row_step + j * w.col_step); }, zero, w.v + c,
          w.v_step);
      continue;
    }
    const auto inside = [&](int i, int j) {
      return i >= w.row_begin && i < w.row_end && j >= w.col_begin && j < w.col_end;
    };
    if (lanes == kLanes) {
      integer_winograd_lanes<F>(
          [&](int i, int j) {
            return inside(i, j) ? vswiden(x + i * w.row_step + j * w.col_step) : outside;
          },
          zero, w.v + c, w.v_step);
      continue;
    }
    vs window[F::n][F::n];
    for (int i = 0; i < F::n; ++i)
      for (int j = 0; j < F::n; ++j)
        window[i][j] =
            inside(i, j) ? vswiden_tail(x + i * w.row_step + j * w.col_step, lanes) : outside;
    integer_winograd_lanes<F>([&](int i, int j) { return window[i][j]; }, zero, w.v + c, w.v_step);
  }
}

template <class F, StoreAs type, FinishIntegers::Scaling scaling>
void integer_winograd_store(const IntegerWinogradOutput& w) {
  constexpr int n = F::n, m = F::m;
  constexpr dim_t kBytes = kStoreBytes[static_cast<int>(type)];
  const IntegerFinish f = w.finish;  // a store of bytes may be to anything: not to the copy
  const SaturatedBytes bytes = FinishIntegers::saturated(f);
  const dim_t col_step = w.col_step * kBytes;
  const int rows = w.rows, cols = w.cols;
  for (dim_t c = 0; c < w.channels; c += W) {
    const int lanes = static_cast<int>(w.channels - c < W ? w.channels - c : W);
    vi half[m][n];
    FC_UNROLL for (int j = 0; j < n; ++j) {
      vi column[n], t[m];
      FC_UNROLL for (int i = 0; i < n; ++i) column[i] = viload(w.m + (i * n + j) * w.m_step + c);
      F::output(column, t);
      FC_UNROLL for (int i = 0; i < m; ++i) half[i][j] = t[i];
    }
    const FinishIntegers::Columns given = FinishIntegers::columns(f, c);
    for (int i = 0; i < rows; ++i) {
      char* const y = static_cast<char*>(w.y) + (i * w.row_step + c) * kBytes;
      vi sums[m];
      F::output(half[i], sums);
      FC_UNROLL for (int j = 0; j < m; ++j) {
        if constexpr (F::inverse != 1)
          sums[j] = vimul(sums[j], viset(static_cast<int32_t>(F::inverse)));
        sums[j] = viadd(vishr<F::shift>(sums[j]), given.bias);
      }
      if constexpr (kBytes == 1 && m == 4)
        if (lanes == W && cols == m) {
          // Four vectors of bytes take less to put together than each alone.
          FC_UNROLL for (int j = 0; j < m; ++j) sums[j] =
              FinishIntegers::as_whole<scaling>(sums[j], f, given);
          bytes.store(reinterpret_cast<uint8_t*>(y), col_step, sums);
          continue;
        }
      FC_UNROLL for (int j = 0; j < m; ++j) {
        if (j >= cols) break;
        if (lanes == W) {
          FinishIntegers::store<type, scaling>(y + j * col_step, sums[j], f, given, bytes);
        } else {
          char partial[W * kBytes];
          FinishIntegers::store<type, scaling>(partial, sums[j], f, given, bytes);
          memcpy(y + j * col_step, partial, static_cast<size_t>(lanes * kBytes));
        }
      }
    }
  }
}

template <class F>
void integer_winograd_output(const IntegerWinogradOutput& w) {
  FinishIntegers::with_form(w.finish, [&](auto form) {
    integer_winograd_store<F, decltype(form)::type, decltype(form)::scaling>(w);
  });
}

// Eight filters side by side, in GCC's vectors: once per filter, when a plan is made.
template <class F>
void integer_winograd_weights(const int8_t* w, dim_t stride, int count, int16_t* u, dim_t u_step,
                              int columns) {
  typedef int16_t Lanes __attribute__((vector_size(kWinogradFilters * sizeof(int16_t))));
  constexpr int n = F::n, r = 3;
  Lanes taps[r][r] = {}, half[n][r];
  for (int l = 0; l < count; ++l)
    FC_UNROLL for (int k = 0; k < r * r; ++k) taps[k / r][k % r][l] = w[l * stride + k];
  for (int b = 0; b < r; ++b) FC_UNROLL for (int i = 0; i < n; ++i) {
      half[i][b] = F::weights[i][0] * taps[0][b] + F::weights[i][1] * taps[1][b] +
                   F::weights[i][2] * taps[2][b];
    }
  for (int i = 0; i < n; ++i) FC_UNROLL for (int j = 0; j < n; ++j) {
      const Lanes sum = F::weights[j][0] * half[i][0] + F::weights[j][1] * half[i][1] +
                        F::weights[j][2] * half[i][2];
      int16_t* const out = u + (i * n + j) * u_step;
      for (int l = 0; l < columns; ++l) out[2 * l] = sum[l];
    }
}

template <class F>
void fill_integer_winograd_form(IntegerWinogradForm& f) {
  f.m = F::m;
  f.n = F::n;
  f.shift = F::shift;
  f.input = integer_winograd_input<F>;
  f.output = integer_winograd_output<F>;
  f.weights = integer_winograd_weights<F>;
}

void fill_integer_winograd(IntegerWinogradKernels& k) {
  fill_integer_winograd_form<F2x3Integers>(k.f2x3);
  fill_integer_winograd_form<F4x3Integers>(k.f4x3);
}

}  // namespace
}  // namespace fastconv
