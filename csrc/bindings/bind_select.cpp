// L6 bindings: csrc/nn/select.h, csrc/nn/suppress.h and csrc/nn/grid_sample.h, which functions of
// graph/ops call on arrays.
#include <pybind11/stl.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "bindings/bind.h"
#include "core/check.h"
#include "nn/select.h"
#include "nn/suppress.h"

namespace py = pybind11;

namespace fastconv {
namespace {

void expect_rank(const char* name, const View& v, int rank) {
  FC_CHECK(v.rank == rank, ShapeError, name, ": expected ", rank, " dimensions, got shape ",
           shape_string(v));
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

}  // namespace

void bind_select(py::module_& m) {
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
}

}  // namespace fastconv
