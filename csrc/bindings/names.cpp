// L6 bindings: enumerations by the names that Python uses for them.
#include <string>
#include <string_view>

#include "bindings/bind.h"
#include "core/check.h"

namespace fastconv {

size_t index_of(const char* argument, const std::string& name,
                std::initializer_list<std::string_view> names) {
  std::string known;
  for (const std::string_view& known_name : names) {
    if (known_name == name) return static_cast<size_t>(&known_name - names.begin());
    known.append(known.empty() ? "" : ", ").append(known_name);
  }
  throw ArgumentError(message(argument, ": expected one of ", known, ", got ", name));
}

Activation activation_named(const std::string& act, float alpha, float beta) {
  return {enumerator<Act>("act", act,
                          {
#define FC_ACTIVATION(name, cost) #name,
#include "core/activations.def"
#undef FC_ACTIVATION
                          }),
          alpha, beta};
}

AutoPad auto_pad_named(const std::string& auto_pad) {
  return enumerator<AutoPad>("auto_pad", auto_pad, {"explicit", "same_upper", "same_lower"});
}

BinaryOp binary_op_named(const std::string& op) {
  return enumerator<BinaryOp>("op", op, {"add", "sub", "mul", "div", "min", "max", "pow"});
}

}  // namespace fastconv
