// L6 bindings: csrc/nn/layout.h and csrc/nn/resize.h, functions of arrays and steps of programs.
#include <pybind11/stl.h>

#include <array>
#include <cmath>

#include "bindings/bind.h"
#include "bindings/steps.h"
#include "core/check.h"
#include "nn/cast.h"
#include "nn/layout.h"
#include "nn/resize.h"

namespace py = pybind11;

namespace fastconv {
namespace {

using ScalePair = std::array<double, 2>;  // output, input: a fraction

ResizeParams resize_params(const std::string& mode, const std::string& coordinates,
                           const std::string& rounding, const ScalePair& scale_h,
                           const ScalePair& scale_w) {
  const auto scale = [](const ScalePair& pair) {
    for (const double v : pair)
      FC_CHECK(std::isfinite(v) && v > 0.0, ArgumentError, "scale: expected more than 0, got ", v);
    return ResizeScale{pair[0], pair[1]};
  };
  return {enumerator<ResizeMode>("mode", mode, {"nearest", "linear"}),
          enumerator<ResizeCoordinates>("coordinates", coordinates,
                                        {"half_pixel", "align_corners", "asymmetric",
                                         "pytorch_half_pixel", "pytorch_asymmetric"}),
          enumerator<ResizeRounding>("rounding", rounding,
                                     {"floor", "ceil", "round_prefer_floor", "round_prefer_ceil"}),
          scale(scale_h), scale(scale_w)};
}

}  // namespace

void bind_layout(py::module_& m, Steps& steps) {
  m.def(
      "copy",
      [](const py::array& src, const py::array& dst) {
        const View sv = input_view("src", src), dv = output_view("dst", dst);
        expect_shape("dst", dv, sv);
        const GilRelease unlocked;
        copy(sv, dv);
      },
      py::arg("src"), py::arg("dst"));
  steps.def("copy", [](Program& self, const Operand& x, const Operand& y) {
    self.add({{&y, kMoved}, {&x, {y.view.element}}},
             [=](Slots slots) { copy(x.at(slots), y.at(slots)); });
  });
  m.def(
      "fill",
      [](const py::array& dst, float value) {
        const View dv = output_view("dst", dst);
        const GilRelease unlocked;
        fill(dv, value);
      },
      py::arg("dst"), py::arg("value"));
  steps.def("cast", [](Program& self, const Operand& x, const Operand& y) {
    expect_shape("y", y.view, x.view);
    self.add({{&x, {Element::f32, Element::bf16}}, {&y, {Element::f32, Element::bf16}}},
             [=](Slots slots) { cast_bf16(x.at(slots), y.at(slots)); });
  });
  steps.def("fill", [](Program& self, const Operand& y, float value) {
    self.add({&y}, [=](Slots slots) { fill(y.at(slots), value); });
  });
  m.def(
      "resize2d",
      [](const py::array& x, const py::array& y, const std::string& mode,
         const std::string& coordinates, const std::string& rounding, const ScalePair& scale_h,
         const ScalePair& scale_w) {
        const View xv = input_view("x", x), yv = output_view("y", y);
        expect_images(xv, yv);
        FC_CHECK(yv.size() == 0 || xv.size() > 0, ShapeError,
                 "x: expected a height and width of at least 1, got shape ", shape_string(xv));
        const ResizeParams p = resize_params(mode, coordinates, rounding, scale_h, scale_w);
        const GilRelease unlocked;
        resize2d(xv, yv, p);
      },
      py::arg("x"), py::arg("y"), py::arg("mode"), py::arg("coordinates"), py::arg("rounding"),
      py::arg("scale_h"), py::arg("scale_w"));
  steps.def(
      "resize2d", [](Program& self, const Operand& x, const Operand& y, const std::string& mode,
                     const std::string& coordinates, const std::string& rounding,
                     const ScalePair& scale_h, const ScalePair& scale_w) {
        const ResizeParams p = resize_params(mode, coordinates, rounding, scale_h, scale_w);
        FC_CHECK(p.mode == ResizeMode::nearest || x.view.element == Element::f32, ArgumentError,
                 "mode: expected nearest of ", element_name(x.view.element), " elements");
        self.add({{&y, kOfKernels}, {&x, {y.view.element}}},
                 [=](Slots slots) { resize2d(x.at(slots), y.at(slots), p); });
      });
}

}  // namespace fastconv
