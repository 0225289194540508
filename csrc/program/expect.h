// L5 program: what steps expect of their operands, which a ShapeError says.
#pragma once
#include <algorithm>

#include "core/check.h"
#include "program/program.h"

namespace fastconv {

inline void expect_size(const char* name, const Operand& operand, dim_t size) {
  FC_CHECK(operand.view.size() == size, ShapeError, name, ": expected ", size, " elements, got ",
           operand.view.size());
}

inline void expect_shape(const char* name, const Operand& operand, const Operand& like) {
  const View &v = operand.view, &w = like.view;
  FC_CHECK(v.rank == w.rank && std::equal(v.shape, v.shape + v.rank, w.shape), ShapeError, name,
           ": expected shape ", shape_string(w), ", got ", shape_string(v));
}

}  // namespace fastconv
