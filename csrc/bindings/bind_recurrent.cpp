// L6 bindings: _core.Recurrent, a direction of a recurrent layer with its weights packed; a step of
// a Program runs it.
#include <pybind11/stl.h>

#include <algorithm>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "bindings/bind.h"
#include "core/check.h"
#include "nn/recurrent.h"

namespace py = pybind11;

namespace fastconv {
namespace {

using Function = std::tuple<std::string, float, float>;

std::shared_ptr<Recurrent> make(const std::string& cell, const py::array& r,
                                const std::vector<Function>& functions, float clip, bool reverse,
                                bool reset_after, bool coupled,
                                const std::optional<py::array>& hidden_bias,
                                const std::optional<py::array>& scales) {
  const CountAllocations count;
  RecurrentParams params;
  params.cell = cell_named(cell);
  params.reverse = reverse;
  params.reset_after = reset_after;
  params.coupled = coupled;
  params.clip = clip;
  const dim_t gates = gates_of(params.cell);
  const size_t wanted = params.cell == Cell::rnn ? 1 : params.cell == Cell::gru ? 2 : 3;
  FC_CHECK(functions.size() == wanted, ArgumentError, "functions: expected ", wanted, ", got ",
           functions.size());
  std::transform(functions.begin(), functions.end(), params.functions, [](const Function& f) {
    return activation_named(std::get<0>(f), std::get<1>(f), std::get<2>(f));
  });
  const View rv = input_view("r", r);
  FC_CHECK(rv.rank == 2 && rv.shape[0] == gates * rv.shape[1], ShapeError, "r: expected shape (",
           gates, " * hidden, hidden), got ", shape_string(rv));
  FC_CHECK(!scales || params.cell == Cell::lstm, ArgumentError,
           "scales: expected none but of an lstm");
  return std::make_shared<Recurrent>(params, rv,
                                     vector_of<float>("hidden_bias", hidden_bias, rv.shape[1]),
                                     vector_of<float>("scales", scales, rv.shape[0]));
}

}  // namespace

void bind_recurrent(py::module_& m) {
  py::class_<Recurrent, std::shared_ptr<Recurrent>>(m, "Recurrent")
      .def(py::init(&make), py::arg("cell"), py::arg("r"), py::kw_only(), py::arg("functions"),
           py::arg("clip") = 0.0f, py::arg("reverse") = false, py::arg("reset_after") = false,
           py::arg("coupled") = false, py::arg("hidden_bias") = py::none(),
           py::arg("scales") = py::none())
      .def("workspace", &Recurrent::workspace, py::arg("n"))
      .def_property_readonly("packed_bytes", &Recurrent::bytes);
}

}  // namespace fastconv
