// L0 core: a strided view of memory: the type of its elements, logical shape (NCHW order for
// images) and the stride of each dimension in elements. The physical layout is nothing but the
// strides: NHWC is a view whose channel stride is 1. Strides may be negative or 0 (broadcast) on
// inputs; outputs never alias themselves.
#pragma once
#include <cassert>
#include <string>

#include "core/element.h"
#include "core/types.h"

namespace fastconv {

struct View {
  void* data = nullptr;
  Element element = Element::f32;
  int rank = 0;
  dim_t shape[kMaxRank] = {};
  dim_t stride[kMaxRank] = {};

  dim_t size() const noexcept {
    dim_t n = 1;
    for (int i = 0; i < rank; ++i) n *= shape[i];
    return n;
  }
  // The first element, of a type that the view is known to have.
  template <class T>
  T* as() const noexcept {
    assert(element == element_of<T>);
    return static_cast<T*>(data);
  }
};

inline std::string shape_string(const View& v) {
  std::string s = "(";
  for (int i = 0; i < v.rank; ++i) s.append(i ? ", " : "").append(std::to_string(v.shape[i]));
  return s.append(v.rank == 1 ? ",)" : ")");
}

// An NCHW (or NC, NCW, NCDHW) logical view over dense channels-last memory.
template <class T>
View channels_last(T* data, int rank, const dim_t* shape) {
  View v;
  v.data = data;
  v.element = element_of<T>;
  v.rank = rank;
  for (int i = 0; i < rank; ++i) v.shape[i] = shape[i];
  v.stride[1] = 1;
  dim_t step = shape[1];
  for (int i = rank - 1; i >= 2; --i) {
    v.stride[i] = step;
    step *= shape[i];
  }
  v.stride[0] = step;
  return v;
}

// The same logical view over dense row-major memory.
template <class T>
View row_major(T* data, int rank, const dim_t* shape) {
  View v;
  v.data = data;
  v.element = element_of<T>;
  v.rank = rank;
  dim_t step = 1;
  for (int i = rank - 1; i >= 0; --i) {
    v.shape[i] = shape[i];
    v.stride[i] = step;
    step *= shape[i];
  }
  return v;
}

}  // namespace fastconv
