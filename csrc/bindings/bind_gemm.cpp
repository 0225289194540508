// L6 bindings: _core.gemm, its step of programs, _core.product (two matrices and nothing else)
// and _core.gemm_f64.
#include <pybind11/stl.h>

#include <optional>

#include "bindings/bind.h"
#include "bindings/steps.h"
#include "core/check.h"
#include "gemm/bf16.h"
#include "gemm/gemm.h"
#include "gemm/gemm_f64.h"

namespace py = pybind11;

namespace fastconv {

namespace {

MatrixF64 matrix_f64(const char* name, const py::array_t<double>& array) {
  const View v = input_view(name, array, Element::f64);
  FC_CHECK(v.rank == 2, ShapeError, name, ": expected 2 dimensions, got ", v.rank);
  return {v.as<double>(), v.shape[0], v.shape[1], v.stride[0], v.stride[1]};
}

// Whether an array is what products are made of, as it is.
bool is_matrix(const py::array& array) {
  constexpr int kAligned = py::detail::npy_api::NPY_ARRAY_ALIGNED_;
  return array.ndim() == 2 && (array.flags() & kAligned) &&
         py::isinstance<py::array_t<float>>(array);
}

}  // namespace

void bind_gemm(py::module_& m, Steps& steps) {
  m.def(
      "product",
      [](const py::array& a, const py::array& b) -> std::optional<py::array> {
        if (!is_matrix(a) || !is_matrix(b) || a.shape(1) != b.shape(0)) return std::nullopt;
        constexpr dim_t kMost = dim_t{1} << 31;  // elements, far from what overflows
        const dim_t rows = a.shape(0), columns = b.shape(1);
        if (columns && rows > kMost / columns) return std::nullopt;
        py::array_t<float> out({rows, columns});
        const View av = input_view("a", a), bv = input_view("b", b), ov = output_view("out", out);
        interruptible([&] { gemm_dots(av, bv, nullptr, ov, 1.0f, 0.0f, nullptr, Activation{}); });
        return out;
      },
      py::arg("a"), py::arg("b"));
  m.def(
      "gemm",
      [](const py::array& a, const py::array& b, const std::optional<py::array>& c,
         const py::array& out, float alpha, float beta, const std::optional<py::array>& bias,
         const std::string& act, float act_alpha, float act_beta, bool bf16) {
        const View av = input_view("a", a), bv = input_view("b", b), ov = output_view("out", out);
        FC_CHECK(av.rank == 2, ShapeError, "a: expected 2 dimensions, got ", av.rank);
        FC_CHECK(bv.rank == 2, ShapeError, "b: expected 2 dimensions, got ", bv.rank);
        FC_CHECK(av.shape[1] == bv.shape[0], ShapeError, "b: expected ", av.shape[1],
                 " rows (K of a), got ", bv.shape[0]);
        FC_CHECK(ov.rank == 2 && ov.shape[0] == av.shape[0] && ov.shape[1] == bv.shape[1],
                 ShapeError, "out: expected shape (", av.shape[0], ", ", bv.shape[1], "), got ",
                 shape_string(ov));
        View cv, biasv;
        if (c) {
          cv = input_view("c", *c);
          FC_CHECK(cv.rank == 2 && cv.shape[0] == ov.shape[0] && cv.shape[1] == ov.shape[1],
                   ShapeError, "c: expected shape ", shape_string(ov), ", got ", shape_string(cv));
        }
        if (bias) {
          biasv = input_view("bias", *bias);
          FC_CHECK(biasv.rank == 1 && biasv.shape[0] == ov.shape[1] &&
                       (biasv.stride[0] == 1 || biasv.shape[0] <= 1),
                   ShapeError, "bias: expected a contiguous array of shape (", ov.shape[1],
                   ",), got ", shape_string(biasv));
        }
        const Activation activation = activation_named(act, act_alpha, act_beta);
        interruptible([&] {
          (bf16 ? gemm_bf16 : gemm_dots)(av, bv, c ? &cv : nullptr, ov, alpha, beta,
                                         bias ? biasv.as<float>() : nullptr, activation);
        });
      },
      py::arg("a"), py::arg("b"), py::arg("c"), py::arg("out"), py::arg("alpha"), py::arg("beta"),
      py::arg("bias"), py::arg("act"), py::arg("act_alpha"), py::arg("act_beta"),
      py::arg("bf16") = false);
  steps.def("gemm", [](Program& self, const Operand& a, const Operand& b,
                       const std::optional<Operand>& c, const Operand& y, float alpha, float beta,
                       const std::string& act, float act_alpha, float act_beta) {
    const Activation activation = activation_named(act, act_alpha, act_beta);
    self.add({&a, &b, pointer_to(c), &y}, [=](Slots slots) {
      const View addend = c ? c->at(slots) : View{};
      gemm(a.at(slots), b.at(slots), c ? &addend : nullptr, y.at(slots), alpha, beta, nullptr,
           activation);
    });
  });
  m.def(
      "gemm_f64",
      [](const py::array_t<double>& a, const py::array_t<double>& b,
         const py::array_t<double>& out) {
        const MatrixF64 av = matrix_f64("a", a), bv = matrix_f64("b", b);
        const MatrixF64 ov = matrix_f64("out", out);
        FC_CHECK(av.columns == bv.rows, ShapeError, "b: expected ", av.columns,
                 " rows (K of a), got ", bv.rows);
        FC_CHECK(ov.rows == av.rows && ov.columns == bv.columns && out.writeable() &&
                     (ov.column_step == 1 || ov.columns <= 1),
                 ShapeError, "out: expected a writable array with contiguous rows, of shape (",
                 av.rows, ", ", bv.columns, ")");
        double* const y = const_cast<double*>(ov.data);
        interruptible([&] { gemm_f64(av, bv, y, ov.row_step); });
      },
      py::arg("a").noconvert(), py::arg("b").noconvert(), py::arg("out").noconvert());
}

}  // namespace fastconv
