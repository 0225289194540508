// L6 bindings: _core.gemm, its step of programs, and _core.gemm_f64.
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

}  // namespace

void bind_gemm(py::module_& m, Steps& steps) {
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
