// L6 bindings: _core.PackedIntegers and _core.qgemm. python/fastconv/ops/qgemm.py has checked
// dtypes and shapes; here is checked again what would otherwise read or write foreign memory.
#include <pybind11/stl.h>

#include <optional>

#include "bindings/bind.h"
#include "core/check.h"
#include "gemm/integer.h"
#include "kernels/dispatch.h"

namespace py = pybind11;

namespace fastconv {
namespace {

ByteMatrix byte_matrix(const char* name, const py::array& array) {
  const View v = byte_view(name, array);
  FC_CHECK(v.rank == 2, ShapeError, name, ": expected 2 dimensions, got ", v.rank);
  return {static_cast<const uint8_t*>(v.data),
          v.shape[0],
          v.shape[1],
          v.stride[0],
          v.stride[1],
          v.element == Element::s8};
}

}  // namespace

StoreAs store_as_named(const char* name, const py::dtype& dtype) {
  switch (element_of_dtype(dtype)) {
    case Element::s32:
      return StoreAs::s32;
    case Element::f32:
      return StoreAs::f32;
    case Element::u8:
      return StoreAs::u8;
    case Element::s8:
      return StoreAs::s8;
    default:
      throw ArgumentError(message(name, ": expected int32, float32, uint8 or int8, got ",
                                  py::cast<std::string>(py::str(dtype))));
  }
}

void bind_qgemm(py::module_& m) {
  py::class_<PackedIntegers>(m, "PackedIntegers")
      .def(py::init([](const py::array& b, const py::array& zero) {
             const ByteMatrix matrix = byte_matrix("b", b);
             const dim_t zeros = zero.size() == 1 ? 1 : matrix.columns;
             const int32_t* const points = vector_of<int32_t>("zero_point", zero, zeros);
             const GilRelease unlocked;
             return std::make_unique<PackedIntegers>(matrix, points, zeros);
           }),
           py::arg("b"), py::arg("zero_point"))
      .def_property_readonly("shape",
                             [](const PackedIntegers& b) { return py::make_tuple(b.K(), b.N()); })
      .def_property_readonly("wide", [](const PackedIntegers& b) { return b.words().wide(); })
      .def_property_readonly("ordered", [](const PackedIntegers& b) { return b.words().ordered(); })
      .def_property_readonly("vectors", [](const PackedIntegers& b) { return b.words().vectors(); })
      .def_property_readonly("excess_vectors",
                             [](const PackedIntegers& b) { return b.words().excess_vectors(); })
      .def_property_readonly("nbytes", [](const PackedIntegers& b) { return b.words().bytes(); });
  m.def(
      "qgemm",
      [](const py::array& a, const py::array& a_zero, const PackedIntegers& b, const py::array& out,
         const std::optional<py::array>& bias, const std::optional<py::array>& scale,
         const std::optional<py::array>& shift, float low, float high, int32_t zero) {
        const ByteMatrix matrix = byte_matrix("a", a);
        const dim_t M = matrix.rows, N = b.N();
        FC_CHECK(matrix.columns == b.K(), ShapeError, "a: expected ", b.K(),
                 " columns (K of b), got ", matrix.columns);
        FC_CHECK(out.writeable() && out.ndim() == 2 && out.shape(0) == M && out.shape(1) == N &&
                     (out.size() == 0 || N == 1 || out.strides(1) == out.itemsize()) &&
                     out.strides(0) % out.itemsize() == 0,
                 ShapeError, "out: expected a writable array of shape (", M, ", ", N,
                 ") with contiguous columns");
        QgemmResult result;
        result.type = store_as_named("out", out.dtype());
        result.data = const_cast<void*>(out.data());
        result.row_step = out.strides(0) / out.itemsize();
        result.bias = vector_of<int32_t>("bias", bias, N);
        result.scale = vector_of<float>("scale", scale, N);
        result.shift = vector_of<float>("shift", shift, N);
        result.low = low;
        result.high = high;
        result.zero = zero;
        FC_CHECK(result.scale || result.type == StoreAs::s32, ArgumentError,
                 "scale: expected one for each column, got none");
        const dim_t zeros = a_zero.size() == 1 ? 1 : M;
        const int32_t* const points = vector_of<int32_t>("a_zero_point", a_zero, zeros);
        interruptible([&] { qgemm(matrix, points, zeros, b, result); });
      },
      py::arg("a"), py::arg("a_zero"), py::arg("b"), py::arg("out"), py::arg("bias"),
      py::arg("scale"), py::arg("shift"), py::arg("low"), py::arg("high"), py::arg("zero"));
  m.def(
      "multiply_taps",
      [](const py::array& a, const std::vector<dim_t>& a_row, const std::vector<dim_t>& tap_offset,
         const py::array& b, const std::vector<dim_t>& c_row, const py::array& out) {
        const ByteMatrix matrix = byte_matrix("b", b);
        const dim_t taps = static_cast<dim_t>(tap_offset.size()), N = matrix.columns;
        FC_CHECK(taps > 0 && matrix.rows % taps == 0 && a_row.size() == c_row.size() &&
                     a.dtype().equal(py::dtype::of<uint8_t>()) && a.ndim() == 1 &&
                     a.strides(0) == 1 && out.dtype().equal(py::dtype::of<int32_t>()) &&
                     out.ndim() == 1 && out.strides(0) == 4 && out.writeable(),
                 ShapeError, "multiply_taps: expected vectors of uint8 and int32");
        const dim_t k_run = matrix.rows / taps;
        for (const dim_t row : a_row)
          for (const dim_t tap : tap_offset)
            FC_CHECK(row + tap >= 0 && row + tap + k_run <= a.size(), ShapeError, "a: expected ",
                     row + tap + k_run, " bytes, got ", a.size());
        for (const dim_t row : c_row)
          FC_CHECK(row >= 0 && row + N <= out.size(), ShapeError, "out: expected ", row + N,
                   " elements, got ", out.size());
        const PackedWords packed(kernels().integer, taps, matrix);
        IntegerProduct p;
        p.M = static_cast<dim_t>(a_row.size());
        p.a_row = a_row.data();
        p.tap_offset = tap_offset.data();
        p.b = &packed;
        p.c_row = c_row.data();
        const GilRelease unlocked;
        Buffer<std::byte> copies(copies_bytes(p.M, packed, 4, get_num_threads()));
        p.threads = get_num_threads();
        p.copies = copies.data();
        multiply(p, static_cast<const uint8_t*>(a.data()), const_cast<void*>(out.data()));
      },
      py::arg("a"), py::arg("a_row"), py::arg("tap_offset"), py::arg("b"), py::arg("c_row"),
      py::arg("out"),
      "out[c_row[m] + n] = sum over taps t and k of a[a_row[m] + tap_offset[t] + k] * b[t, k, n]: "
      "the product as convolutions use it; for tests.");
}

}  // namespace fastconv
