// L6 bindings: _core.IntegerConv, a convolution of 8-bit integers; and the same as a step of a
// program.
#include <pybind11/stl.h>

#include <optional>
#include <vector>

#include "bindings/bind.h"
#include "bindings/bound_cache.h"
#include "bindings/planned.h"
#include "conv/integer_conv.h"
#include "core/check.h"

namespace py = pybind11;

namespace fastconv {
namespace {

using CachedIntegerConv = BoundCache<IntegerConv, IntegerConvPlan>;

std::unique_ptr<CachedIntegerConv> make(const py::array& w, const std::optional<py::array>& bias,
                                        const ConvArguments& arguments, const py::array& w_zero,
                                        bool x_signed, const std::optional<int32_t>& x_zero,
                                        const py::dtype& out, const std::optional<py::array>& scale,
                                        const std::optional<py::array>& shift, float low,
                                        float high, int32_t zero, const std::string& algorithm) {
  const View weights = byte_view("w", w);
  FC_CHECK(w.flags() & py::array::c_style, ArgumentError, "w: expected a C-contiguous array");
  const ConvParams p = conv_params(weights, arguments);
  IntegerResult result;
  result.type = store_as_named("out", out);
  result.bias = vector_of<int32_t>("bias", bias, p.oc);
  result.scale = vector_of<float>("scale", scale, p.oc);
  result.shift = vector_of<float>("shift", shift, p.oc);
  result.low = low;
  result.high = high;
  result.zero = zero;
  const dim_t zeros = w_zero.size() == 1 ? 1 : p.oc;
  const IntegerWeights integer{static_cast<const uint8_t*>(weights.data),
                               weights.element == Element::s8,
                               vector_of<int32_t>("w_zero_point", w_zero, zeros), zeros};
  const GilRelease unlocked;
  return std::make_unique<CachedIntegerConv>(p, integer, x_signed, x_zero ? &*x_zero : nullptr,
                                             result, algorithm);
}

void run(CachedIntegerConv& self, const py::array& x, const py::array& y,
         const std::optional<int32_t>& x_zero) {
  const IntegerConv& conv = self.conv();
  const View in = byte_view("x", x);
  FC_CHECK((in.element == Element::s8) == conv.x_signed(), ArgumentError, "x: expected ",
           conv.x_signed() ? "int8" : "uint8", " values, got ",
           py::cast<std::string>(py::str(x.dtype())));
  FC_CHECK(conv.knows_x_zero() != x_zero.has_value(), ArgumentError,
           "x_zero_point: expected it of the plan or of the run, got ",
           x_zero ? "both" : "neither");
  FC_CHECK(store_as_named("out", y.dtype()) == conv.type() && y.writeable(), ArgumentError,
           "out: expected a writable array of the plan's type, got ",
           py::cast<std::string>(py::str(y.dtype())));
  const View out = input_view("out", y, element_of_dtype(y.dtype()));
  const ConvShape s = conv.shape(in.rank, in.shape);
  check_result("out", out, s, in.rank);
  if (out.size() == 0) return;
  interruptible([&] {
    self.run(
        {&in, &out, nullptr}, [&](const IntegerConv& c) { return c.bind(in, out); },
        [&](const IntegerConvPlan& plan, std::byte* workspace) {
          plan.run(in.data, x_zero ? &*x_zero : nullptr, out.data, workspace);
        });
  });
}

std::unique_ptr<Planned<IntegerConvPlan>> plan(const CachedIntegerConv& conv, const PlanView& x,
                                               const PlanView& y, int threads) {
  const CountAllocations count;
  const Caller caller(threads);
  static constexpr Element kElements[] = {Element::s32, Element::u8, Element::s8, Element::f32};
  const IntegerConv& c = conv.conv();
  const View in = view_of(x), out = view_of(y);
  const auto check = [](const char* name, const View& v, Element expected) {
    FC_CHECK(v.element == expected, ArgumentError, name, ": expected ", element_name(expected),
             ", got ", element_name(v.element));
  };
  check("x", in, c.x_signed() ? Element::s8 : Element::u8);
  check("y", out, kElements[static_cast<int>(c.type())]);
  return planned(c, in, out, c.bind(in, out));
}

// x_zero: one number of x's type, where a run tells.
void add_step(Program& program, const Operand& x, const std::optional<Operand>& x_zero,
              const Operand& y, const Planned<IntegerConvPlan>& conv, const Operand& workspace) {
  const IntegerConvPlan& plan = *conv.bound;
  expect_workspace(plan, workspace);
  const Element in = plan.x_element(), out = plan.y_element();
  FC_CHECK(x_zero.has_value() == !plan.knows_x_zero(), ArgumentError,
           "x_zero: expected it of the plan or of a run");
  program.add({{&x, {in}}, {pointer_to(x_zero), {in}}, {&y, {out}}, {&workspace, {Element::u8}}},
              [=, bound = conv.bound, is_signed = in == Element::s8](Slots slots) {
                int32_t zero = 0;
                if (x_zero) {
                  const uint8_t byte = *static_cast<const uint8_t*>(x_zero->at(slots).data);
                  zero = is_signed ? static_cast<int8_t>(byte) : byte;
                }
                bound->run(x.at(slots).data, x_zero ? &zero : nullptr, y.at(slots).data,
                           bytes_at(slots, workspace));
              });
}

}  // namespace

void bind_integer_conv(py::module_& m, Steps& steps) {
  py::class_<CachedIntegerConv> conv(m, "IntegerConv");
  bind_choice(conv);
  conv.def(py::init([](const py::array& w, const std::optional<py::array>& bias, int spatial,
                       const Sizes& stride, const Sizes& padding_lo, const Sizes& padding_hi,
                       const Sizes& dilation, dim_t groups, const std::string& auto_pad,
                       bool transposed, const Sizes& output_padding, const py::array& w_zero,
                       bool x_signed, const std::optional<int32_t>& x_zero, const py::dtype& out,
                       const std::optional<py::array>& scale, const std::optional<py::array>& shift,
                       float low, float high, int32_t zero, const std::string& algorithm) {
             return make(w, bias,
                         {spatial, stride, padding_lo, padding_hi, dilation, groups, auto_pad,
                          transposed, output_padding},
                         w_zero, x_signed, x_zero, out, scale, shift, low, high, zero, algorithm);
           }),
           py::arg("w"), py::arg("bias"), py::kw_only(), py::arg("spatial"), py::arg("stride"),
           py::arg("padding_lo"), py::arg("padding_hi"), py::arg("dilation"), py::arg("groups"),
           py::arg("auto_pad"), py::arg("transposed"), py::arg("output_padding"), py::arg("w_zero"),
           py::arg("x_signed"), py::arg("x_zero"), py::arg("out"), py::arg("scale"),
           py::arg("shift"), py::arg("low"), py::arg("high"), py::arg("zero"), py::arg("algorithm"))
      .def("run", &run, py::arg("x"), py::arg("y"), py::arg("x_zero") = py::none());
  bind_planned<IntegerConvPlan>(m, "PlannedIntegerConv")
      .def(py::init(&plan), py::arg("conv"), py::arg("x"), py::arg("y"), py::arg("threads"),
           py::keep_alive<1, 2>());
  steps.def("integer_conv", &add_step, py::keep_alive<1, 5>());
  m.def("integer_algorithms", &integer_algorithm_names);
}

}  // namespace fastconv
