// L6 bindings: the module fastconv._core, a table of contents. Errors of core/check.h become the
// classes of fastconv/errors.py; everything else that C++ throws, pybind11 translates itself.
#include "bindings/bind.h"
#include "bindings/steps.h"
#include "core/check.h"

namespace py = pybind11;

namespace {

void raise(const char* python_class, const std::exception& error) {
  py::set_error(py::module_::import("fastconv.errors").attr(python_class), error.what());
}

}  // namespace

PYBIND11_MODULE(_core, m) {
  m.doc() =
      "The compiled half of fastconv. Private: its functions check little and may change; use "
      "fastconv.";

  m.attr("__version__") = FASTCONV_VERSION;

  py::register_local_exception_translator([](std::exception_ptr error) {
    try {
      std::rethrow_exception(error);
    } catch (const fastconv::ShapeError& e) {
      raise("ShapeError", e);
    } catch (const fastconv::ArgumentError& e) {
      raise("ArgumentError", e);
    } catch (const fastconv::Error& e) {
      raise("FastconvError", e);
    }
  });

  fastconv::Steps steps = fastconv::bind_program(m);
  fastconv::bind_core(m);
  fastconv::bind_coding(m);
  fastconv::bind_conv(m, steps);
  fastconv::bind_eltwise(m, steps);
  fastconv::bind_gemm(m, steps);
  fastconv::bind_integer_conv(m, steps);
  fastconv::bind_layout(m, steps);
  fastconv::bind_norm(m, steps);
  fastconv::bind_pool(m, steps);
  fastconv::bind_qgemm(m);
  fastconv::bind_quantized(steps);
  fastconv::bind_recurrent(m, steps);
  fastconv::bind_roofline(m);
  fastconv::bind_select(m, steps);
  fastconv::bind_sweep(m);
}
