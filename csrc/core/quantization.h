// L0 core: how integers stand for real numbers. Plain data only: ISA translation units include this
// file.
#pragma once
#include "core/types.h"

namespace fastconv {

// An integer q is (q - zero) * scale.
struct Quantization {
  float scale = 1.0f;
  int32_t zero = 0;
};

}  // namespace fastconv
