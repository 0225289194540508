// L6 bindings: taking the GIL back after a call's work. A daemon thread that asks for it while the
// interpreter shuts down is ended by Python before 3.14 with pthread_exit; that unwinds the stack,
// and the first noexcept frame aborts the process. The thread has nothing left to do: it waits here
// for the end of the process, as Python itself has it do since.
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

}  // namespace fastconv
