// L0 core: cpu.h's questions on 64-bit Arm, which the system answers: a processor's own registers
// for them are not readable by programs.
#include "core/cpu.h"
#include "core/platform.h"
#include "core/tiles.h"

namespace fastconv {

bool cpu_has(Feature feature) noexcept {
  switch (feature) {
    case Feature::asimd:
      return (arm_features() >> 1 & 1) != 0;
  }
  return false;
}

std::string read_model() { return system_cpu_model(); }
bool cpu_permits_tiles() noexcept { return false; }
void read_caches(Caches& found) { read_system_caches(found); }

}  // namespace fastconv
