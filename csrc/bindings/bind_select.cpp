// L6 bindings: csrc/nn/compare.h, csrc/nn/select.h, csrc/nn/suppress.h and csrc/nn/grid_sample.h,
// functions of arrays and steps of programs.
#include <pybind11/stl.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "bindings/bind.h"
#include "bindings/steps.h"
#include "core/check.h"
#include "nn/compare.h"
#include "nn/grid_sample.h"
#include "nn/select.h"
#include "nn/suppress.h"

namespace py = pybind11;

namespace fastconv {
namespace {

SampleMode sample_mode_named(const std::string& mode) {
  return enumerator<SampleMode>("mode", mode, {"nearest", "linear", "cubic"});
}

SamplePadding sample_padding_named(const std::string& padding) {
  return enumerator<SamplePadding>("padding", padding, {"zeros", "border", "reflection"});
}

// Rows (image, class, box) of the boxes kept.
py::array_t<int64_t> suppressed(const py::array& boxes, const py::array& scores, dim_t most,
                                float overlap, const std::optional<float>& least, bool centred) {
  const View b = input_view("boxes", boxes), s = input_view("scores", scores);
  expect_rank("boxes", b, 3);
  expect_rank("scores", s, 3);
  const dim_t images = s.shape[0], classes = s.shape[1], count = s.shape[2];
  FC_CHECK(b.shape[0] == images && b.shape[1] == count && b.shape[2] == 4, ShapeError,
           "boxes: expected shape (", images, ", ", count, ", 4), got ", shape_string(b));
  FC_CHECK((boxes.flags() & scores.flags() & py::array::c_style) != 0, ArgumentError,
           "boxes, scores: expected C-contiguous arrays");
  const Suppression how{most, overlap, least.value_or(0.0f), least.has_value(), centred};
  std::vector<std::vector<dim_t>> kept;
  interruptible(
      [&] { kept = suppress(b.as<float>(), s.as<float>(), images, classes, count, how); });
  dim_t rows = 0;
  for (const auto& found : kept) rows += static_cast<dim_t>(found.size());
  py::array_t<int64_t> result({rows, dim_t{3}});
  int64_t* out = result.mutable_data();
  for (size_t at = 0; at < kept.size(); ++at)
    for (const dim_t box : kept[at]) {
      *out++ = static_cast<dim_t>(at) / classes;
      *out++ = static_cast<dim_t>(at) % classes;
      *out++ = box;
    }
  return result;
}

void bind_comparisons(Steps& steps) {
  steps.def("compare", [](Program& self, const Operand& a, const Operand& b, const Operand& y,
                          const std::string& op) {
    const auto compare_op = enumerator<CompareOp>("op", op, {"equal", "less", "less_equal"});
    for (const Operand* operand : {&a, &b}) expect_shape("a, b", operand->view, y.view);
    self.add({&a, &b, {&y, kTruth}},
             [=](Slots slots) { compare(compare_op, a.at(slots), b.at(slots), y.at(slots)); });
  });
  steps.def("logic", [](Program& self, const Operand& a, const Operand& b, const Operand& y,
                        const std::string& op) {
    const auto logic_op = enumerator<LogicOp>("op", op, {"both", "either", "one"});
    for (const Operand* operand : {&a, &b}) expect_shape("a, b", operand->view, y.view);
    self.add({{&a, kTruth}, {&b, kTruth}, {&y, kTruth}},
             [=](Slots slots) { logic(logic_op, a.at(slots), b.at(slots), y.at(slots)); });
  });
  steps.def("choose", [](Program& self, const Operand& condition, const Operand& a,
                         const Operand& b, const Operand& y) {
    for (const Operand* operand : {&condition, &a, &b})
      expect_shape("condition, a, b", operand->view, y.view);
    const Element element = y.view.element;
    self.add(
        {{&condition, kTruth}, {&a, {element}}, {&b, {element}}, {&y, kMoved}},
        [=](Slots slots) { choose(condition.at(slots), a.at(slots), b.at(slots), y.at(slots)); });
  });
}

}  // namespace

void bind_select(py::module_& m, Steps& steps) {
  bind_comparisons(steps);
  m.def(
      "top_k",
      [](const py::array& x, const py::array& values, const py::array& indices, bool largest) {
        const View xv = input_view("x", x), vv = output_view("values", values);
        const View iv = input_view("indices", indices, Element::s64);
        FC_CHECK(indices.writeable(), ArgumentError, "indices: expected a writable array");
        check_top_k(xv, vv, iv);
        interruptible([&] { top_k(xv, vv, iv, largest); });
      },
      py::arg("x"), py::arg("values"), py::arg("indices"), py::arg("largest"));
  steps.def("top_k", [](Program& self, const Operand& x, const Operand& values,
                        const Operand& indices, bool largest) {
    check_top_k(x.view, values.view, indices.view);
    self.add({&x, &values, {&indices, {Element::s64}}}, [=](Slots slots) {
      top_k(x.at(slots), values.at(slots), indices.at(slots), largest);
    });
  });
  m.def(
      "cumulative_sum",
      [](const py::array& x, const py::array& y, bool exclusive, bool reverse) {
        const View xv = input_view("x", x), yv = output_view("y", y);
        expect_rank("x", xv, 3);
        FC_CHECK(yv.rank == 3 && std::equal(xv.shape, xv.shape + 3, yv.shape), ShapeError,
                 "y: expected shape ", shape_string(xv), ", got ", shape_string(yv));
        interruptible([&] { cumulative_sum(xv, yv, exclusive, reverse); });
      },
      py::arg("x"), py::arg("y"), py::arg("exclusive"), py::arg("reverse"));
  m.def("suppress", &suppressed, py::arg("boxes"), py::arg("scores"), py::arg("most"),
        py::arg("overlap"), py::arg("least"), py::arg("centred"));
  m.def(
      "grid_sample",
      [](const py::array& x, const py::array& grid, const py::array& y, const std::string& mode,
         const std::string& padding, bool align_corners) {
        const View xv = input_view("x", x), gv = input_view("grid", grid), yv = output_view("y", y);
        check_grid_sample(xv, gv, yv);
        const SampleMode how = sample_mode_named(mode);
        const SamplePadding beyond = sample_padding_named(padding);
        interruptible([&] { grid_sample(xv, gv, yv, how, beyond, align_corners); });
      },
      py::arg("x"), py::arg("grid"), py::arg("y"), py::arg("mode"), py::arg("padding"),
      py::arg("align_corners"));
  steps.def("grid_sample",
            [](Program& self, const Operand& x, const Operand& grid, const Operand& y,
               const std::string& mode, const std::string& padding, bool align_corners) {
              check_grid_sample(x.view, grid.view, y.view);
              const SampleMode how = sample_mode_named(mode);
              const SamplePadding beyond = sample_padding_named(padding);
              self.add({&x, &grid, &y}, [=](Slots slots) {
                grid_sample(x.at(slots), grid.at(slots), y.at(slots), how, beyond, align_corners);
              });
            });
}

}  // namespace fastconv
