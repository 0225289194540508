// L6 bindings: csrc/nn/norm.h, csrc/nn/softmax.h and csrc/nn/reduce.h, functions of arrays and steps
// of programs.
#include "bindings/bind.h"
#include "bindings/steps.h"
#include "core/check.h"
#include "nn/norm.h"
#include "nn/reduce.h"
#include "nn/softmax.h"

namespace py = pybind11;

namespace fastconv {
namespace {

ReduceOp reduce_op_named(const std::string& op) {
  return enumerator<ReduceOp>("op", op, {"sum", "mean", "max", "min"});
}

}  // namespace

void bind_norm(py::module_& m, Steps& steps) {
  m.def(
      "channel_affine",
      [](const py::array& x, const py::array& scale, const py::array& shift, const py::array& y,
         const std::string& act, float alpha, float beta) {
        const View xv = input_view("x", x), yv = output_view("y", y);
        FC_CHECK(xv.rank >= 2, ShapeError, "x: expected at least 2 dimensions, got shape ",
                 shape_string(xv));
        expect_shape("y", yv, xv);
        const float* scales = vector_of<float>("scale", scale, xv.shape[1]);
        const float* shifts = vector_of<float>("shift", shift, xv.shape[1]);
        const Activation activation = activation_named(act, alpha, beta);
        const GilRelease unlocked;
        channel_affine(xv, scales, shifts, yv, activation);
      },
      py::arg("x"), py::arg("scale"), py::arg("shift"), py::arg("y"), py::arg("act"),
      py::arg("alpha"), py::arg("beta"));
  steps.def("channel_affine",
            [](Program& self, const Operand& x, const Operand& scale, const Operand& shift,
               const Operand& y, const std::string& act, float alpha, float beta) {
              const Activation activation = activation_named(act, alpha, beta);
              self.add({&x, &scale, &shift, &y}, [=](Slots slots) {
                channel_affine(x.at(slots), scale.at(slots).as<float>(),
                               shift.at(slots).as<float>(), y.at(slots), activation);
              });
            });
  m.def(
      "lrn",
      [](const py::array& x, const py::array& y, int size, float alpha, float beta, float k) {
        const View xv = input_view("x", x), yv = output_view("y", y);
        FC_CHECK(xv.rank >= 2, ShapeError, "x: expected at least 2 dimensions, got shape ",
                 shape_string(xv));
        expect_shape("y", yv, xv);
        FC_CHECK(size >= 1, ArgumentError, "size: expected at least 1, got ", size);
        const GilRelease unlocked;
        lrn(xv, yv, size, alpha, beta, k);
      },
      py::arg("x"), py::arg("y"), py::arg("size"), py::arg("alpha"), py::arg("beta"), py::arg("k"));
  steps.def("lrn", [](Program& self, const Operand& x, const Operand& y, int size, float alpha,
                      float beta, float k) {
    self.add({&x, &y}, [=](Slots slots) { lrn(x.at(slots), y.at(slots), size, alpha, beta, k); });
  });
  m.def(
      "layer_norm",
      [](const py::array& x, const py::array& scale, const py::array& shift, const py::array& y,
         float epsilon) {
        const View xv = input_view("x", x), yv = output_view("y", y);
        FC_CHECK(xv.rank >= 1, ShapeError, "x: expected at least 1 dimension, got none");
        expect_shape("y", yv, xv);
        const int last = xv.rank - 1;
        for (const View* v : {&xv, &yv})
          FC_CHECK(v->stride[last] == 1 || v->shape[last] <= 1, ArgumentError,
                   "x, y: expected the last dimension to be contiguous");
        const dim_t factors = scale.size() == 1 ? 1 : xv.shape[last];
        const float* scales = vector_of<float>("scale", scale, factors);
        const float* shifts = vector_of<float>("shift", shift, factors);
        const GilRelease unlocked;
        layer_norm(xv, scales, shifts, factors > 1, yv, epsilon);
      },
      py::arg("x"), py::arg("scale"), py::arg("shift"), py::arg("y"), py::arg("epsilon"));
  steps.def("layer_norm", [](Program& self, const Operand& x, const Operand& scale,
                             const Operand& shift, const Operand& y, float epsilon) {
    self.add({&x, &scale, &shift, &y}, [=](Slots slots) {
      const View scales = scale.at(slots);
      layer_norm(x.at(slots), scales.as<float>(), shift.at(slots).as<float>(), scales.size() > 1,
                 y.at(slots), epsilon);
    });
  });
  m.def(
      "softmax",
      [](const py::array& x, const py::array& y, int axis) {
        const View xv = input_view("x", x), yv = output_view("y", y);
        expect_shape("y", yv, xv);
        FC_CHECK(axis >= 0 && axis < xv.rank, ArgumentError, "axis: expected 0 to ", xv.rank - 1,
                 ", got ", axis);
        const GilRelease unlocked;
        softmax(xv, yv, axis);
      },
      py::arg("x"), py::arg("y"), py::arg("axis"));
  steps.def("softmax", [](Program& self, const Operand& x, const Operand& y, int axis) {
    self.add({&x, &y}, [=](Slots slots) { softmax(x.at(slots), y.at(slots), axis); });
  });
  m.def(
      "reduce",
      [](const std::string& op, const py::array& x, const py::array& y) {
        const View xv = input_view("x", x), yv = output_view("y", y);
        expect_rank("y", yv, xv.rank);
        for (int i = 0; i < xv.rank; ++i)
          FC_CHECK(yv.shape[i] == 1 || yv.shape[i] == xv.shape[i], ShapeError,
                   "y: expected the sizes of x, ", shape_string(xv), ", or 1, got ",
                   shape_string(yv));
        const ReduceOp reduce_op = reduce_op_named(op);
        const GilRelease unlocked;
        reduce(reduce_op, xv, yv);
      },
      py::arg("op"), py::arg("x"), py::arg("y"));
  steps.def("reduce", [](Program& self, const Operand& x, const Operand& y, const std::string& op) {
    const ReduceOp reduce_op = reduce_op_named(op);
    self.add({&x, &y}, [=](Slots slots) { reduce(reduce_op, x.at(slots), y.at(slots)); });
  });
}

}  // namespace fastconv
