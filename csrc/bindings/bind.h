// L6 bindings: the bind_* functions, one a topic, each in the file of its name, and the one way in
// for numpy arrays. Nothing is converted or copied here: an array of another dtype is an error, a
// strided one is a View with its strides.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/allocation.h"
#include "core/check.h"
#include "core/epilogue.h"
#include "core/float_mode.h"
#include "core/interrupt.h"
#include "core/ops.h"
#include "core/parallel.h"
#include "core/shape.h"
#include "core/view.h"
#include "kernels/kernel_table.h"

namespace fastconv {

class Program;
using Steps = pybind11::class_<Program, std::shared_ptr<Program>>;  // bindings/steps.h

void bind_core(pybind11::module_& m);
void bind_coding(pybind11::module_& m);
void bind_conv(pybind11::module_& m, Steps& steps);
void bind_eltwise(pybind11::module_& m, Steps& steps);
void bind_gemm(pybind11::module_& m, Steps& steps);
void bind_integer_conv(pybind11::module_& m, Steps& steps);
void bind_layout(pybind11::module_& m, Steps& steps);
void bind_norm(pybind11::module_& m, Steps& steps);
void bind_pool(pybind11::module_& m, Steps& steps);
void bind_qgemm(pybind11::module_& m);
void bind_quantized(Steps& steps);
void bind_recurrent(pybind11::module_& m, Steps& steps);
Steps bind_program(pybind11::module_& m);
void bind_roofline(pybind11::module_& m);
void bind_select(pybind11::module_& m, Steps& steps);
void bind_sweep(pybind11::module_& m);

// What numpy's dtypes are called here, and back; `other` for what no kernel reads.
Element element_of_dtype(const pybind11::dtype& dtype);
pybind11::dtype dtype_of(Element element);
// Views of arrays; `name` starts the message when the dtype, rank, alignment or writability is not
// what it must be. They point into the array: the caller keeps it alive (an argument of the running
// call is).
View input_view(const char* name, const pybind11::array& array, Element element = Element::f32);
View output_view(const char* name, const pybind11::array& array);
// Of 8-bit integers of either sign.
View byte_view(const char* name, const pybind11::array& array);
// The n elements of a vector without gaps; null without an array.
template <class T>
const T* vector_of(const char* name, const std::optional<pybind11::array>& array, dim_t n) {
  if (!array) return nullptr;
  const View v = input_view(name, *array, element_of<T>);
  FC_CHECK(v.rank == 1 && v.shape[0] == n && (v.stride[0] == 1 || n <= 1), ShapeError, name,
           ": expected a contiguous array of shape (", n, ",), got ", shape_string(v));
  return v.as<T>();
}
// What weights of that shape and the arguments of a convolution say; ArgumentError, ShapeError where
// they make none.
struct ConvArguments {
  int spatial;
  std::vector<dim_t> stride, padding_lo, padding_hi, dilation;
  dim_t groups;
  std::string auto_pad;
  bool transposed;
  std::vector<dim_t> output_padding;
};
ConvParams conv_params(const View& w, const ConvArguments& arguments);
class Conv;
const Conv& conv_of(const pybind11::object& conv);  // of a Python object _core.Conv
pybind11::tuple out_shape_of(const ConvShape& s, size_t rank);
// ShapeError unless a view has the shape of the result for an input of that rank.
void check_result(const char* name, const View& v, const ConvShape& s, int rank);
// Whether the byte ranges of two arrays overlap; where they do not, no element is shared.
bool bounds_overlap(const pybind11::array& a, const pybind11::array& b) noexcept;

// What the context of the running Python code says of threads (fastconv.threads), or 0.
int threads_of_context();
void set_threads_variable(pybind11::object variable);  // where it says so: a contextvars.ContextVar

// The GIL released for the work of a call, in place of pybind11::gil_scoped_release (gil.cpp has
// why), the threads that the context gives, and the kernels' floating-point mode.
class GilRelease {
 public:
  GilRelease() : caller_(threads_of_context()), state_(PyEval_SaveThread()) {}
  ~GilRelease();
  GilRelease(const GilRelease&) = delete;
  GilRelease& operator=(const GilRelease&) = delete;

 private:
  Caller caller_;
  PyThreadState* state_;
  FloatMode mode_;
  CountAllocations count_;
};

// Runs f so, and answers to signals meanwhile: where a handler raises (Ctrl-C), f is asked to end
// early and the exception is thrown here. For what can take a second.
bool run_signal_handlers();  // as Interruptible::Ask
template <class F>
void interruptible(F&& f) {
  const Interruptible call(run_signal_handlers);
  {
    const GilRelease unlocked;
    f();
  }
  call.rethrow();
}

// ShapeError unless a view has so many dimensions, that shape, or so many elements.
void expect_rank(const char* name, const View& v, int rank);
void expect_shape(const char* name, const View& v, const View& like);
void expect_size(const char* name, const View& v, dim_t size);
// Unless x and y are images (n, c, height, width) of the same n and c.
void expect_images(const View& x, const View& y);

// The place of a name among those that Python uses for an enumeration, in the order of its
// enumerators; ArgumentError lists the names there are.
size_t index_of(const char* argument, const std::string& name,
                std::initializer_list<std::string_view> names);
template <class Enum>
Enum enumerator(const char* argument, const std::string& name,
                std::initializer_list<std::string_view> names) {
  return static_cast<Enum>(index_of(argument, name, names));
}
// Those that several files need.
Activation activation_named(const std::string& act, float alpha, float beta);
StoreAs store_as_named(const char* name, const pybind11::dtype& dtype);
AutoPad auto_pad_named(const std::string& auto_pad);
BinaryOp binary_op_named(const std::string& op);

}  // namespace fastconv
