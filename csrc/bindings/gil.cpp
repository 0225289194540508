// L6 bindings: the GIL during and after a call's work.
//
// Taking it back: a daemon thread that asks for it while the
// interpreter shuts down is ended by Python before 3.14 with pthread_exit; that unwinds the stack,
// and the first noexcept frame aborts the process. The thread has nothing left to do: it waits here
// for the end of the process, as Python itself has it do since.
#include <sys/syscall.h>
#include <unistd.h>

#include "bindings/bind.h"

#if defined(__GLIBCXX__)
#include <cxxabi.h>
#endif

namespace fastconv {

GilRelease::~GilRelease() {
#if defined(__GLIBCXX__)
  try {
    PyEval_RestoreThread(state_);
  } catch (const abi::__forced_unwind&) {
    for (;;) pause();
  }
#else
  PyEval_RestoreThread(state_);
#endif
}

// Python runs handlers in the process's first thread alone, and in a forked child that is the one
// that forked: other threads need not ask again.
bool run_signal_handlers() {
  if (syscall(SYS_gettid) != getpid()) return false;
  const pybind11::gil_scoped_acquire locked;
  if (PyErr_CheckSignals() != 0) throw pybind11::error_already_set();
  return true;
}

}  // namespace fastconv
