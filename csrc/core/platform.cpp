// L0 core: forks and signals, which Windows has not; see platform.h.
#include "core/platform.h"

#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace fastconv {

#if defined(_WIN32)

void at_fork(void (*)(), void (*)(), void (*)()) noexcept {}
BlockedSignals::BlockedSignals() noexcept {}
BlockedSignals::~BlockedSignals() {}

#else

void at_fork(void (*before)(), void (*in_parent)(), void (*in_child)()) noexcept {
  pthread_atfork(before, in_parent, in_child);
}

BlockedSignals::BlockedSignals() noexcept {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before_);
}
BlockedSignals::~BlockedSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

#endif

}  // namespace fastconv
