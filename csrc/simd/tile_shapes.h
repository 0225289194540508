// L1 simd: what a process says of its tile registers before it uses them, as the processor reads it,
// for tile_amx.h and tile_emulated.h.
#pragma once
#include <stdint.h>

namespace fastconv {
namespace {

// How many rows a tile has, and how many bytes a row; of none there are no rows.
struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

}  // namespace
}  // namespace fastconv
