// L6 bindings: the names that Python uses for enumerations, in the order of their C++ enumerators.
#include <pybind11/pybind11.h>

#include <array>
#include <cmath>
#include <string>
#include <string_view>

#include "bindings/bind.h"
#include "core/check.h"

namespace fastconv {
namespace {

template <size_t N>
int index_of(const char* argument, const std::string& name,
             const std::array<std::string_view, N>& names) {
  std::string known;
  for (size_t i = 0; i < N; ++i) {
    if (names[i] == name) return static_cast<int>(i);
    known.append(i ? ", " : "").append(names[i]);
  }
  throw ArgumentError(message(argument, ": expected one of ", known, ", got ", name));
}

}  // namespace

Activation activation_named(const std::string& act, float alpha, float beta) {
  static constexpr std::array kNames = {
#define FC_ACTIVATION(name, cost) std::string_view(#name),
#include "core/activations.def"
#undef FC_ACTIVATION
  };
  return {static_cast<Act>(index_of("act", act, kNames)), alpha, beta};
}

Cell cell_named(const std::string& cell) {
  static constexpr std::array<std::string_view, 3> kNames = {"rnn", "gru", "lstm"};
  return static_cast<Cell>(index_of("cell", cell, kNames));
}

SampleMode sample_mode_named(const std::string& mode) {
  static constexpr std::array<std::string_view, 3> kNames = {"nearest", "linear", "cubic"};
  return static_cast<SampleMode>(index_of("mode", mode, kNames));
}

SamplePadding sample_padding_named(const std::string& padding) {
  static constexpr std::array<std::string_view, 3> kNames = {"zeros", "border", "reflection"};
  return static_cast<SamplePadding>(index_of("padding", padding, kNames));
}

AutoPad auto_pad_named(const std::string& auto_pad) {
  static constexpr std::array<std::string_view, 3> kNames = {"explicit", "same_upper",
                                                             "same_lower"};
  return static_cast<AutoPad>(index_of("auto_pad", auto_pad, kNames));
}

BinaryOp binary_op_named(const std::string& op) {
  static constexpr std::array<std::string_view, 7> kNames = {"add", "sub", "mul", "div",
                                                             "min", "max", "pow"};
  return static_cast<BinaryOp>(index_of("op", op, kNames));
}

CompareOp compare_op_named(const std::string& op) {
  static constexpr std::array<std::string_view, 3> kNames = {"equal", "less", "less_equal"};
  return static_cast<CompareOp>(index_of("op", op, kNames));
}

LogicOp logic_op_named(const std::string& op) {
  static constexpr std::array<std::string_view, 3> kNames = {"both", "either", "one"};
  return static_cast<LogicOp>(index_of("op", op, kNames));
}

ReduceOp reduce_op_named(const std::string& op) {
  static constexpr std::array<std::string_view, 4> kNames = {"sum", "mean", "max", "min"};
  return static_cast<ReduceOp>(index_of("op", op, kNames));
}

ResizeParams resize_params_named(const std::string& mode, const std::string& coordinates,
                                 const std::string& rounding, const ScalePair& scale_h,
                                 const ScalePair& scale_w) {
  static constexpr std::array<std::string_view, 2> kModes = {"nearest", "linear"};
  static constexpr std::array<std::string_view, 5> kCoordinates = {
      "half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel", "pytorch_asymmetric"};
  static constexpr std::array<std::string_view, 4> kRoundings = {
      "floor", "ceil", "round_prefer_floor", "round_prefer_ceil"};
  const auto scale = [](const ScalePair& pair) {
    for (const double v : pair)
      FC_CHECK(std::isfinite(v) && v > 0.0, ArgumentError, "scale: expected more than 0, got ", v);
    return ResizeScale{pair[0], pair[1]};
  };
  return {static_cast<ResizeMode>(index_of("mode", mode, kModes)),
          static_cast<ResizeCoordinates>(index_of("coordinates", coordinates, kCoordinates)),
          static_cast<ResizeRounding>(index_of("rounding", rounding, kRoundings)), scale(scale_h),
          scale(scale_w)};
}

}  // namespace fastconv
