// L0 core: cpu.h's questions on processors that fastconv has no tier for but ref: Linux answers.
#include "core/cpu.h"
#include "core/tiles.h"

namespace fastconv {

bool cpu_has(Feature) noexcept { return false; }
std::string read_model() { return model_of_cpuinfo(); }
bool cpu_permits_tiles() noexcept { return false; }
void read_caches(Caches& found) { read_caches_of_sysfs(found); }

}  // namespace fastconv
