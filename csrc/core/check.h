// L0 core: typed errors. A message says what was expected and what came, and starts with the
// argument's name:
//   "w: expected ic/groups = 32 channels, got 64"
// bindings/module.cpp maps each class to its Python exception.
#pragma once
#include <sstream>
#include <stdexcept>
#include <string>
#include <type_traits>

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

// Text and whole numbers without a stream, which takes half a microsecond to set up: "auto" asks
// half a dozen algorithms for their reasons.
template <class T>
void append_to(std::string& text, const T& part) {
  if constexpr (std::is_integral_v<T> && sizeof(T) > 1) {
    text += std::to_string(part);
  } else if constexpr (std::is_arithmetic_v<T>) {
    std::ostringstream out;
    out << part;
    text += out.str();
  } else {
    text += part;
  }
}
template <class... Parts>
std::string message(const Parts&... parts) {
  std::string text;
  (append_to(text, parts), ...);
  return text;
}

}  // namespace fastconv

#define FC_CHECK(condition, ErrorClass, ...)                              \
  do {                                                                    \
    if (!(condition)) throw ErrorClass(::fastconv::message(__VA_ARGS__)); \
  } while (0)
