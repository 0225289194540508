// L6 bindings: a convolution bound to shapes and strides, which a step of a Program runs. Of f32 or
// of integers.
#pragma once
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/steps.h"
#include "conv/conv2d.h"
#include "core/check.h"

namespace fastconv {

// A view to plan with: shape, strides in elements, dtype.
using PlanView = std::tuple<std::vector<dim_t>, std::vector<dim_t>, pybind11::dtype>;
View view_of(const PlanView& v);

// The Python object that it was bound from is kept alive by pybind11.
template <class Bound>
struct Planned {
  std::shared_ptr<const Bound> bound;
  std::string tile;
  dim_t packed_bytes, kept_weights;
  std::array<dim_t, kMaxSpatial> kernel;  // depth, height, width
  Element x_element, y_element;
};

// A holder: pybind11 makes those of instances that have none where no exception can be caught, and
// that wants memory.
template <class AnyConv, class Bound>
std::unique_ptr<Planned<Bound>> planned(const AnyConv& conv, const View& x, const View& y,
                                        std::unique_ptr<const Bound> bound) {
  const ConvShape shape = conv.shape(x.rank, x.shape);
  std::array<dim_t, kMaxSpatial> kernel;
  std::copy_n(conv.params().kernel, kMaxSpatial, kernel.begin());
  dim_t kept = 0;
  if constexpr (requires { conv.kept_weights(shape); }) kept = conv.kept_weights(shape);
  return std::make_unique<Planned<Bound>>(Planned<Bound>{
      std::move(bound), conv.tile(shape), conv.packed_bytes(), kept, kernel, x.element, y.element});
}

template <class Bound>
pybind11::class_<Planned<Bound>> bind_planned(pybind11::module_& m, const char* name) {
  return pybind11::class_<Planned<Bound>>(m, name)
      .def_property_readonly("workspace",
                             [](const Planned<Bound>& self) { return self.bound->workspace(); })
      .def_readonly("tile", &Planned<Bound>::tile)
      .def_readonly("packed_bytes", &Planned<Bound>::packed_bytes)
      .def_readonly("kept_weights", &Planned<Bound>::kept_weights)
      .def_readonly("kernel", &Planned<Bound>::kernel);
}

template <class Bound>
void expect_workspace(const Bound& bound, const Operand& workspace) {
  FC_CHECK(workspace.view.size() >= bound.workspace(), ShapeError, "workspace: expected ",
           bound.workspace(), " bytes, got ", workspace.view.size());
}

inline std::byte* bytes_at(Slots slots, const Operand& workspace) {
  return reinterpret_cast<std::byte*>(workspace.at(slots).as<uint8_t>());
}

}  // namespace fastconv
