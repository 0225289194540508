// L0 core: cpu.h's questions, answered on x86-64 by CPUID and XCR0, never by a list of models. A
// feature counts only when the operating system saves its registers too: CPUID alone says that the
// silicon has them, and without that the first context switch would lose them.
#include <cpuid.h>

#include <cstring>

#include "core/cpu.h"
#include "core/platform.h"
#include "core/tiles.h"

namespace fastconv {
namespace {

struct Regs {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

// All zero where the processor has no such leaf.
Regs cpuid(uint32_t leaf, uint32_t subleaf = 0) noexcept {
  Regs r;
  if (__get_cpuid_max(leaf & 0x80000000u, nullptr) >= leaf)
    __cpuid_count(leaf, subleaf, r.eax, r.ebx, r.ecx, r.edx);
  return r;
}

bool bit(uint32_t word, int index) noexcept { return (word >> index) & 1; }

// What is saved, by the bits of XCR0.
bool saves(uint32_t state) noexcept {
  if (!bit(cpuid(1).ecx, 27)) return false;  // OSXSAVE: without it there is no xgetbv to ask
  uint32_t xcr0, high;
  __asm__("xgetbv" : "=a"(xcr0), "=d"(high) : "c"(0));
  return (xcr0 & state) == state;
}
bool saves_ymm() noexcept { return saves(0x06) && bit(cpuid(1).ecx, 28); }  // SSE, AVX
// Mask registers, upper halves, registers 16 to 31 besides.
bool saves_zmm() noexcept { return saves_ymm() && saves(0xe0); }

bool saves_tiles() noexcept { return saves_zmm() && saves(3u << 17) && system_has_tiles(); }

}  // namespace

bool cpu_has(Feature feature) noexcept {
  const Regs one = cpuid(1), seven = cpuid(7), more = seven.eax >= 1 ? cpuid(7, 1) : Regs();
  switch (feature) {
    case Feature::avx2:
      return saves_ymm() && bit(seven.ebx, 5);
    case Feature::fma:
      return saves_ymm() && bit(one.ecx, 12);
    case Feature::f16c:
      return saves_ymm() && bit(one.ecx, 29);
    case Feature::avx_vnni:
      return saves_ymm() && bit(more.eax, 4);
    case Feature::avx512f:
      return saves_zmm() && bit(seven.ebx, 16);
    case Feature::avx512bw:
      return saves_zmm() && bit(seven.ebx, 30);
    case Feature::avx512dq:
      return saves_zmm() && bit(seven.ebx, 17);
    case Feature::avx512vl:
      return saves_zmm() && bit(seven.ebx, 31);
    case Feature::avx512cd:
      return saves_zmm() && bit(seven.ebx, 28);
    case Feature::avx512_vnni:
      return saves_zmm() && bit(seven.ecx, 11);
    case Feature::avx512_vpopcntdq:
      return saves_zmm() && bit(seven.ecx, 14);
    case Feature::avx512_bf16:
      return saves_zmm() && bit(more.eax, 5);
    case Feature::amx_tile:
      return saves_tiles() && bit(seven.edx, 24);
    case Feature::amx_int8:
      return saves_tiles() && bit(seven.edx, 25);
    case Feature::amx_bf16:
      return saves_tiles() && bit(seven.edx, 22);
  }
  return false;
}

bool cpu_permits_tiles() noexcept {
  static const bool permitted = cpuid(7).edx >> 24 & 1 && saves_tiles() && request_tiles();
  return permitted;
}

std::string read_model() {
  char brand[49] = {};
  for (uint32_t i = 0; i < 3; ++i) {
    const Regs r = cpuid(0x80000002u + i);
    std::memcpy(brand + 16 * i, &r, 16);
  }
  std::string model = brand;
  model.erase(0, model.find_first_not_of(' '));
  model.erase(model.find_last_not_of(" ") + 1);
  return model;
}

// Intel's leaf 4 and AMD's 0x8000001D have one layout: a cache per subleaf, type 0 ends the list.
void read_caches(Caches& found) {
  const uint32_t leaf = cpuid(4).eax & 31 ? 4 : 0x8000001Du;
  for (uint32_t i = 0; i < 8; ++i) {
    const Regs r = cpuid(leaf, i);
    const uint32_t type = r.eax & 31, level = (r.eax >> 5) & 7;
    if (type == 0) return;
    if (type == 2) continue;  // instructions
    const dim_t ways = (r.ebx >> 22) + 1, partitions = ((r.ebx >> 12) & 1023) + 1;
    const dim_t line = (r.ebx & 4095) + 1, sets = dim_t{r.ecx} + 1;
    const dim_t bytes = ways * partitions * line * sets;
    if (level == 1) found.l1d = bytes;
    if (level == 2) found.l2 = bytes;
    if (level == 3) found.l3 = bytes;
  }
}

}  // namespace fastconv
