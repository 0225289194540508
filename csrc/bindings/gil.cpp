// L6 bindings: the GIL during and after a call's work.
//
// A daemon thread that takes it back while the interpreter shuts down is ended by Python before
// 3.14 with pthread_exit; that unwinds the stack, and the first noexcept frame aborts the process.
// The thread has nothing left to do: it waits here for the end of the process, as Python itself has
// it do since.
#include <chrono>
#include <thread>

#include "bindings/bind.h"
#include "core/check.h"
#include "core/platform.h"

#if defined(__GLIBCXX__)
#include <cxxabi.h>
#endif

namespace fastconv {

namespace {
PyObject* threads_variable = nullptr;  // the module's for good: no destructor at exit
}  // namespace

void set_threads_variable(pybind11::object variable) {
  FC_CHECK(PyContextVar_CheckExact(variable.ptr()), ArgumentError,
           "variable: expected a ContextVar, got ", Py_TYPE(variable.ptr())->tp_name);
  PyObject* const before = threads_variable;
  threads_variable = variable.release().ptr();
  Py_XDECREF(before);
}

int threads_of_context() {
  PyObject* found = nullptr;
  if (threads_variable == nullptr) return 0;
  if (PyContextVar_Get(threads_variable, nullptr, &found) != 0) throw pybind11::error_already_set();
  if (found == nullptr) return 0;
  const auto number = pybind11::reinterpret_steal<pybind11::object>(found);
  const long n = PyLong_AsLong(found);
  if (n == -1 && PyErr_Occurred()) throw pybind11::error_already_set();
  return static_cast<int>(n);
}

GilRelease::~GilRelease() {
#if defined(__GLIBCXX__)
  try {
    PyEval_RestoreThread(state_);
  } catch (const abi::__forced_unwind&) {
    for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
  }
#else
  PyEval_RestoreThread(state_);
#endif
}

// Python runs handlers in the process's first thread alone: other threads need not ask again.
bool run_signal_handlers() {
  if (!is_first_thread()) return false;
  const pybind11::gil_scoped_acquire locked;
  if (PyErr_CheckSignals() != 0) throw pybind11::error_already_set();
  return true;
}

}  // namespace fastconv
