// L2 kernels: what becomes of a product's sums of integers, between the last multiply-add and memory:
// the Finishes of narrow numbers for product/tile.inl.h. The contract is IntegerFinish in
// kernel_table.h.
//
// The sums come through memory, so that most of it has one instance for every width of a panel and
// not one for every height. What most tiles want, whole panels of bytes or of sums, is stored from
// the registers, whose sums have begun with the bias (Prepared).
#pragma once
#include "kernels/kernel_table.h"
#include "kernels/product/tile.inl.h"
#include "kernels/unroll.h"

namespace fastconv {
namespace {

struct FinishIntegers {
  template <int NRV>
  using Sums = int32_t (*)[NRV * W];

  // The first row of a tile in C and in the terms.
  struct Rows {
    char* c;
    const dim_t* c_row;
    dim_t first;

    explicit Rows(const IntegerTile& t) : Rows(t, static_cast<char*>(t.c)) {}
    Rows(const IntegerTile& t, char* at) : c(at), c_row(t.c_row), first(0) {}
    char* row(const IntegerTile& t, dim_t m, dim_t bytes) const {
      return c + (c_row ? c_row[m] : m * t.ldc) * bytes;
    }
    void move_down(const IntegerTile& t, dim_t rows) {
      if (c_row)
        c_row += rows;
      else
        c += rows * t.ldc * kStoreBytes[static_cast<int>(t.finish.type)];
      first += rows;
    }
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
  // Below, s is a sum and its bias.
  static vf as_floats(vi s, const IntegerFinish& f, const Columns& n) {
    const vf y = vadd(vmul(vtofloat(s), n.scale), n.shift);
    return vmin(vset(f.high), vmax(vset(f.low), y));
  }
  // How sums become whole numbers, to which zero is to be added and which are to be saturated: those
  // that fit need no limits, and most have no shift either.
  enum class Scaling { limited, shifted, plain };
  static Scaling scaling_of(const IntegerFinish& f) {
    return !f.fits ? Scaling::limited : f.shift ? Scaling::shifted : Scaling::plain;
  }
  template <Scaling scaling>
  static vi as_whole(vi s, const IntegerFinish& f, const Columns& n) {
    if constexpr (scaling == Scaling::limited) return vtoint(as_floats(s, f, n));
    const vf y = vmul(vtofloat(s), n.scale);
    return vtoint(scaling == Scaling::shifted ? vadd(y, n.shift) : y);
  }
  // Of a type that is no byte the limits may be no whole numbers.
  static SaturatedBytes saturated(const IntegerFinish& f) {
    if (kStoreBytes[static_cast<int>(f.type)] != 1) return {0, 0, 0};
    return {f.zero, static_cast<int32_t>(f.low) + f.zero, static_cast<int32_t>(f.high) + f.zero};
  }

  // How W results are stored. Of `bytes` only those of u8 and s8 make use.
  template <StoreAs type, Scaling scaling>
  static void store(char* c, vi s, const IntegerFinish& f, const Columns& n,
                    const SaturatedBytes& bytes) {
    if constexpr (type == StoreAs::s32)
      vistore(reinterpret_cast<int32_t*>(c), s);
    else if constexpr (type == StoreAs::f32)
      vstore(reinterpret_cast<float*>(c), as_floats(s, f, n));
    else
      bytes.store(reinterpret_cast<uint8_t*>(c), as_whole<scaling>(s, f, n));
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

  // Two vectors of rows m and m + 1, or of the last row: four of bytes take less to put together
  // than each alone. s(m, v) is vector v of row m.
  template <Scaling scaling, class Row, class Sum>
  static void store_two_rows(const IntegerFinish& f, const SaturatedBytes& bytes,
                             const Columns& first, const Columns& second, int m, int rows, Row row,
                             Sum s) {
    const auto whole = [&](int i, int v) {
      return as_whole<scaling>(s(i, v), f, v ? second : first);
    };
    const auto place = [&](int i) { return reinterpret_cast<uint8_t*>(row(i)); };
    if (m + 1 == rows) return bytes.store(place(m), whole(m, 0), whole(m, 1));
    const vi four[4] = {whole(m, 0), whole(m, 1), whole(m + 1, 0), whole(m + 1, 1)};
    bytes.store(place(m), place(m + 1), four);
  }

  template <StoreAs type, Scaling scaling, int NRV>
  static void store_rows(const IntegerTile& t, const Rows& at, int rows, Sums<NRV> sums) {
    constexpr dim_t kBytes = kStoreBytes[static_cast<int>(type)];
    const IntegerFinish f = t.finish;  // a store of bytes may be to anything: not to the copy
    const SaturatedBytes bytes = saturated(f);
    const auto row = [&](int m) { return at.row(t, m, kBytes); };
    int v = 0;
    if constexpr (kBytes == 1 && NRV > 1)
      if (t.n_cur >= 2 * W) {
        const Columns given[2] = {columns(f, 0), columns(f, W)};
        const auto sum = [&](int m, int i) {
          return viadd(viload(sums[m] + i * W), given[i].bias);
        };
        for (int m = 0; m < rows; m += 2)
          store_two_rows<scaling>(f, bytes, given[0], given[1], m, rows, row, sum);
        v = 2;
      }
    for (; v < NRV; ++v) {
      const int left = t.n_cur - v * W;
      if (left <= 0) break;
      const Columns given = columns(f, v * W);
      const auto sum = [&](int m) { return viadd(viload(sums[m] + v * W), given.bias); };
      if (left >= W) {
        for (int m = 0; m < rows; ++m)
          store<type, scaling>(row(m) + v * W * kBytes, sum(m), f, given, bytes);
      } else {
        for (int m = 0; m < rows; ++m) {
          char partial[W * kBytes];
          store<type, scaling>(partial, sum(m), f, given, bytes);
          memcpy(row(m) + v * W * kBytes, partial, static_cast<size_t>(left) * kBytes);
        }
      }
    }
  }

  // What is put together once for all tiles one below the other, and how these store their sums.
  enum class Stored { from_memory, sums, bytes, shifted_bytes };
  template <int NRV>
  struct Prepared {
    explicit Prepared(const IntegerTile& t)
        : stored(stored_of(t, NRV * W)), bytes(saturated(t.finish)) {
      for (int v = 0; v < NRV; ++v) column[v] = columns(t.finish, v * W);
    }
    Stored stored;
    SaturatedBytes bytes;
    Columns column[NRV];
  };
  // From the registers where all columns are there, and nothing but the bias is added.
  static Stored stored_of(const IntegerTile& t, int width) {
    if (t.n_cur != width || t.finish.terms) return Stored::from_memory;
    if (t.finish.type == StoreAs::s32) return Stored::sums;
    const Scaling scaling = scaling_of(t.finish);
    if (t.finish.type == StoreAs::f32 || scaling == Scaling::limited) return Stored::from_memory;
    return scaling == Scaling::plain ? Stored::bytes : Stored::shifted_bytes;
  }

  template <int NRV>
  __attribute__((noinline)) static void run(const IntegerTile& t, const Rows& at, int rows,
                                            Sums<NRV> sums) {
    if (t.finish.terms) add_terms<NRV>(t, at, rows, sums);
    with_form(t.finish, [&](auto form) {
      store_rows<decltype(form)::type, decltype(form)::scaling, NRV>(t, at, rows, sums);
    });
  }

  template <StoreAs as, Scaling with>
  struct Form {
    static constexpr StoreAs type = as;
    static constexpr Scaling scaling = with;
  };
  // f(Form) for what a finish asks for. u8 and s8 differ by what low, high and zero are.
  template <class F>
  static void with_form(const IntegerFinish& finish, F f) {
    switch (finish.type) {
      case StoreAs::s32:
        return f(Form<StoreAs::s32, Scaling::limited>());
      case StoreAs::f32:
        return f(Form<StoreAs::f32, Scaling::limited>());
      case StoreAs::u8:
      case StoreAs::s8:
        break;
    }
    switch (scaling_of(finish)) {
      case Scaling::limited:
        return f(Form<StoreAs::u8, Scaling::limited>());
      case Scaling::shifted:
        return f(Form<StoreAs::u8, Scaling::shifted>());
      case Scaling::plain:
        return f(Form<StoreAs::u8, Scaling::plain>());
    }
  }
};

// The Finish of product/tile.inl.h.
template <int MR, int NRV>
class StoreIntegers {
 public:
  using Tile = IntegerTile;

  explicit StoreIntegers(const IntegerTile& t) : t_(t), at_(t), prepared_(t) {}
  template <class Dot>
  static constexpr dim_t row_bytes(const IntegerTile&) {
    return NRV * Dot::kRowBytes;
  }
  // What the sums of a vector begin with.
  template <class Dot>
  vi first_sum(int v) const {
    return prepared_.stored == Stored::from_memory ? Dot::zero() : prepared_.column[v].bias;
  }
  void begin() {
    const dim_t size = kStoreBytes[static_cast<int>(t_.finish.type)];
    FC_UNROLL for (int m = 0; m < MR; ++m) {
      const char* const c = at_.row(t_, m, size);
      __builtin_prefetch(c, 1);
      __builtin_prefetch(c + t_.n_cur * size - 1, 1);
    }
  }
  void end(const vi (&acc)[MR][NRV], bool) {
    switch (prepared_.stored) {
      case Stored::from_memory: {
        alignas(64) int32_t sums[MR][NRV * W];
        FC_UNROLL for (int m = 0; m < MR; ++m) FC_UNROLL for (int v = 0; v < NRV; ++v)
            vistore(sums[m] + v * W, acc[m][v]);
        FinishIntegers::run<NRV>(t_, at_, MR, sums);
        break;
      }
      case Stored::sums:
        store_each<StoreAs::s32, Scaling::plain>(acc, 0);
        break;
      case Stored::bytes:
        store_bytes<Scaling::plain>(acc);
        break;
      case Stored::shifted_bytes:
        store_bytes<Scaling::shifted>(acc);
        break;
    }
    at_.move_down(t_, MR);
  }

 private:
  using Scaling = FinishIntegers::Scaling;
  using Stored = FinishIntegers::Stored;

  template <StoreAs type, Scaling scaling>
  void store_each(const vi (&acc)[MR][NRV], int first) const {
    constexpr dim_t kBytes = kStoreBytes[static_cast<int>(type)];
    FC_UNROLL for (int m = 0; m < MR; ++m) FC_UNROLL for (int v = first; v < NRV; ++v)
        FinishIntegers::store<type, scaling>(at_.row(t_, m, kBytes) + v * W * kBytes, acc[m][v],
                                             t_.finish, prepared_.column[v], prepared_.bytes);
  }
  template <Scaling scaling>
  void store_bytes(const vi (&acc)[MR][NRV]) const {
    const auto row = [&](int m) { return at_.row(t_, m, 1); };
    const auto sum = [&](int m, int v) { return acc[m][v]; };
    if constexpr (NRV > 1) {
      FC_UNROLL for (int m = 0; m < MR; m += 2) FinishIntegers::store_two_rows<scaling>(
          t_.finish, prepared_.bytes, prepared_.column[0], prepared_.column[1], m, MR, row, sum);
    }
    if constexpr (NRV != 2) store_each<StoreAs::u8, scaling>(acc, NRV - 1);
  }

  const IntegerTile& t_;
  FinishIntegers::Rows at_;
  const FinishIntegers::Prepared<NRV> prepared_;
};

// Of the pairs: nothing, the sums go from the registers to C, which has room for whole panels.
template <int MR, int NRV>
class StoreSums {
 public:
  using Tile = IntegerTile;

  explicit StoreSums(const IntegerTile& t) : t_(t), at_(t) {}
  template <class Dot>
  static constexpr dim_t row_bytes(const IntegerTile&) {
    return NRV * Dot::kRowBytes;
  }
  template <class Dot>
  vi first_sum(int) const {
    return Dot::zero();
  }
  void begin() {
    FC_UNROLL for (int m = 0; m < MR; ++m) {
      __builtin_prefetch(row(m), 1);
      __builtin_prefetch(row(m) + NRV * W - 1, 1);
    }
  }
  void end(const vi (&acc)[MR][NRV], bool) {
    FC_UNROLL for (int m = 0; m < MR; ++m) FC_UNROLL for (int v = 0; v < NRV; ++v)
        vistore(row(m) + v * W, acc[m][v]);
    at_.move_down(t_, MR);
  }

 private:
  int32_t* row(dim_t m) const {
    return reinterpret_cast<int32_t*>(at_.row(t_, m, sizeof(int32_t)));
  }
  const IntegerTile& t_;
  FinishIntegers::Rows at_;
};

template <class Dot, int MR1, int MR2, int MR3>
void fill_bytes(IntegerKernels& k) {
  fill_panels<Dot, StoreIntegers, MR1, MR2, MR3>(k.bytes);
  k.mr = MR2;
  k.nr = 2 * W;
  k.saturates = Dot::kSaturates;
}
template <class Dot, int MR1, int MR2, int MR3>
void fill_wide(IntegerKernels& k) {
  fill_panels<Dot, StoreIntegers, MR1, MR2, MR3>(k.wide);
}
template <class Dot, int MR1, int MR2, int MR3>
void fill_pairs(IntegerKernels& k) {
  fill_panels<Dot, StoreSums, MR1, MR2, MR3>(k.pairs);
}

}  // namespace
}  // namespace fastconv
