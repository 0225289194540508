// L6 bindings: numpy arrays as Views. The last check before kernels trust what they are given;
// python/fastconv/ops has checked the same with better messages for people.
#include <algorithm>
#include <bit>

#include "bindings/bind.h"
#include "core/check.h"

namespace py = pybind11;

namespace fastconv {

namespace {

struct NamedElement {
  char kind;  // numpy's
  Element element;
};
constexpr NamedElement kOfNumpy[] = {
    {'f', Element::f32}, {'f', Element::f64}, {'f', Element::f16}, {'i', Element::s8},
    {'u', Element::u8},  {'i', Element::s16}, {'u', Element::u16}, {'i', Element::s32},
    {'u', Element::u32}, {'i', Element::s64}, {'u', Element::u64}, {'V', Element::bf16},
};

}  // namespace

Element element_of_dtype(const py::dtype& dtype) {
  const char order = dtype.byteorder(),
             foreign = std::endian::native == std::endian::little ? '>' : '<';
  // A type of numpy's own; others may have the same kind and size. bf16, which it lacks, is bare
  // memory.
  if (dtype.num() < 24 && order != foreign)
    for (const auto& [kind, element] : kOfNumpy)
      if (dtype.kind() == kind && dtype.itemsize() == element_size(element)) return element;
  return Element::other;
}

py::dtype dtype_of(Element element) {
  for (const auto& [kind, known] : kOfNumpy)
    if (known == element) return py::dtype(kind + std::to_string(element_size(element)));
  throw ArgumentError(message("element: expected one that numpy has, got ", element_name(element)));
}

View input_view(const char* name, const py::array& array, Element element) {
  const bool plain = element == Element::f32 && array.dtype().is(py::dtype::of<float>());
  if (!plain && element_of_dtype(array.dtype()) != element)
    throw py::type_error(message(
        name, ": expected a ", py::cast<std::string>(py::str(dtype_of(element))),
        " array of native byte order, got ", py::cast<std::string>(py::str(array.dtype()))));
  FC_CHECK(array.ndim() <= kMaxRank, ShapeError, name, ": expected at most ", kMaxRank,
           " dimensions, got ", array.ndim());
  const dim_t size = element_size(element);
  View v;
  v.data = const_cast<void*>(array.data());
  v.element = element;
  v.rank = static_cast<int>(array.ndim());
  bool aligned = reinterpret_cast<uintptr_t>(v.data) % static_cast<uintptr_t>(size) == 0;
  for (int i = 0; i < v.rank; ++i) {
    v.shape[i] = array.shape(i);
    v.stride[i] = array.strides(i) / size;
    aligned = aligned && array.strides(i) % size == 0;
  }
  FC_CHECK(aligned, ArgumentError, name, ": expected data and strides aligned to ", size,
           " bytes, got a view between elements");
  return v;
}

View byte_view(const char* name, const py::array& array) {
  const Element element = element_of_dtype(array.dtype());
  FC_CHECK(element == Element::u8 || element == Element::s8, ArgumentError, name,
           ": expected 8-bit integers, got ", py::cast<std::string>(py::str(array.dtype())));
  return input_view(name, array, element);
}

View output_view(const char* name, const py::array& array) {
  FC_CHECK(array.writeable(), ArgumentError, name,
           ": expected a writable array, got a read-only one");
  return input_view(name, array);
}

void expect_rank(const char* name, const View& v, int rank) {
  FC_CHECK(v.rank == rank, ShapeError, name, ": expected ", rank, " dimensions, got shape ",
           shape_string(v));
}

void expect_shape(const char* name, const View& v, const View& like) {
  FC_CHECK(v.rank == like.rank && std::equal(v.shape, v.shape + v.rank, like.shape), ShapeError,
           name, ": expected shape ", shape_string(like), ", got ", shape_string(v));
}

void expect_size(const char* name, const View& v, dim_t size) {
  FC_CHECK(v.size() == size, ShapeError, name, ": expected ", size, " elements, got ", v.size());
}

void expect_images(const View& x, const View& y) {
  expect_rank("x", x, 4);
  expect_rank("y", y, 4);
  FC_CHECK(y.shape[0] == x.shape[0] && y.shape[1] == x.shape[1], ShapeError, "y: expected shape (",
           x.shape[0], ", ", x.shape[1], ", height, width), got ", shape_string(y));
}

bool bounds_overlap(const py::array& a, const py::array& b) noexcept {
  // [first, last) byte that the elements of an array touch; empty without elements.
  const auto bounds = [](const py::array& array) {
    auto first = reinterpret_cast<intptr_t>(array.data()), last = first + array.itemsize();
    for (int i = 0; i < array.ndim(); ++i) {
      if (array.shape(i) == 0) return std::pair{first, first};
      const intptr_t reach = array.strides(i) * (array.shape(i) - 1);
      (reach < 0 ? first : last) += reach;
    }
    return std::pair{first, last};
  };
  const auto [a_first, a_last] = bounds(a);
  const auto [b_first, b_last] = bounds(b);
  return a_first < b_last && b_first < a_last;
}

}  // namespace fastconv
