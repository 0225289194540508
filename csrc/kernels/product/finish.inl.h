// L2 kernels: what becomes of a product's sums, between the last multiply-add and memory: a Finish
// of product/tile.inl.h. The contract is IntegerFinish in kernel_table.h.
//
// The sums come through memory, so that there is one instance for every width of a panel and not
// one for every height: 12 stores and loads of an AVX2 tile, which other tiles' sums hide.
#pragma once
#include "kernels/kernel_table.h"
#include "kernels/unroll.h"

namespace fastconv {
namespace {

struct FinishIntegers {
  static constexpr bool kKeepsSums = false;
  template <int NRV>
  using Sums = int32_t (*)[NRV * W];

  // The first row of a tile in C and in the terms.
  struct Rows {
    char* c;
    const dim_t* c_row;
    dim_t first;
  };

  // Sums as the bytes of W results, the low ones of the lanes.
  static vi as_bytes(vi s, const IntegerFinish& f, vf scale) {
    const vf y = vmin(vset(f.high), vmax(vset(f.low), vmul(vtofloat(s), scale)));
    return viadd(vtoint(y), viset(f.zero));
  }
  template <StoreAs type>
  static void store(char* c, vi s, const IntegerFinish& f, vf scale, vf shift) {
    if constexpr (type == StoreAs::s32) {
      vistore(reinterpret_cast<int32_t*>(c), s);
    } else if constexpr (type == StoreAs::f32) {
      const vf y = vadd(vmul(vtofloat(s), scale), shift);
      vstore(reinterpret_cast<float*>(c), vmin(vset(f.high), vmax(vset(f.low), y)));
    } else {
      vistore_bytes(reinterpret_cast<uint8_t*>(c), as_bytes(s, f, scale));
    }
  }

  template <int NRV>
  static void add_terms(const IntegerTile& t, const Rows& at, int rows, Sums<NRV> sums) {
    for (int i = 0; i < t.finish.terms; ++i)
      for (int v = 0; v < NRV && v * W < t.n_cur; ++v) {
        const vi column = viload(t.finish.term[i].column + v * W);
        for (int m = 0; m < rows; ++m) {
          const vi product = vimul(viset(t.finish.term[i].row[at.first + m]), column);
          vistore(sums[m] + v * W, viadd(viload(sums[m] + v * W), product));
        }
      }
  }

  template <StoreAs type, int NRV>
  static void store_rows(const IntegerTile& t, const Rows& at, int rows, Sums<NRV> sums) {
    constexpr dim_t kBytes = kStoreBytes[static_cast<int>(type)];
    const IntegerFinish f = t.finish;  // a store of bytes may be to anything: not to the copy
    const dim_t step = at.c_row ? 0 : t.ldc * kBytes;
    int v = 0;
    if constexpr (kBytes == 1 && NRV > 1) {
      // Two vectors of bytes take less to put together than each alone.
      if (t.n_cur >= 2 * W && !at.c_row) {
        const vi bias0 = f.bias ? viload(f.bias) : vizero();
        const vi bias1 = f.bias ? viload(f.bias + W) : vizero();
        const vf scale0 = vload(f.scale), scale1 = vload(f.scale + W);
        char* c = at.c;
        for (int m = 0; m < rows; ++m, c += step) {
          const vi y0 = as_bytes(viadd(viload(sums[m]), bias0), f, scale0);
          const vi y1 = as_bytes(viadd(viload(sums[m] + W), bias1), f, scale1);
          vistore_bytes(reinterpret_cast<uint8_t*>(c), y0, y1);
        }
        v = 2;
      }
    }
    for (; v < NRV; ++v) {
      const int left = t.n_cur - v * W;
      if (left <= 0) break;
      const vi bias = f.bias ? viload(f.bias + v * W) : vizero();
      const vf scale = type == StoreAs::s32 ? vzero() : vload(f.scale + v * W);
      const vf shift = type == StoreAs::f32 && f.shift ? vload(f.shift + v * W) : vzero();
      char* c = at.c + v * W * kBytes;
      if (left >= W && !at.c_row) {
        for (int m = 0; m < rows; ++m, c += step)
          store<type>(c, viadd(viload(sums[m] + v * W), bias), f, scale, shift);
      } else {
        for (int m = 0; m < rows; ++m) {
          char partial[W * kBytes];
          store<type>(partial, viadd(viload(sums[m] + v * W), bias), f, scale, shift);
          memcpy(c + (at.c_row ? at.c_row[m] * kBytes : m * step), partial,
                 static_cast<size_t>(left < W ? left : W) * kBytes);
        }
      }
    }
  }

  template <int NRV>
  __attribute__((noinline)) static void run(const IntegerTile& t, const Rows& at, int rows,
                                            Sums<NRV> sums) {
    if (t.finish.terms) add_terms<NRV>(t, at, rows, sums);
    switch (t.finish.type) {
      case StoreAs::s32:
        return store_rows<StoreAs::s32, NRV>(t, at, rows, sums);
      case StoreAs::u8:
      case StoreAs::s8:  // their bytes differ by what low, high and zero are
        return store_rows<StoreAs::u8, NRV>(t, at, rows, sums);
      case StoreAs::f32:
        return store_rows<StoreAs::f32, NRV>(t, at, rows, sums);
    }
  }
};

// Of the pairs: nothing, the sums go from the registers to C, which has room for whole panels.
struct StoreSums {
  static constexpr bool kKeepsSums = true;
  using Rows = FinishIntegers::Rows;

  template <int MR, int NRV>
  static void store(const IntegerTile& t, const Rows& at, const vi (&sums)[MR][NRV]) {
    FC_UNROLL for (int m = 0; m < MR; ++m) {
      char* const c = at.c + (at.c_row ? at.c_row[m] : m * t.ldc) * dim_t{sizeof(int32_t)};
      FC_UNROLL for (int v = 0; v < NRV; ++v)
          vistore(reinterpret_cast<int32_t*>(c) + v * W, sums[m][v]);
    }
  }
};

}  // namespace
}  // namespace fastconv
