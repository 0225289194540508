// L6 bindings: everything of csrc/nn. Shapes are checked here as far as memory safety goes;
// meanings (which paddings are allowed, overlap of outputs) are the callers', python/fastconv/ops
// and graph.
#include <pybind11/stl.h>

#include <array>

#include "bindings/bind.h"
#include "core/check.h"
#include "nn/eltwise.h"
#include "nn/layout.h"
#include "nn/norm.h"
#include "nn/pool.h"
#include "nn/reduce.h"
#include "nn/softmax.h"

namespace py = pybind11;

namespace fastconv {
namespace {

using Pair = std::array<dim_t, 2>;

void check_rank(const char* name, const View& v, int rank) {
  FC_CHECK(v.rank == rank, ShapeError, name, ": expected ", rank, " dimensions, got shape ",
           shape_string(v));
}

void check_same_shape(const char* name, const View& v, const View& like) {
  FC_CHECK(v.rank == like.rank && std::equal(v.shape, v.shape + v.rank, like.shape), ShapeError,
           name, ": expected shape ", shape_string(like), ", got ", shape_string(v));
}

// Images (n, c, height, width), y's first two sizes those of x.
void check_images(const View& x, const View& y) {
  check_rank("x", x, 4);
  check_rank("y", y, 4);
  FC_CHECK(y.shape[0] == x.shape[0] && y.shape[1] == x.shape[1], ShapeError, "y: expected shape (",
           x.shape[0], ", ", x.shape[1], ", height, width), got ", shape_string(y));
}

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

// y's size must be the one of some rounding: the kernels take their geometry from p and y.
void check_pool(const View& x, const View& y, const PoolShape& p) {
  check_images(x, y);
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

void bind_pools(py::module_& m) {
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

void bind_eltwise(py::module_& m) {
  m.def(
      "activate",
      [](const py::array& x, const py::array& y, const std::string& act, float alpha, float beta) {
        const View xv = input_view("x", x), yv = output_view("y", y);
        check_same_shape("y", yv, xv);
        const Activation activation = activation_named(act, alpha, beta);
        const GilRelease unlocked;
        activate(xv, yv, activation);
      },
      py::arg("x"), py::arg("y"), py::arg("act"), py::arg("alpha"), py::arg("beta"));
  m.def(
      "binary",
      [](const std::string& op, const py::array& a, const py::array& b, const py::array& y,
         const std::string& act, float alpha, float beta) {
        const View av = input_view("a", a), bv = input_view("b", b), yv = output_view("y", y);
        check_same_shape("a", av, yv);
        check_same_shape("b", bv, yv);
        const BinaryOp binary_op = binary_op_named(op);
        const Activation activation = activation_named(act, alpha, beta);
        const GilRelease unlocked;
        binary(binary_op, av, bv, yv, activation);
      },
      py::arg("op"), py::arg("a"), py::arg("b"), py::arg("y"), py::arg("act"), py::arg("alpha"),
      py::arg("beta"));
  m.def(
      "prelu",
      [](const py::array& x, const py::array& slope, const py::array& y) {
        const View xv = input_view("x", x), sv = input_view("slope", slope),
                   yv = output_view("y", y);
        check_same_shape("slope", sv, xv);
        check_same_shape("y", yv, xv);
        const GilRelease unlocked;
        prelu(xv, sv, yv);
      },
      py::arg("x"), py::arg("slope"), py::arg("y"));
}

void bind_norms(py::module_& m) {
  m.def(
      "channel_affine",
      [](const py::array& x, const py::array& scale, const py::array& shift, const py::array& y,
         const std::string& act, float alpha, float beta) {
        const View xv = input_view("x", x), yv = output_view("y", y);
        FC_CHECK(xv.rank >= 2, ShapeError, "x: expected at least 2 dimensions, got shape ",
                 shape_string(xv));
        check_same_shape("y", yv, xv);
        const float* scales = vector_of<float>("scale", scale, xv.shape[1]);
        const float* shifts = vector_of<float>("shift", shift, xv.shape[1]);
        const Activation activation = activation_named(act, alpha, beta);
        const GilRelease unlocked;
        channel_affine(xv, scales, shifts, yv, activation);
      },
      py::arg("x"), py::arg("scale"), py::arg("shift"), py::arg("y"), py::arg("act"),
      py::arg("alpha"), py::arg("beta"));
  m.def(
      "lrn",
      [](const py::array& x, const py::array& y, int size, float alpha, float beta, float k) {
        const View xv = input_view("x", x), yv = output_view("y", y);
        FC_CHECK(xv.rank >= 2, ShapeError, "x: expected at least 2 dimensions, got shape ",
                 shape_string(xv));
        check_same_shape("y", yv, xv);
        FC_CHECK(size >= 1, ArgumentError, "size: expected at least 1, got ", size);
        const GilRelease unlocked;
        lrn(xv, yv, size, alpha, beta, k);
      },
      py::arg("x"), py::arg("y"), py::arg("size"), py::arg("alpha"), py::arg("beta"), py::arg("k"));
  m.def(
      "layer_norm",
      [](const py::array& x, const py::array& scale, const py::array& shift, const py::array& y,
         float epsilon) {
        const View xv = input_view("x", x), yv = output_view("y", y);
        FC_CHECK(xv.rank >= 1, ShapeError, "x: expected at least 1 dimension, got none");
        check_same_shape("y", yv, xv);
        const int last = xv.rank - 1;
        for (const View* v : {&xv, &yv})
          FC_CHECK(v->stride[last] == 1 || v->shape[last] <= 1, ArgumentError,
                   "x, y: expected the last dimension to be contiguous");
        const dim_t factors = scale.size() == 1 ? 1 : xv.shape[last];
        const float* scales = vector_of<float>("scale", scale, factors);
        const float* shifts = vector_of<float>("shift", shift, factors);
        const GilRelease unlocked;
        layer_norm(xv, scales, shifts, factors > 1, yv, epsilon);
      },
      py::arg("x"), py::arg("scale"), py::arg("shift"), py::arg("y"), py::arg("epsilon"));
  m.def(
      "softmax",
      [](const py::array& x, const py::array& y, int axis) {
        const View xv = input_view("x", x), yv = output_view("y", y);
        check_same_shape("y", yv, xv);
        FC_CHECK(axis >= 0 && axis < xv.rank, ArgumentError, "axis: expected 0 to ", xv.rank - 1,
                 ", got ", axis);
        const GilRelease unlocked;
        softmax(xv, yv, axis);
      },
      py::arg("x"), py::arg("y"), py::arg("axis"));
}

void bind_rest(py::module_& m) {
  m.def(
      "reduce",
      [](const std::string& op, const py::array& x, const py::array& y) {
        const View xv = input_view("x", x), yv = output_view("y", y);
        check_rank("y", yv, xv.rank);
        for (int i = 0; i < xv.rank; ++i)
          FC_CHECK(yv.shape[i] == 1 || yv.shape[i] == xv.shape[i], ShapeError,
                   "y: expected the sizes of x, ", shape_string(xv), ", or 1, got ",
                   shape_string(yv));
        const ReduceOp reduce_op = reduce_op_named(op);
        const GilRelease unlocked;
        reduce(reduce_op, xv, yv);
      },
      py::arg("op"), py::arg("x"), py::arg("y"));
  m.def(
      "resize2d",
      [](const py::array& x, const py::array& y, const std::string& mode,
         const std::string& coordinates, const std::string& rounding, const ScalePair& scale_h,
         const ScalePair& scale_w) {
        const View xv = input_view("x", x), yv = output_view("y", y);
        check_images(xv, yv);
        FC_CHECK(yv.size() == 0 || xv.size() > 0, ShapeError,
                 "x: expected a height and width of at least 1, got shape ", shape_string(xv));
        const ResizeParams p = resize_params_named(mode, coordinates, rounding, scale_h, scale_w);
        const GilRelease unlocked;
        resize2d(xv, yv, p);
      },
      py::arg("x"), py::arg("y"), py::arg("mode"), py::arg("coordinates"), py::arg("rounding"),
      py::arg("scale_h"), py::arg("scale_w"));
  m.def(
      "copy",
      [](const py::array& src, const py::array& dst) {
        const View sv = input_view("src", src), dv = output_view("dst", dst);
        check_same_shape("dst", dv, sv);
        const GilRelease unlocked;
        copy(sv, dv);
      },
      py::arg("src"), py::arg("dst"));
  m.def(
      "fill",
      [](const py::array& dst, float value) {
        const View dv = output_view("dst", dst);
        const GilRelease unlocked;
        fill(dv, value);
      },
      py::arg("dst"), py::arg("value"));
}

}  // namespace

void bind_nn(py::module_& m) {
  bind_eltwise(m);
  bind_pools(m);
  bind_norms(m);
  bind_rest(m);
}

}  // namespace fastconv
