// L6 bindings: csrc/nn/eltwise.h, functions of arrays and steps of programs.
#include "bindings/bind.h"
#include "bindings/steps.h"
#include "core/check.h"
#include "nn/eltwise.h"

namespace py = pybind11;

namespace fastconv {

void bind_eltwise(py::module_& m, Steps& steps) {
  m.def(
      "activate",
      [](const py::array& x, const py::array& y, const std::string& act, float alpha, float beta) {
        const View xv = input_view("x", x), yv = output_view("y", y);
        expect_shape("y", yv, xv);
        const Activation activation = activation_named(act, alpha, beta);
        const GilRelease unlocked;
        activate(xv, yv, activation);
      },
      py::arg("x"), py::arg("y"), py::arg("act"), py::arg("alpha"), py::arg("beta"));
  steps.def("activate", [](Program& self, const Operand& x, const Operand& y,
                           const std::string& act, float alpha, float beta) {
    const Activation activation = activation_named(act, alpha, beta);
    self.add({&x, &y}, [=](Slots slots) { activate(x.at(slots), y.at(slots), activation); });
  });
  m.def(
      "binary",
      [](const std::string& op, const py::array& a, const py::array& b, const py::array& y,
         const std::string& act, float alpha, float beta) {
        const View av = input_view("a", a), bv = input_view("b", b), yv = output_view("y", y);
        expect_shape("a", av, yv);
        expect_shape("b", bv, yv);
        const BinaryOp binary_op = binary_op_named(op);
        const Activation activation = activation_named(act, alpha, beta);
        const GilRelease unlocked;
        binary(binary_op, av, bv, yv, activation);
      },
      py::arg("op"), py::arg("a"), py::arg("b"), py::arg("y"), py::arg("act"), py::arg("alpha"),
      py::arg("beta"));
  steps.def("binary", [](Program& self, const Operand& a, const Operand& b, const Operand& y,
                         const std::string& op, const std::string& act, float alpha, float beta) {
    const BinaryOp binary_op = binary_op_named(op);
    const Activation activation = activation_named(act, alpha, beta);
    self.add({&a, &b, &y}, [=](Slots slots) {
      binary(binary_op, a.at(slots), b.at(slots), y.at(slots), activation);
    });
  });
  m.def(
      "prelu",
      [](const py::array& x, const py::array& slope, const py::array& y) {
        const View xv = input_view("x", x), sv = input_view("slope", slope),
                   yv = output_view("y", y);
        expect_shape("slope", sv, xv);
        expect_shape("y", yv, xv);
        const GilRelease unlocked;
        prelu(xv, sv, yv);
      },
      py::arg("x"), py::arg("slope"), py::arg("y"));
  steps.def("prelu", [](Program& self, const Operand& x, const Operand& slope, const Operand& y) {
    self.add({&x, &slope, &y},
             [=](Slots slots) { prelu(x.at(slots), slope.at(slots), y.at(slots)); });
  });
}

}  // namespace fastconv
