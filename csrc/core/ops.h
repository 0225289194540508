// L0 core: the operations that one kernel does by a switch. Plain data only: ISA translation units
// include this file.
#pragma once
#include "core/types.h"

namespace fastconv {

// Of two operands a and b. NaN in either gives NaN, in min and max too, as in torch and ONNX
// Runtime.
enum class BinaryOp : int32_t {
  add,
  sub,
  mul,
  div,
  min,
  max,
  pow,
  prelu,  // a < 0 ? b * a : a
};

// Of two operands, one true or false; with NaN none is true. What is greater is less the other way
// round.
enum class CompareOp : int32_t { equal, less, less_equal };

// Of two that are true or false, bytes that are 0 or not: whether both are, either, one alone.
enum class LogicOp : int32_t { both, either, one };

enum class ReduceOp : int32_t { sum, mean, max, min };

}  // namespace fastconv
