// L6 bindings: the experiments of csrc/experiments and the product with block sizes of the
// caller's; python/fastconv/lab/sweeps is the caller.
#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/bind.h"
#include "conv/conv2d.h"
#include "core/buffer.h"
#include "core/check.h"
#include "core/cpu.h"
#include "core/parallel.h"
#include "experiments/staircase.h"
#include "experiments/tiles.h"
#include "gemm/blocking.h"
#include "gemm/gemm.h"
#include "kernels/dispatch.h"

namespace py = pybind11;

namespace fastconv {
namespace {

using Sizes = std::tuple<dim_t, dim_t, dim_t>;  // MC, KC, NC

Sizes as_sizes(const Blocking& b) { return {b.MC, b.KC, b.NC}; }

View dense(const char* name, const View& v, dim_t rows, dim_t cols) {
  FC_CHECK(v.rank == 2 && v.shape[0] == rows && v.shape[1] == cols, ShapeError, name,
           ": expected shape (", rows, ", ", cols, "), got ", shape_string(v));
  FC_CHECK((v.stride[1] == 1 || cols == 1) && (v.stride[0] == cols || rows == 1), ArgumentError,
           name, ": expected a C-contiguous array");
  return v;
}

// a, b and out of a product, all three dense and none of them empty.
DenseProduct dense_product(const py::array& a, const py::array& b, const py::array& out) {
  const View av = input_view("a", a), bv = input_view("b", b), ov = output_view("out", out);
  FC_CHECK(av.rank == 2 && bv.rank == 2, ShapeError, "a, b: expected 2 dimensions each, got ",
           av.rank, " and ", bv.rank);
  const dim_t M = av.shape[0], K = av.shape[1], N = bv.shape[1];
  FC_CHECK(M > 0 && N > 0 && K > 0, ShapeError, "a, b: expected no empty dimension, got ",
           shape_string(av), " and ", shape_string(bv));
  return {M,
          N,
          K,
          dense("a", av, M, K).as<float>(),
          dense("b", bv, K, N).as<float>(),
          dense("out", ov, M, N).as<float>()};
}

std::vector<std::pair<std::string, std::string>> stair_steps() {
  std::vector<std::pair<std::string, std::string>> named;
  for (const StairStep& step : staircase()) named.emplace_back(step.name, step.idea);
  return named;
}

void stair_run(const std::string& name, const py::array& a, const py::array& b,
               const py::array& out) {
  const DenseProduct product = dense_product(a, b, out);
  for (const StairStep& step : staircase())
    if (name == step.name) {
      const GilRelease unlocked;
      return run_step(step, product);
    }
  throw ArgumentError(message("name: expected one of stair_steps(), got '", name, "'"));
}

void blocked(const py::array& a, const py::array& b, const py::array& out, dim_t MC, dim_t KC,
             dim_t NC) {
  FC_CHECK(MC >= 1 && KC >= 1 && NC >= 1, ArgumentError,
           "MC, KC, NC: expected at least 1 each, got ", MC, ", ", KC, ", ", NC);
  const DenseProduct p = dense_product(a, b, out);
  const dim_t a_shape[] = {p.M, p.K}, b_shape[] = {p.K, p.N}, c_shape[] = {p.M, p.N};
  const GilRelease unlocked;
  gemm_blocked(row_major(const_cast<float*>(p.a), 2, a_shape),
               row_major(const_cast<float*>(p.b), 2, b_shape), row_major(p.c, 2, c_shape),
               {MC, KC, NC});
}

py::dict gemm_blockings(dim_t K) {
  FC_CHECK(K >= 1, ArgumentError, "K: expected at least 1, got ", K);
  py::dict found;
  found["shipped"] = as_sizes(gemm_blocking(kernels().gemm, K));
  found["textbook"] = as_sizes(textbook_blocking(kernels().gemm));
  return found;
}

// The widths of the panels that a B of N columns is packed in.
std::vector<int> panel_widths(dim_t N) {
  FC_CHECK(N >= 1 && N <= 1 << 20, ArgumentError, "N: expected 1 to 2^20, got ", N);
  const GemmKernels& g = kernels().gemm;
  std::vector<int> widths;
  for (dim_t p = 0; p < panel_count(g, N); ++p) widths.push_back(panel_width(g, N, p));
  return widths;
}

// (width, most rows) of each kind of panel, narrowest first.
std::vector<std::pair<int, int>> register_tiles() {
  const GemmKernels& g = kernels().gemm;
  std::vector<std::pair<int, int>> tiles;
  for (int i = 1; i <= 3; ++i) {
    const int width = i * g.nr / 2;
    tiles.emplace_back(width, panel_kernels(g, width).mr);
  }
  return tiles;
}

void tile_run(const py::array& a, const py::array& b, const py::array& out, dim_t repeats) {
  FC_CHECK(repeats >= 1, ArgumentError, "repeats: expected at least 1, got ", repeats);
  const DenseProduct p = dense_product(a, b, out);
  const GemmKernels& g = kernels().gemm;
  FC_CHECK(p.N % (g.nr / 2) == 0 && p.N <= 3 * g.nr / 2, ShapeError,
           "b: expected the width of a panel, a multiple of ", g.nr / 2, " up to ", 3 * g.nr / 2,
           ", got ", p.N);
  const int width = static_cast<int>(p.N), most = panel_kernels(g, width).mr;
  FC_CHECK(p.M <= most, ShapeError, "a: expected at most ", most, " rows, got ", p.M);
  const GilRelease unlocked;
  repeat_tile(g, width, static_cast<int>(p.M), p.K, p.a, p.b, p.c, repeats);
}

// B packed beforehand, as the weights of a convolution are, and multiplied without splitting K.
class PackedMatrix {
 public:
  explicit PackedMatrix(const py::array& b) : packed_(pack(input_view("b", b))) {}

  void multiply(const py::array& a, const py::array& out) const {
    const View av = input_view("a", a), ov = output_view("out", out);
    FC_CHECK(av.rank == 2, ShapeError, "a: expected 2 dimensions, got ", av.rank);
    const dim_t M = av.shape[0];
    const dim_t zero = 0;
    const ProductGroup group{&packed_, 0, 0, nullptr};
    Product p;
    p.M = M;
    p.lda = packed_.K();
    p.tap_offset = &zero;
    p.k_run = packed_.K();
    p.ldc = packed_.N();
    p.groups = &group;
    p.group_count = 1;
    const float* rows = dense("a", av, M, packed_.K()).as<float>();
    float* c = dense("out", ov, M, packed_.N()).as<float>();
    const GilRelease unlocked;
    fastconv::multiply(p, rows, nullptr, c);
  }

 private:
  static PackedB pack(const View& b) {
    FC_CHECK(b.rank == 2, ShapeError, "b: expected 2 dimensions, got ", b.rank);
    PackedB packed(kernels().gemm, b.shape[0], b.shape[1]);
    packed.pack(0, b.shape[0], b.as<float>(), b.stride[0], b.stride[1]);
    return packed;
  }
  PackedB packed_;
};

// A planned convolution of two arrays, in blocks of the caller's sizes or of the plan's own.
class BlockedConv {
 public:
  using Block = std::tuple<std::string, dim_t, dim_t, dim_t>;

  BlockedConv(const py::object& conv, const py::array& x, const py::array& y,
              const std::vector<dim_t>& sizes)
      : conv_(conv),
        arrays_(py::make_tuple(x, y)),
        x_(input_view("x", x)),
        y_(output_view("y", y)) {
    const Conv& plan = conv_of(conv);
    const ConvShape s = plan.shape(x_.rank, x_.shape);
    bool fits = y_.rank == x_.rank && y_.size() > 0 && y_.shape[0] == s.n && y_.shape[1] == s.oc;
    for (int i = 2; fits && i < x_.rank; ++i)
      fits = y_.shape[i] == s.out[kMaxSpatial - x_.rank + i];
    FC_CHECK(fits, ShapeError, "y: expected the shape of a result that is not empty, got ",
             shape_string(y_));
    bound_ = plan.bind(x_, y_, nullptr);
    if (!sizes.empty()) {
      const std::vector<BlockSize> own = bound_->blocks();
      FC_CHECK(sizes.size() == own.size(), ArgumentError, "sizes: expected ", own.size(), ", got ",
               sizes.size());
      for (size_t i = 0; i < own.size(); ++i)
        FC_CHECK(sizes[i] == own[i].most ||
                     (sizes[i] > 0 && sizes[i] < own[i].most && sizes[i] % own[i].step == 0),
                 ArgumentError, "sizes: expected ", own[i].most, " or a smaller multiple of ",
                 own[i].step, " ", own[i].name, ", got ", sizes[i]);
      bound_ = plan.bind(x_, y_, nullptr, sizes);
    }
    workspace_ = Buffer<std::byte>(bound_->workspace());
  }

  std::vector<Block> blocks() const {
    std::vector<Block> found;
    for (const BlockSize& b : bound_->blocks()) found.emplace_back(b.name, b.size, b.step, b.most);
    return found;
  }
  void run() {
    const GilRelease unlocked;
    bound_->run(x_.data, nullptr, y_.data, workspace_.data());
  }

 private:
  py::object conv_;  // its packed weights, and the arrays, live as long
  py::tuple arrays_;
  View x_, y_;
  std::unique_ptr<const BoundConv> bound_;
  Buffer<std::byte> workspace_;
};

}  // namespace

void bind_sweep(py::module_& m) {
  m.def("stair_steps", &stair_steps,
        "(name, idea) of each step from the naive product to the register tile.");
  m.def("stair_run", &stair_run, py::arg("name"), py::arg("a"), py::arg("b"), py::arg("out"),
        "out = a @ b by one of them.");
  m.def("gemm_blocked", &blocked, py::arg("a"), py::arg("b"), py::arg("out"), py::arg("MC"),
        py::arg("KC"), py::arg("NC"), "out = a @ b by gemm's five loops in blocks of these sizes.");
  m.def("gemm_blockings", &gemm_blockings, py::arg("K"),
        "(MC, KC, NC) that gemm takes for this K, and the textbook's.");
  m.def("panel_widths", &panel_widths, py::arg("N"), "Widths of the panels of a B of N columns.");
  m.def("register_tiles", &register_tiles, "(width, most rows) of each kind of panel.");
  m.def("tile_run", &tile_run, py::arg("a"), py::arg("b"), py::arg("out"), py::arg("repeats"),
        "out = a @ b by one register tile of a.shape[0] x b.shape[1], over and over.");
  py::class_<PackedMatrix>(m, "PackedMatrix", "A matrix B packed for products A B.")
      .def(py::init<const py::array&>(), py::arg("b"))
      .def("multiply", &PackedMatrix::multiply, py::arg("a"), py::arg("out"), "out = a @ b.");
  py::class_<BlockedConv>(m, "BlockedConv", "A convolution of x into y in blocks of given sizes.")
      .def(py::init<const py::object&, const py::array&, const py::array&,
                    const std::vector<dim_t>&>(),
           py::arg("conv"), py::arg("x"), py::arg("y"), py::arg("sizes") = std::vector<dim_t>())
      .def_property_readonly("blocks", &BlockedConv::blocks,
                             "(name, size, step, most) of what is done together.")
      .def("run", &BlockedConv::run, "Compute y.");
}

}  // namespace fastconv
