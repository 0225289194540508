// L0 core: tile registers (AMX), which a process has to ask for; answered in cpu_<family>.cpp.
#pragma once

namespace fastconv {

// Whether the system lets this process use them, for which it asks once. From then on every signal
// saves 8 KB more: only who wants them asks.
bool cpu_permits_tiles() noexcept;

}  // namespace fastconv
