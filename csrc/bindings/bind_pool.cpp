// L6 bindings: csrc/nn/pool.h, functions of arrays and steps of programs.
#include <pybind11/stl.h>

#include <algorithm>
#include <array>

#include "bindings/bind.h"
#include "bindings/steps.h"
#include "core/check.h"
#include "nn/pool.h"

namespace py = pybind11;

namespace fastconv {
namespace {

using Pair = std::array<dim_t, 2>;

PoolShape pool_of(const Pair& kernel, const Pair& stride, const Pair& dilation, const Pair& pad_lo,
                  const Pair& pad_hi) {
  PoolShape p;
  std::copy(kernel.begin(), kernel.end(), p.kernel);
  std::copy(stride.begin(), stride.end(), p.stride);
  std::copy(dilation.begin(), dilation.end(), p.dilation);
  std::copy(pad_lo.begin(), pad_lo.end(), p.pad_lo);
  std::copy(pad_hi.begin(), pad_hi.end(), p.pad_hi);
  return p;
}

// The same, with the size of a result.
PoolShape pool_into(const View& y, const Pair& kernel, const Pair& stride, const Pair& dilation,
                    const Pair& pad_lo, const Pair& pad_hi) {
  expect_rank("y", y, 4);
  PoolShape p = pool_of(kernel, stride, dilation, pad_lo, pad_hi);
  std::copy(y.shape + 2, y.shape + 4, p.out);
  return p;
}

// y's size must be the one of some rounding: the kernels take their geometry from p and y.
void check_pool(const View& x, const View& y, const PoolShape& p) {
  expect_images(x, y);
  for (int i = 0; i < 2; ++i) {
    const dim_t out = y.shape[2 + i];
    bool fits = false;
    for (const bool ceil_mode : {false, true})
      fits = fits ||
             pool_shape(p, x.shape[2], x.shape[3], ceil_mode, AutoPad::explicit_).out[i] == out;
    FC_CHECK(fits, ShapeError, "y: expected the pooling layer's output size, got shape ",
             shape_string(y));
  }
}

}  // namespace

void bind_pool(py::module_& m, Steps& steps) {
  m.def(
      "max_pool2d",
      [](const py::array& x, const py::array& y, const Pair& kernel, const Pair& stride,
         const Pair& dilation, const Pair& pad_lo, const Pair& pad_hi) {
        const View xv = input_view("x", x), yv = output_view("y", y);
        const PoolShape p = pool_of(kernel, stride, dilation, pad_lo, pad_hi);
        check_pool(xv, yv, p);
        const GilRelease unlocked;
        max_pool2d(xv, yv, p);
      },
      py::arg("x"), py::arg("y"), py::arg("kernel"), py::arg("stride"), py::arg("dilation"),
      py::arg("pad_lo"), py::arg("pad_hi"));
  steps.def("max_pool2d",
            [](Program& self, const Operand& x, const Operand& y, const Pair& kernel,
               const Pair& stride, const Pair& dilation, const Pair& pad_lo, const Pair& pad_hi) {
              const PoolShape p = pool_into(y.view, kernel, stride, dilation, pad_lo, pad_hi);
              self.add({{&y, kOfKernels}, {&x, {y.view.element}}},
                       [=](Slots slots) { max_pool2d(x.at(slots), y.at(slots), p); });
            });
  m.def(
      "avg_pool2d",
      [](const py::array& x, const py::array& y, const Pair& kernel, const Pair& stride,
         const Pair& pad_lo, const Pair& pad_hi, bool count_include_pad) {
        const View xv = input_view("x", x), yv = output_view("y", y);
        const PoolShape p = pool_of(kernel, stride, {1, 1}, pad_lo, pad_hi);
        check_pool(xv, yv, p);
        const GilRelease unlocked;
        avg_pool2d(xv, yv, p, count_include_pad);
      },
      py::arg("x"), py::arg("y"), py::arg("kernel"), py::arg("stride"), py::arg("pad_lo"),
      py::arg("pad_hi"), py::arg("count_include_pad"));
  steps.def("avg_pool2d", [](Program& self, const Operand& x, const Operand& y, const Pair& kernel,
                             const Pair& stride, const Pair& dilation, const Pair& pad_lo,
                             const Pair& pad_hi, bool count_include_pad) {
    const PoolShape p = pool_into(y.view, kernel, stride, dilation, pad_lo, pad_hi);
    self.add({&x, &y},
             [=](Slots slots) { avg_pool2d(x.at(slots), y.at(slots), p, count_include_pad); });
  });
  steps.def("quantized_avg_pool2d",
            [](Program& self, const Operand& x, const Operand& y, const Pair& kernel,
               const Pair& stride, const Pair& dilation, const Pair& pad_lo, const Pair& pad_hi,
               bool count_include_pad, const Scaled& from, const Scaled& to) {
              expect_rank("x", x.view, 4);
              const PoolShape p = pool_into(y.view, kernel, stride, dilation, pad_lo, pad_hi);
              const Quantization in = quantization(from), out = quantization(to);
              self.add({{&y, kBytes}, {&x, {y.view.element}}}, [=](Slots slots) {
                quantized_avg_pool2d(x.at(slots), in, y.at(slots), out, p, count_include_pad);
              });
            });
  m.def(
      "pool_out_shape",
      [](dim_t ih, dim_t iw, const Pair& kernel, const Pair& stride, const Pair& dilation,
         const Pair& pad_lo, const Pair& pad_hi, bool ceil_mode, const std::string& auto_pad) {
        const PoolShape p = pool_shape(pool_of(kernel, stride, dilation, pad_lo, pad_hi), ih, iw,
                                       ceil_mode, auto_pad_named(auto_pad));
        return py::make_tuple(p.out[0], p.out[1], py::make_tuple(p.pad_lo[0], p.pad_lo[1]),
                              py::make_tuple(p.pad_hi[0], p.pad_hi[1]));
      },
      py::arg("ih"), py::arg("iw"), py::arg("kernel"), py::arg("stride"), py::arg("dilation"),
      py::arg("pad_lo"), py::arg("pad_hi"), py::arg("ceil_mode"), py::arg("auto_pad"));
}

}  // namespace fastconv
