// L6 bindings: _core.Recurrent, a direction of a recurrent layer with its weights packed; a step of
// a Program runs it.
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "bindings/bind.h"
#include "bindings/steps.h"
#include "core/check.h"
#include "nn/recurrent.h"

namespace py = pybind11;

namespace fastconv {
namespace {

using Function = std::tuple<std::string, float, float>;

std::shared_ptr<Recurrent> make_recurrent(const std::string& cell, const py::array& r,
                                          const std::vector<Function>& functions, float clip,
                                          bool reverse, bool reset_after, bool coupled,
                                          const std::optional<py::array>& hidden_bias,
                                          const std::optional<py::array>& scales) {
  const CountAllocations count;
  RecurrentParams params;
  params.cell = enumerator<Cell>("cell", cell, {"rnn", "gru", "lstm"});
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

void expect_sizes(const char* name, const View& v, std::initializer_list<dim_t> shape) {
  View wanted;
  wanted.rank = static_cast<int>(shape.size());
  std::copy(shape.begin(), shape.end(), wanted.shape);
  expect_shape(name, v, wanted);
}

using Optional = std::optional<Operand>;

// Operands that are null are absent; y has a last state below the steps for each of the layer's.
void add_recurrent(Program& program, const Operand& x, const Optional& initial_h,
                   const Optional& initial_c, const Optional& peepholes, const Optional& lengths,
                   const Operand& y, const std::shared_ptr<const Recurrent>& layer,
                   const Operand& workspace) {
  expect_rank("x", x.view, 3);
  const dim_t h = layer->hidden(), steps = x.view.shape[0], n = x.view.shape[1];
  expect_sizes("x", x.view, {steps, n, layer->gates() * h});
  expect_sizes("y", y.view, {steps + layer->states(), n, h});
  if (initial_h) expect_sizes("initial_h", initial_h->view, {n, h});
  if (initial_c) expect_sizes("initial_c", initial_c->view, {n, h});
  if (peepholes) expect_sizes("peepholes", peepholes->view, {3 * h});
  if (lengths) expect_sizes("lengths", lengths->view, {n});
  for (const Operand* operand : {&x, pointer_to(peepholes), &y})
    FC_CHECK(!operand || operand->view.stride[operand->view.rank - 1] == 1, ArgumentError,
             "x, peepholes, y: expected the last dimension to be contiguous");
  FC_CHECK(workspace.view.size() >= layer->workspace(n), ShapeError, "workspace: expected ",
           layer->workspace(n), " floats, got ", workspace.view.size());
  program.add({&x, pointer_to(initial_h), pointer_to(initial_c), pointer_to(peepholes),
               pointer_to(lengths), &y, &workspace},
              [=, optional = std::array{initial_h, initial_c, peepholes, lengths}](Slots slots) {
                View views[4];
                const View* at[4];
                for (size_t i = 0; i < 4; ++i) {
                  if (optional[i]) views[i] = optional[i]->at(slots);
                  at[i] = optional[i] ? &views[i] : nullptr;
                }
                layer->run(x.at(slots), at[0], at[1], at[2], at[3], y.at(slots),
                           workspace.at(slots).as<float>());
              });
}

}  // namespace

void bind_recurrent(py::module_& m, Steps& steps) {
  py::class_<Recurrent, std::shared_ptr<Recurrent>>(m, "Recurrent")
      .def(py::init(&make_recurrent), py::arg("cell"), py::arg("r"), py::kw_only(),
           py::arg("functions"), py::arg("clip") = 0.0f, py::arg("reverse") = false,
           py::arg("reset_after") = false, py::arg("coupled") = false,
           py::arg("hidden_bias") = py::none(), py::arg("scales") = py::none())
      .def("workspace", &Recurrent::workspace, py::arg("n"))
      .def_property_readonly("packed_bytes", &Recurrent::bytes);
  steps.def("recurrent", &add_recurrent);
}

}  // namespace fastconv
