// L4 nn: copies between layouts, chosen by where the unit strides lie (layout.h).
#include "nn/layout.h"

#include <cstring>
#include <type_traits>

#include "core/division.h"
#include "core/interrupt.h"
#include "kernels/dispatch.h"
#include "nn/strided.h"

namespace fastconv {
namespace {

// dst[j * ldd + i] = src[i * lds + j] for elements that have no kernel, in tiles of a cache line.
template <class T>
void transpose_elements(dim_t rows, dim_t cols, const T* src, dim_t lds, T* dst,
                        dim_t ldd) noexcept {
  constexpr dim_t kTile = 64 / sizeof(T);
  for (dim_t i0 = 0; i0 < rows; i0 += kTile)
    for (dim_t j0 = 0; j0 < cols; j0 += kTile)
      for (dim_t j = j0; j < std::min(j0 + kTile, cols); ++j)
        for (dim_t i = i0; i < std::min(i0 + kTile, rows); ++i) dst[j * ldd + i] = src[i * lds + j];
}

template <class T>
auto transpose_of() {
  if constexpr (std::is_same_v<T, float>)
    return kernels().layout.transpose;
  else if constexpr (sizeof(T) == 1)
    return kernels().layout.transpose_bytes;
  else
    return &transpose_elements<T>;
}

// dst's run crosses src's: dimension `cross` is contiguous in src, the run is contiguous in dst.
// The planes that the two span are transposed; threads take pieces of planes, cut along the longer
// side in whole cache lines.
template <class T>
void transpose_planes(const Nest<2>& nest, int cross, const T* src, T* dst) noexcept {
  const int run = nest.rank - 1;
  const dim_t rows = nest.shape[run], cols = nest.shape[cross];
  const dim_t lds = nest.stride[0][run], ldd = nest.stride[1][cross];
  constexpr dim_t kPiece = 64 / sizeof(T);
  const bool by_cols = cols >= rows;
  const dim_t pieces = ceil_div(by_cols ? cols : rows, kPiece);
  const dim_t planes = nest.size() / (rows * cols);
  const auto transpose = transpose_of<T>();

  const dim_t per_piece = kPiece * (by_cols ? rows : cols);
  parallel_for(planes * pieces, std::max<dim_t>(1, kGrain / per_piece),
               [&](dim_t begin, dim_t end) {
                 while (begin < end) {
                   const dim_t plane = begin / pieces, first = begin % pieces;
                   if (plane % 64 == 63 && interrupted()) return;  // a plane may be tiny
                   const dim_t last = std::min(pieces, first + (end - begin));
                   begin += last - first;
                   const T* s = src;
                   T* d = dst;
                   dim_t rest = plane;
                   for (int i = run - 1; i >= 0; --i) {
                     if (i == cross) continue;
                     s += rest % nest.shape[i] * nest.stride[0][i];
                     d += rest % nest.shape[i] * nest.stride[1][i];
                     rest /= nest.shape[i];
                   }
                   const dim_t from = first * kPiece;
                   if (by_cols)
                     transpose(rows, std::min(last * kPiece, cols) - from, s + from, lds,
                               d + from * ldd, ldd);
                   else
                     transpose(std::min(last * kPiece, rows) - from, cols, s + from * lds, lds,
                               d + from, ldd);
                 }
               });
}

// Elements of T's size, whatever they are: a T is but moved.
template <class T>
void copy_as(const View& src, const View& dst) noexcept {
  const Nest<2> nest = merge(src, dst);
  const dim_t src_step = nest.step(0), dst_step = nest.step(1);
  const T* from = static_cast<const T*>(src.data);
  T* to = static_cast<T*>(dst.data);
  if (nest.size() == 0) return;
  if (dst_step == 1 && src_step != 1)
    for (int d = 0; d < nest.rank - 1; ++d)
      if (nest.stride[0][d] == 1) return transpose_planes(nest, d, from, to);

  for_each_run(nest, kGrain, [&](dim_t n, const dim_t* offset) {
    const T* s = from + offset[0];
    T* d = to + offset[1];
    if (src_step == 1 && dst_step == 1) {
      std::memcpy(d, s, static_cast<size_t>(n) * sizeof(T));
    } else if (src_step == 0 && dst_step == 1) {
      std::fill_n(d, n, *s);
    } else {
      for (dim_t i = 0; i < n; ++i) d[i * dst_step] = s[i * src_step];
    }
  });
}

}  // namespace

void copy(const View& src, const View& dst) noexcept {
  switch (element_size(dst.element)) {
    case 1:
      return copy_as<uint8_t>(src, dst);
    case 2:
      return copy_as<uint16_t>(src, dst);
    case 4:
      return copy_as<float>(src, dst);
    default:
      return copy_as<uint64_t>(src, dst);
  }
}

void fill(const View& dst, float value) noexcept {
  const Nest<1> nest = merge(dst);
  const dim_t step = nest.step(0);
  for_each_run(nest, kGrain, [&](dim_t n, const dim_t* offset) {
    float* d = dst.as<float>() + offset[0];
    if (step == 1)
      std::fill_n(d, n, value);
    else
      for (dim_t i = 0; i < n; ++i) d[i * step] = value;
  });
}

}  // namespace fastconv
