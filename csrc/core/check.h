// L0 core: typed errors. A message says what was expected and what came, and starts with the
// argument's name:
//   "w: expected ic/groups = 32 channels, got 64".   bindings/module.cpp maps each class to its
//   Python exception.
#pragma once
#include <sstream>
#include <stdexcept>
#include <string>

namespace fastconv {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct ShapeError : Error {  // Python: fastconv.ShapeError (a ValueError)
  using Error::Error;
};
struct ArgumentError : Error {  // Python: fastconv.ArgumentError (a ValueError)
  using Error::Error;
};

template <class... Parts>
std::string message(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

}  // namespace fastconv

#define FC_CHECK(condition, ErrorClass, ...)                              \
  do {                                                                    \
    if (!(condition)) throw ErrorClass(::fastconv::message(__VA_ARGS__)); \
  } while (0)
