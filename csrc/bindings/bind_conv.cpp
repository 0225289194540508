// L6 bindings: _core.Conv, hop two of conv2d: from arrays to pointers, strides and the output,
// without the GIL; and the same as a step of a program.
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "bindings/bind.h"
#include "bindings/bound_cache.h"
#include "bindings/planned.h"
#include "conv/conv2d.h"
#include "core/check.h"
#include "kernels/dispatch.h"

namespace py = pybind11;

namespace fastconv {
namespace {

void spread(const char* name, const Sizes& values, int spatial, dim_t* out) {
  FC_CHECK(static_cast<int>(values.size()) == spatial, ArgumentError, name, ": expected ", spatial,
           " integers, got ", values.size());
  for (int i = 0; i < spatial; ++i) out[kMaxSpatial - spatial + i] = values[static_cast<size_t>(i)];
}

Signs signs_of(float zero, float nan) {
  const auto is_sign = [](float sign) { return sign == -1 || sign == 0 || sign == 1; };
  FC_CHECK(is_sign(zero), ArgumentError, "signs: expected -1, 0 or 1 of zero, got ", zero);
  FC_CHECK(is_sign(nan) || std::isnan(nan), ArgumentError,
           "signs: expected -1, 0, 1 or NaN of NaN, got ", nan);
  return {true, zero, nan};
}

using CachedConv = BoundCache<Conv, BoundConv>;

}  // namespace

ConvParams conv_params(const View& w, const ConvArguments& a) {
  FC_CHECK(a.spatial >= 0 && a.spatial <= kMaxSpatial, ArgumentError,
           "spatial: expected 0 to 3, got ", a.spatial);
  FC_CHECK(w.rank == a.spatial + 2, ShapeError, "w: expected ", a.spatial + 2, " dimensions, got ",
           w.rank);
  FC_CHECK(a.groups >= 1, ArgumentError, "groups: expected at least 1, got ", a.groups);
  ConvParams p;
  p.spatial = a.spatial;
  p.transposed = a.transposed;
  p.auto_pad = auto_pad_named(a.auto_pad);
  p.groups = a.groups;
  p.oc = a.transposed ? w.shape[1] * a.groups : w.shape[0];
  p.ic = a.transposed ? w.shape[0] : w.shape[1] * a.groups;
  for (int i = 0; i < a.spatial; ++i) p.kernel[kMaxSpatial - a.spatial + i] = w.shape[2 + i];
  spread("stride", a.stride, a.spatial, p.stride);
  spread("padding", a.padding_lo, a.spatial, p.pad_lo);
  spread("padding", a.padding_hi, a.spatial, p.pad_hi);
  spread("dilation", a.dilation, a.spatial, p.dilation);
  spread("output_padding", a.output_padding, a.spatial, p.output_padding);
  check_params(p);
  return p;
}

py::tuple out_shape_of(const ConvShape& s, size_t rank) {
  py::tuple out(rank);
  out[0] = s.n;
  out[1] = s.oc;
  for (size_t i = 2; i < rank; ++i) out[i] = s.out[kMaxSpatial - rank + i];
  return out;
}

void check_result(const char* name, const View& v, const ConvShape& s, int rank) {
  View expected;
  expected.rank = rank;
  expected.shape[0] = s.n;
  expected.shape[1] = s.oc;
  for (int i = 2; i < rank; ++i) expected.shape[i] = s.out[kMaxSpatial - rank + i];
  const bool equal = v.rank == rank && std::equal(v.shape, v.shape + rank, expected.shape);
  FC_CHECK(equal, ShapeError, name, ": expected shape ", shape_string(expected), ", got ",
           shape_string(v));
}

const Conv& conv_of(const py::object& conv) { return conv.cast<const CachedConv&>().conv(); }

namespace {

void bind_planned_conv(py::module_& m, Steps& steps) {
  bind_planned<BoundConv>(m, "PlannedConv")
      .def(py::init([](const CachedConv& conv, const PlanView& x,
                       const std::optional<PlanView>& residual, const PlanView& y, int threads) {
             const CountAllocations count;
             const Caller caller(threads);
             const View in = view_of(x), out = view_of(y),
                        r = residual ? view_of(*residual) : View{};
             const Conv& c = conv.conv();
             FC_CHECK(r.element == Element::f32, ArgumentError, "residual: expected f32, got ",
                      element_name(r.element));
             return planned(c, in, out, c.bind(in, out, residual ? &r : nullptr));
           }),
           py::arg("conv"), py::arg("x"), py::arg("residual"), py::arg("y"), py::arg("threads"),
           py::keep_alive<1, 2>());
  steps.def(
      "conv",
      [](Program& self, const Operand& x, const std::optional<Operand>& residual, const Operand& y,
         const Planned<BoundConv>& conv, const Operand& workspace) {
        expect_workspace(*conv.bound, workspace);
        self.add({{&x, {conv.x_element}},
                  pointer_to(residual),
                  {&y, {conv.y_element}},
                  {&workspace, {Element::u8}}},
                 [=, bound = conv.bound](Slots slots) {
                   bound->run(x.at(slots).data,
                              residual ? residual->at(slots).as<float>() : nullptr,
                              y.at(slots).data, bytes_at(slots, workspace));
                 });
      },
      py::keep_alive<1, 5>());
}

}  // namespace

void bind_conv(py::module_& m, Steps& steps) {
  py::class_<CachedConv> conv(m, "Conv");
  bind_choice(conv);
  conv.def(py::init([](const py::array& w, const std::optional<py::array>& bias, int spatial,
                       const Sizes& stride, const Sizes& padding_lo, const Sizes& padding_hi,
                       const Sizes& dilation, dim_t groups, const std::string& auto_pad,
                       bool transposed, const Sizes& output_padding, const std::string& act,
                       float alpha, float beta, const std::string& precision, bool planar,
                       const std::string& algorithm, const Sizes& x_shape, bool once, bool borrow,
                       const std::map<std::string, py::array>& stored,
                       const std::optional<std::pair<float, float>>& signs) {
             const View weights = input_view("w", w);
             const bool readable = w.flags() & py::array::c_style;
             FC_CHECK(readable || !stored.empty(), ArgumentError,
                      "w: expected a C-contiguous array");
             ConvParams p = conv_params(weights, {spatial, stride, padding_lo, padding_hi, dilation,
                                                  groups, auto_pad, transposed, output_padding});
             FC_CHECK(precision == "fast" || precision == "exact" || precision == "bf16",
                      ArgumentError, "precision: expected 'fast', 'exact' or 'bf16', got '",
                      precision, "'");
             p.exact = precision == "exact";
             p.bf16 = precision == "bf16";
             p.planar = planar;
             if (signs) p.signs = signs_of(signs->first, signs->second);
             std::vector<float> dense_bias;
             if (bias) {
               const View b = input_view("bias", *bias);
               FC_CHECK(b.rank == 1 && b.shape[0] == p.oc, ShapeError, "bias: expected shape (",
                        p.oc, ",), got ", shape_string(b));
               for (dim_t i = 0; i < p.oc; ++i)
                 dense_bias.push_back(b.as<float>()[i * b.stride[0]]);
             }
             const Activation activation = activation_named(act, alpha, beta);
             std::vector<StoredWeights> packed;
             for (const auto& [name, array] : stored) {
               FC_CHECK(array.ndim() == 1 && (array.flags() & py::array::c_style), ShapeError,
                        "stored: expected contiguous vectors, got ", array.ndim(), " dimensions");
               FC_CHECK(reinterpret_cast<uintptr_t>(array.data()) % sizeof(float) == 0,
                        ArgumentError, "stored: expected aligned vectors");
               packed.push_back({name, array.data(), array.nbytes()});
             }
             std::unique_ptr<CachedConv> conv;
             {
               const GilRelease unlocked;
               conv = std::make_unique<CachedConv>(p, readable ? weights.as<float>() : nullptr,
                                                   bias ? dense_bias.data() : nullptr, activation,
                                                   algorithm, x_shape, once, borrow, packed);
             }
             if (borrow) conv->keep(w);
             for (const auto& [name, array] : stored) conv->keep(array);
             return conv;
           }),
           py::arg("w"), py::arg("bias"), py::kw_only(), py::arg("spatial"), py::arg("stride"),
           py::arg("padding_lo"), py::arg("padding_hi"), py::arg("dilation"), py::arg("groups"),
           py::arg("auto_pad"), py::arg("transposed"), py::arg("output_padding"), py::arg("act"),
           py::arg("alpha"), py::arg("beta"), py::arg("precision"), py::arg("planar") = false,
           py::arg("algorithm"), py::arg("x_shape") = Sizes(), py::arg("once") = false,
           py::arg("borrow") = false, py::arg("stored") = std::map<std::string, py::array>(),
           py::arg("signs") = py::none())
      .def(
          "run",
          [](CachedConv& self, const py::array& x, const py::array& y,
             const std::optional<py::array>& residual) {
            const View in = input_view("x", x), out = output_view("out", y);
            const ConvShape s = self.conv().shape(in.rank, in.shape);
            check_result("out", out, s, in.rank);
            View added;
            if (residual) {
              added = input_view("residual", *residual);
              check_result("residual", added, s, in.rank);
            }
            if (out.size() == 0) return;
            const View* const third = residual ? &added : nullptr;
            interruptible([&] {
              self.run(
                  {&in, &out, third}, [&](const Conv& conv) { return conv.bind(in, out, third); },
                  [&](const BoundConv& bound, std::byte* workspace) {
                    bound.run(in.data, third ? third->as<float>() : nullptr, out.data, workspace);
                  });
            });
          },
          py::arg("x"), py::arg("y"), py::arg("residual") = py::none())
      .def("reads_bf16",
           [](const CachedConv& self, const Sizes& x_shape) {
             const Conv& c = self.conv();
             return c.reads_bf16(c.shape(static_cast<int>(x_shape.size()), x_shape.data()));
           })
      .def("stores_bf16",
           [](const CachedConv& self, const Sizes& x_shape) {
             const Conv& c = self.conv();
             return c.stores_bf16(c.shape(static_cast<int>(x_shape.size()), x_shape.data()));
           })
      .def_property_readonly("packing",
                             [](const CachedConv& self) { return self.conv().packing(); })
      .def(
          "packed",
          [](const py::object& self) {
            py::dict out;
            for (const PackedWeights& p : self.cast<const CachedConv&>().conv().packed()) {
              py::list arrays;
              for (const PackedArray& a : p.arrays) {
                py::array array(dtype_of(a.element), {a.size}, {}, a.data, self);
                array.attr("setflags")(py::arg("write") = false);
                arrays.append(array);
              }
              out[py::str(p.algorithm)] = arrays;
            }
            return out;
          },
          "Views of the packed weights, by algorithm.");
  bind_planned_conv(m, steps);
  m.def("algorithms", &algorithm_names);
  m.def(
      "packing_id", [] { return packing_id(active_tier()); },
      "How weights are packed for the tier in use: what stored ones must be packed as to serve.");
}

}  // namespace fastconv
