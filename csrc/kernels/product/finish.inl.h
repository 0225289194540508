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

  // What W columns are given, from column n on.
  struct Columns {
    vi bias;
    vf scale, shift;
  };
  static Columns columns(const IntegerFinish& f, dim_t n) {
    return {f.bias ? viload(f.bias + n) : vizero(), f.scale ? vload(f.scale + n) : vzero(),
            f.shift ? vload(f.shift + n) : vzero()};
  }
  static vf as_floats(vi s, const IntegerFinish& f, const Columns& n) {
    const vf y = vadd(vmul(vtofloat(viadd(s, n.bias)), n.scale), n.shift);
    return vmin(vset(f.high), vmax(vset(f.low), y));
  }
  // Sums as the bytes of W results, the low ones of the lanes.
  static vi as_bytes(vi s, const IntegerFinish& f, const Columns& n) {
    return viadd(vtoint(as_floats(s, f, n)), viset(f.zero));
  }
  template <StoreAs type>
  static void store(char* c, vi s, const IntegerFinish& f, const Columns& n) {
    if constexpr (type == StoreAs::s32)
      vistore(reinterpret_cast<int32_t*>(c), viadd(s, n.bias));
    else if constexpr (type == StoreAs::f32)
      vstore(reinterpret_cast<float*>(c), as_floats(s, f, n));
    else
      vistore_bytes(reinterpret_cast<uint8_t*>(c), as_bytes(s, f, n));
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
    const auto row = [&](int m) { return at.c + (at.c_row ? at.c_row[m] : m * t.ldc) * kBytes; };
    int v = 0;
    if constexpr (kBytes == 1 && NRV > 1) {
      // Two vectors of bytes take less to put together than each alone.
      if (t.n_cur >= 2 * W) {
        const Columns first = columns(f, 0), second = columns(f, W);
        for (int m = 0; m < rows; ++m) {
          const vi y0 = as_bytes(viload(sums[m]), f, first);
          const vi y1 = as_bytes(viload(sums[m] + W), f, second);
          vistore_bytes(reinterpret_cast<uint8_t*>(row(m)), y0, y1);
        }
        v = 2;
      }
    }
    for (; v < NRV; ++v) {
      const int left = t.n_cur - v * W;
      if (left <= 0) break;
      const Columns given = columns(f, v * W);
      if (left >= W) {
        for (int m = 0; m < rows; ++m)
          store<type>(row(m) + v * W * kBytes, viload(sums[m] + v * W), f, given);
      } else {
        for (int m = 0; m < rows; ++m) {
          char partial[W * kBytes];
          store<type>(partial, viload(sums[m] + v * W), f, given);
          memcpy(row(m) + v * W * kBytes, partial, static_cast<size_t>(left) * kBytes);
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
