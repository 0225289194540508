// L6 bindings: _core.Program, the compiled form of a graph; python/fastconv/graph/compile.py is the
// caller. Its steps are bound beside the functions that they call.
#include <pybind11/stl.h>

#include <string>
#include <tuple>
#include <vector>

#include "bindings/planned.h"
#include "bindings/steps.h"
#include "core/check.h"
#include "core/parallel.h"
#include "program/batch_program.h"
#include "program/program.h"

namespace py = pybind11;

namespace fastconv {

namespace {

using Dims = std::vector<dim_t>;
using PlanOperand = std::tuple<int, dim_t, Dims, Dims, py::dtype>;

View view_of(const Dims& shape, const Dims& strides, Element element) {
  FC_CHECK(shape.size() == strides.size() && shape.size() <= static_cast<size_t>(kMaxRank),
           ShapeError, "view: expected at most ", kMaxRank, " sizes and as many strides, got ",
           shape.size(), " and ", strides.size());
  View v;
  v.element = element;
  v.rank = static_cast<int>(shape.size());
  for (size_t i = 0; i < shape.size(); ++i) {
    FC_CHECK(shape[i] >= 0, ShapeError, "view: expected sizes of at least 0, got ", shape[i]);
    v.shape[i] = shape[i];
    v.stride[i] = strides[i];
  }
  return v;
}

Place place_of(const PlanOperand& plan) {
  const auto& [slot, offset, shape, strides, dtype] = plan;
  const dim_t item = dtype.itemsize();
  FC_CHECK(shape.size() == strides.size(), ShapeError, "operand: expected as many strides as ",
           shape.size(), " sizes, got ", strides.size());
  FC_CHECK(item == 0 || offset % item == 0, ArgumentError, "operand: expected a multiple of ", item,
           " bytes, got offset ", offset);
  Place place{slot, offset, offset, offset + item};
  for (size_t i = 0; i < shape.size(); ++i) {
    FC_CHECK(shape[i] >= 0, ShapeError, "operand: expected sizes of at least 0, got ", shape[i]);
    if (shape[i] == 0) return {slot};  // nothing is touched
    dim_t& end = strides[i] < 0 ? place.low : place.high;
    dim_t reach;
    FC_CHECK(!__builtin_mul_overflow(shape[i] - 1, strides[i], &reach) &&
                 !__builtin_mul_overflow(reach, item, &reach) &&
                 !__builtin_add_overflow(end, reach, &end),
             ShapeError, "operand: expected bytes that can be counted, got stride ", strides[i],
             " for ", shape[i], " elements");
  }
  return place;
}

// The memory of a row-major array of any element type.
void* row_major_data(const char* name, const py::array& array) {
  FC_CHECK(array.flags() & py::array::c_style, ArgumentError, name,
           ": expected a C-contiguous array");
  FC_CHECK(array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_, ArgumentError, name,
           ": expected an aligned array");
  return const_cast<void*>(array.data());
}

int add_constant(Program& program, const py::array& array) {
  return program.add_constant(row_major_data("constant", array), array.nbytes());
}

// The pointers of row-major arrays of the program's sizes.
template <class Bytes>
std::vector<std::byte*> pointers(const char* name, const std::vector<py::array>& arrays,
                                 size_t count, Bytes bytes_of, bool written) {
  FC_CHECK(arrays.size() == count, ArgumentError, name, ": expected ", count, " arrays, got ",
           arrays.size());
  std::vector<std::byte*> data;
  for (size_t i = 0; i < count; ++i) {
    FC_CHECK(!written || arrays[i].writeable(), ArgumentError, name,
             ": expected writable arrays, got a read-only one");
    FC_CHECK(arrays[i].nbytes() == bytes_of(i), ShapeError, name, ": expected ", bytes_of(i),
             " bytes in array ", i, ", got ", arrays[i].nbytes());
    data.push_back(static_cast<std::byte*>(row_major_data(name, arrays[i])));
  }
  return data;
}

// A Python function as a step: it is called with the operands as arrays, the result's last.
void add_call(Program& program, const std::vector<PlanOperand>& operands,
              const py::function& function) {
  struct Array {
    py::dtype dtype;
    Dims shape, strides;  // in bytes
  };
  std::vector<Place> places;
  std::vector<Array> arrays;
  for (const PlanOperand& plan : operands) {
    places.push_back(place_of(plan));
    const auto& [slot, offset, shape, strides, dtype] = plan;
    Array array{dtype, shape, strides};
    for (dim_t& stride : array.strides) stride *= dtype.itemsize();
    arrays.push_back(std::move(array));
  }
  program.call(places, [arrays, function](void* const* addresses) {
    const py::gil_scoped_acquire locked;
    py::tuple arguments(arrays.size());
    for (size_t i = 0; i < arrays.size(); ++i)  // with a base (any): it is then a view, not a copy
      arguments[i] =
          py::array(arrays[i].dtype, arrays[i].shape, arrays[i].strides, addresses[i], function);
    function(*arguments);
  });
}

// Runs a Program or BatchProgram.
template <class AnyProgram>
void run(const AnyProgram& program, const std::vector<py::array>& inputs,
         const std::vector<py::array>& outputs, double* seconds) {
  const auto in = pointers(
      "inputs", inputs, program.inputs(), [&](size_t i) { return program.input_bytes(i); }, false);
  const auto out = pointers(
      "outputs", outputs, program.outputs(), [&](size_t i) { return program.output_bytes(i); },
      true);
  interruptible([&] { program.run(in.data(), out.data(), seconds); });
}

template <class AnyProgram>
void bind_run(py::class_<AnyProgram, std::shared_ptr<AnyProgram>>& program) {
  program
      .def(
          "run",
          [](const AnyProgram& self, const std::vector<py::array>& inputs,
             const std::vector<py::array>& outputs) { run(self, inputs, outputs, nullptr); },
          py::arg("inputs"), py::arg("outputs"))
      .def(
          "run_profiled",
          [](const AnyProgram& self, const std::vector<py::array>& inputs,
             const std::vector<py::array>& outputs) {
            std::vector<double> seconds(self.steps());
            run(self, inputs, outputs, seconds.data());
            return seconds;
          },
          py::arg("inputs"), py::arg("outputs"), "Run, and return the seconds of each step.");
}

}  // namespace

bool load_operand(py::handle source, Operand& operand) {
  py::detail::make_caster<PlanOperand> caster;
  if (!caster.load(source, true)) return false;
  const PlanOperand plan = py::detail::cast_op<PlanOperand>(std::move(caster));
  const auto& [slot, offset, shape, strides, dtype] = plan;
  operand = {place_of(plan), view_of(shape, strides, element_of_dtype(dtype))};
  return true;
}

View view_of(const PlanView& v) {
  const auto& [shape, strides, dtype] = v;
  return view_of(shape, strides, element_of_dtype(dtype));
}

Steps bind_program(py::module_& m) {
  py::class_<ArenaPool, std::shared_ptr<ArenaPool>>(m, "ArenaPool")
      .def(py::init([] { return std::make_shared<ArenaPool>(); }))
      .def_property_readonly("bytes", &ArenaPool::bytes);

  Steps steps(m, "Program");
  steps
      .def(py::init([](std::shared_ptr<ArenaPool> pool, dim_t arena, const Dims& inputs,
                       const Dims& outputs) {
             const CountAllocations count;
             return std::make_shared<Program>(std::move(pool), arena, inputs, outputs);
           }),
           py::arg("pool"), py::arg("arena"), py::arg("inputs"), py::arg("outputs"))
      .def("add_constant", &add_constant, py::arg("array"), py::keep_alive<1, 2>())
      .def("call", &add_call, py::arg("operands"), py::arg("function"));
  bind_run(steps);

  // The Python objects of its programs are kept: they keep what their steps refer to.
  py::class_<BatchProgram, std::shared_ptr<BatchProgram>> batch(m, "BatchProgram");
  batch
      .def(py::init([](std::shared_ptr<ArenaPool> pool, std::shared_ptr<Program> rest, dim_t images,
                       int lanes) {
             const CountAllocations count;
             return std::make_shared<BatchProgram>(std::move(pool), std::move(rest), images, lanes);
           }),
           py::arg("pool"), py::arg("rest"), py::arg("images"), py::arg("lanes"),
           py::keep_alive<1, 3>())
      .def(
          "add_part",
          [](BatchProgram& self, std::shared_ptr<Program> program, dim_t images) {
            self.add_part(std::move(program), images);
          },
          py::arg("program"), py::arg("images"), py::keep_alive<1, 2>());
  bind_run(batch);
  return steps;
}

}  // namespace fastconv
