// L6 bindings: _core.Program, the compiled form of a graph; python/fastconv/graph/compile.py is the
// caller. An operand arrives as (slot, offset in bytes, shape, strides, dtype), a view to plan with
// as (shape, strides); strides are in elements.
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "bindings/bind.h"
#include "core/check.h"
#include "core/parallel.h"
#include "program/batch_program.h"
#include "program/program.h"

namespace py = pybind11;

namespace fastconv {

const Conv& conv_of(const py::object& conv);                 // bind_conv.cpp
const IntegerConv& integer_conv_of(const py::object& conv);  // bind_integer_conv.cpp

namespace {

using Dims = std::vector<dim_t>;
using PlanView = std::tuple<Dims, Dims>;
using PlanOperand = std::tuple<int, dim_t, Dims, Dims, py::dtype>;
using Pair = std::array<dim_t, 2>;

// A convolution bound to shapes and strides; the Python object that it was bound from is kept alive
// by pybind11.
template <class Bound>
struct Planned {
  std::shared_ptr<const Bound> bound;
  std::string tile;
  dim_t packed_bytes, kept_weights;
  std::array<dim_t, kMaxSpatial> kernel;  // depth, height, width
};
using PlannedConv = Planned<BoundConv>;
using PlannedIntegerConv = Planned<IntegerConvPlan>;

View view_of(const Dims& shape, const Dims& strides, Element element = Element::f32) {
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

Operand operand(const PlanOperand& plan) {
  const auto& [slot, offset, shape, strides, dtype] = plan;
  Operand operand{place_of(plan), view_of(shape, strides)};
  operand.view.element = element_of_dtype(dtype);
  return operand;
}

// The factories of this file return holders: pybind11 makes them for instances that have none where
// no exception can be caught, and that wants memory.
template <class AnyConv, class Bound>
std::unique_ptr<Planned<Bound>> planned(const AnyConv& conv, const View& x,
                                        std::unique_ptr<const Bound> bound) {
  const ConvShape shape = conv.shape(x.rank, x.shape);
  std::array<dim_t, kMaxSpatial> kernel;
  std::copy_n(conv.params().kernel, kMaxSpatial, kernel.begin());
  dim_t kept = 0;
  if constexpr (requires { conv.kept_weights(shape); }) kept = conv.kept_weights(shape);
  return std::make_unique<Planned<Bound>>(
      Planned<Bound>{std::move(bound), conv.tile(shape), conv.packed_bytes(), kept, kernel});
}

View view_of(const PlanView& v, Element element = Element::f32) {
  return view_of(std::get<0>(v), std::get<1>(v), element);
}

std::unique_ptr<PlannedConv> bind_shapes(const py::object& conv, const PlanView& x,
                                         const std::optional<PlanView>& residual, const PlanView& y,
                                         int threads) {
  const CountAllocations count;
  const Caller caller(threads);
  const View r = residual ? view_of(*residual) : View{}, in = view_of(x);
  const Conv& c = conv_of(conv);
  return planned(c, in, c.bind(in, view_of(y), residual ? &r : nullptr));
}

std::unique_ptr<PlannedIntegerConv> bind_integer(const py::object& conv, const PlanView& x,
                                                 const PlanView& y, int threads) {
  const CountAllocations count;
  const Caller caller(threads);
  static constexpr Element kElements[] = {Element::s32, Element::u8, Element::s8, Element::f32};
  const IntegerConv& c = integer_conv_of(conv);
  const View in = view_of(x, c.x_signed() ? Element::s8 : Element::u8);
  return planned(c, in, c.bind(in, view_of(y, kElements[static_cast<int>(c.type())])));
}

// What both kinds tell of themselves.
template <class Bound>
void bind_planned(py::class_<Planned<Bound>>& planned) {
  planned
      .def_property_readonly("workspace",
                             [](const Planned<Bound>& self) { return self.bound->workspace(); })
      .def_readonly("tile", &Planned<Bound>::tile)
      .def_readonly("packed_bytes", &Planned<Bound>::packed_bytes)
      .def_readonly("kept_weights", &Planned<Bound>::kept_weights)
      .def_readonly("kernel", &Planned<Bound>::kernel);
}

PoolShape pool_windows(const Pair& kernel, const Pair& stride, const Pair& dilation, const Pair& lo,
                       const Pair& hi, const PlanOperand& y) {
  const Dims& shape = std::get<2>(y);
  FC_CHECK(shape.size() == 4, ShapeError, "y: expected 4 dimensions, got ", shape.size());
  PoolShape p;
  for (size_t i = 0; i < 2; ++i) {
    p.kernel[i] = kernel[i];
    p.stride[i] = stride[i];
    p.dilation[i] = dilation[i];
    p.pad_lo[i] = lo[i];
    p.pad_hi[i] = hi[i];
    p.out[i] = shape[2 + i];
  }
  return p;
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

// What the operands of every step method look like from Python: one argument each, None for an
// absent one.
std::optional<Operand> optional_operand(const std::optional<PlanOperand>& plan) {
  return plan ? std::optional<Operand>(operand(*plan)) : std::nullopt;
}

void bind_steps(py::class_<Program, std::shared_ptr<Program>>& program) {
  using P = PlanOperand;
  program
      .def(
          "conv",
          [](Program& self, const P& x, const std::optional<P>& residual, const P& y,
             const PlannedConv& conv, const P& workspace) {
            const std::optional<Operand> r = optional_operand(residual);
            self.conv(conv.bound, operand(x), r ? &*r : nullptr, operand(y), operand(workspace));
          },
          py::keep_alive<1, 5>())
      .def(
          "integer_conv",
          [](Program& self, const P& x, const std::optional<P>& x_zero, const P& y,
             const PlannedIntegerConv& conv, const P& workspace) {
            const std::optional<Operand> zero = optional_operand(x_zero);
            self.integer_conv(conv.bound, operand(x), zero ? &*zero : nullptr, operand(y),
                              operand(workspace));
          },
          py::keep_alive<1, 5>())
      .def("gemm",
           [](Program& self, const P& a, const P& b, const std::optional<P>& c, const P& y,
              float alpha, float beta, const std::string& act, float act_alpha, float act_beta) {
             const std::optional<Operand> addend = optional_operand(c);
             self.gemm(operand(a), operand(b), addend ? &*addend : nullptr, operand(y), alpha, beta,
                       activation_named(act, act_alpha, act_beta));
           })
      .def("activate",
           [](Program& self, const P& x, const P& y, const std::string& act, float alpha,
              float beta) {
             self.activate(operand(x), operand(y), activation_named(act, alpha, beta));
           })
      .def("binary",
           [](Program& self, const P& a, const P& b, const P& y, const std::string& op,
              const std::string& act, float alpha, float beta) {
             self.binary(operand(a), operand(b), operand(y), binary_op_named(op),
                         activation_named(act, alpha, beta));
           })
      .def("prelu", [](Program& self, const P& x, const P& slope,
                       const P& y) { self.prelu(operand(x), operand(slope), operand(y)); })
      .def("compare",
           [](Program& self, const P& a, const P& b, const P& y, const std::string& op) {
             self.compare(operand(a), operand(b), operand(y), compare_op_named(op));
           })
      .def("logic",
           [](Program& self, const P& a, const P& b, const P& y, const std::string& op) {
             self.logic(operand(a), operand(b), operand(y), logic_op_named(op));
           })
      .def("choose",
           [](Program& self, const P& condition, const P& a, const P& b, const P& y) {
             self.choose(operand(condition), operand(a), operand(b), operand(y));
           })
      .def("grid_sample",
           [](Program& self, const P& x, const P& grid, const P& y, const std::string& mode,
              const std::string& padding, bool align_corners) {
             self.grid_sample(operand(x), operand(grid), operand(y), sample_mode_named(mode),
                              sample_padding_named(padding), align_corners);
           })
      .def("top_k",
           [](Program& self, const P& x, const P& values, const P& indices, bool largest) {
             self.top_k(operand(x), operand(values), operand(indices), largest);
           })
      .def("max_pool2d",
           [](Program& self, const P& x, const P& y, const Pair& kernel, const Pair& stride,
              const Pair& dilation, const Pair& lo, const Pair& hi) {
             self.max_pool2d(operand(x), operand(y),
                             pool_windows(kernel, stride, dilation, lo, hi, y));
           })
      .def("avg_pool2d",
           [](Program& self, const P& x, const P& y, const Pair& kernel, const Pair& stride,
              const Pair& dilation, const Pair& lo, const Pair& hi, bool count_include_pad) {
             self.avg_pool2d(operand(x), operand(y),
                             pool_windows(kernel, stride, dilation, lo, hi, y), count_include_pad);
           })
      .def("channel_affine",
           [](Program& self, const P& x, const P& scale, const P& shift, const P& y,
              const std::string& act, float alpha, float beta) {
             self.channel_affine(operand(x), operand(scale), operand(shift), operand(y),
                                 activation_named(act, alpha, beta));
           })
      .def("lrn", [](Program& self, const P& x, const P& y, int size, float alpha, float beta,
                     float k) { self.lrn(operand(x), operand(y), size, alpha, beta, k); })
      .def(
          "layer_norm",
          [](Program& self, const P& x, const P& scale, const P& shift, const P& y, float epsilon) {
            self.layer_norm(operand(x), operand(scale), operand(shift), operand(y), epsilon);
          })
      .def("softmax", [](Program& self, const P& x, const P& y,
                         int axis) { self.softmax(operand(x), operand(y), axis); })
      .def("reduce",
           [](Program& self, const P& x, const P& y, const std::string& op) {
             self.reduce(operand(x), operand(y), reduce_op_named(op));
           })
      .def("resize2d",
           [](Program& self, const P& x, const P& y, const std::string& mode,
              const std::string& coordinates, const std::string& rounding, const ScalePair& scale_h,
              const ScalePair& scale_w) {
             self.resize2d(operand(x), operand(y),
                           resize_params_named(mode, coordinates, rounding, scale_h, scale_w));
           })
      .def("recurrent",
           [](Program& self, const P& x, const std::optional<P>& initial_h,
              const std::optional<P>& initial_c, const std::optional<P>& peepholes,
              const std::optional<P>& lengths, const P& y,
              const std::shared_ptr<const Recurrent>& layer, const P& workspace) {
             const auto h = optional_operand(initial_h), c = optional_operand(initial_c),
                        p = optional_operand(peepholes), l = optional_operand(lengths);
             const auto at = [](const std::optional<Operand>& o) { return o ? &*o : nullptr; };
             self.recurrent(layer, operand(x), at(h), at(c), at(p), at(l), operand(y),
                            operand(workspace));
           })
      .def("copy", [](Program& self, const P& x, const P& y) { self.copy(operand(x), operand(y)); })
      .def("fill", [](Program& self, const P& y, float value) { self.fill(operand(y), value); })
      .def("call", &add_call, py::arg("operands"), py::arg("function"));
}

void bind_quantized_steps(py::class_<Program, std::shared_ptr<Program>>& program) {
  using P = PlanOperand;
  using Scaled = std::tuple<float, int32_t>;  // a scale and a zero point
  static constexpr auto quantization = [](const Scaled& q) {
    return Quantization{std::get<0>(q), std::get<1>(q)};
  };
  program
      .def("quantize",
           [](Program& self, const P& x, const P& scale, const P& zero, const P& y) {
             self.quantize(operand(x), operand(scale), operand(zero), operand(y));
           })
      .def("dequantize",
           [](Program& self, const P& x, const P& scale, const std::optional<P>& zero, const P& y) {
             const std::optional<Operand> z = optional_operand(zero);
             self.dequantize(operand(x), operand(scale), z ? &*z : nullptr, operand(y));
           })
      .def("dynamic_range", [](Program& self, const P& x,
                               const P& y) { self.dynamic_range(operand(x), operand(y)); })
      .def("lookup", [](Program& self, const P& x, const P& table,
                        const P& y) { self.lookup(operand(x), operand(table), operand(y)); })
      .def("quantized_binary",
           [](Program& self, const P& a, const P& b, const P& y, const std::string& op,
              const Scaled& from_a, const Scaled& from_b, const Scaled& to) {
             self.quantized_binary(operand(a), operand(b), operand(y), binary_op_named(op),
                                   quantization(from_a), quantization(from_b), quantization(to));
           })
      .def("quantized_avg_pool2d",
           [](Program& self, const P& x, const P& y, const Pair& kernel, const Pair& stride,
              const Pair& dilation, const Pair& lo, const Pair& hi, bool count_include_pad,
              const Scaled& from, const Scaled& to) {
             self.quantized_avg_pool2d(operand(x), operand(y),
                                       pool_windows(kernel, stride, dilation, lo, hi, y),
                                       count_include_pad, quantization(from), quantization(to));
           });
}

}  // namespace

void bind_program(py::module_& m) {
  py::class_<PlannedConv> conv(m, "PlannedConv");
  conv.def(py::init(&bind_shapes), py::arg("conv"), py::arg("x"), py::arg("residual"), py::arg("y"),
           py::arg("threads"), py::keep_alive<1, 2>());
  bind_planned(conv);
  py::class_<PlannedIntegerConv> integer_conv(m, "PlannedIntegerConv");
  integer_conv.def(py::init(&bind_integer), py::arg("conv"), py::arg("x"), py::arg("y"),
                   py::arg("threads"), py::keep_alive<1, 2>());
  bind_planned(integer_conv);

  py::class_<ArenaPool, std::shared_ptr<ArenaPool>>(m, "ArenaPool")
      .def(py::init([] { return std::make_shared<ArenaPool>(); }))
      .def_property_readonly("bytes", &ArenaPool::bytes);

  py::class_<Program, std::shared_ptr<Program>> program(m, "Program");
  program
      .def(py::init([](std::shared_ptr<ArenaPool> pool, dim_t arena, const Dims& inputs,
                       const Dims& outputs) {
             const CountAllocations count;
             return std::make_shared<Program>(std::move(pool), arena, inputs, outputs);
           }),
           py::arg("pool"), py::arg("arena"), py::arg("inputs"), py::arg("outputs"))
      .def("add_constant", &add_constant, py::arg("array"), py::keep_alive<1, 2>());
  bind_run(program);
  bind_steps(program);
  bind_quantized_steps(program);

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
}

}  // namespace fastconv
