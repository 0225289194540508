// L0 core: the floating-point mode that kernels run in, whatever mode their caller is in: rounding
// to nearest, denormals kept, nothing traps. Results then do not depend on who calls and on which
// thread computes what; a caller that flushes denormals or rounds upwards finds its mode again.
#pragma once
#include "core/types.h"

namespace fastconv {

// While it lives, the calling thread is in that mode; then in the one before, sticky flags
// included. Twice 5 ns.
class FloatMode {
 public:
  FloatMode() noexcept : before_(read()) { write(kDefault); }
  ~FloatMode() { write(before_); }
  FloatMode(const FloatMode&) = delete;
  FloatMode& operator=(const FloatMode&) = delete;

  // For threads of our own; a new one starts in the mode of the thread that made it.
  static void set_default() noexcept { write(kDefault); }

 private:
#if defined(__x86_64__)
  using Word = uint32_t;                    // MXCSR
  static constexpr Word kDefault = 0x1f80;  // its value at reset: all exceptions masked
  static Word read() noexcept {
    Word word;
    __asm__ volatile("stmxcsr %0" : "=m"(word));
    return word;
  }
  static void write(Word word) noexcept { __asm__ volatile("ldmxcsr %0" : : "m"(word) : "memory"); }
#elif defined(__aarch64__)
  using Word = uint64_t;  // FPCR
  static constexpr Word kDefault = 0;
  static Word read() noexcept {
    Word word;
    __asm__ volatile("mrs %0, fpcr" : "=r"(word));
    return word;
  }
  static void write(Word word) noexcept {
    __asm__ volatile("msr fpcr, %0" : : "r"(word) : "memory");
  }
#else
  using Word = int;
  static constexpr Word kDefault = 0;
  static Word read() noexcept { return 0; }
  static void write(Word) noexcept {}
#endif

  Word before_;
};

}  // namespace fastconv
