// L0 core: cpu.h's questions on processors that fastconv has no tier for but ref: the system answers.
#include "core/cpu.h"
#include "core/platform.h"
#include "core/tiles.h"

namespace fastconv {

bool cpu_has(Feature) noexcept { return false; }
std::string read_model() { return system_cpu_model(); }
bool cpu_permits_tiles() noexcept { return false; }
void read_caches(Caches& found) { read_system_caches(found); }

}  // namespace fastconv
