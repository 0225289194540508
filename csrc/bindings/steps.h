// L6 bindings: steps of programs, methods of _core.Program. Each is bound in the file of the function
// that it calls: it checks its operands, and adds that function to the program. An operand arrives as
// (slot, offset in bytes, shape, strides, dtype); strides are in elements.
#pragma once
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <tuple>

#include "bindings/bind.h"
#include "core/quantization.h"
#include "program/program.h"

namespace fastconv {

// Elements that steps work with besides f32: truth values, numbers of 8 bits, what pools and nearest
// resizing take, and those as which any element of 1, 2, 4 or 8 bytes is moved.
inline constexpr std::initializer_list<Element> kTruth = {Element::u8};
inline constexpr std::initializer_list<Element> kBytes = {Element::u8, Element::s8};
inline constexpr std::initializer_list<Element> kOfKernels = {Element::f32, Element::u8,
                                                              Element::s8};
inline constexpr std::initializer_list<Element> kMoved = {Element::f32, Element::u8, Element::u16,
                                                          Element::u32, Element::u64};

// The operand that a Python object describes; false where it is none.
bool load_operand(pybind11::handle source, Operand& operand);

// A pointer to what is there, else null.
template <class T>
const T* pointer_to(const std::optional<T>& optional) noexcept {
  return optional ? &*optional : nullptr;
}

// A scale and a zero point, as Python has them.
using Scaled = std::tuple<float, int32_t>;
inline Quantization quantization(const Scaled& q) { return {std::get<0>(q), std::get<1>(q)}; }

}  // namespace fastconv

namespace pybind11::detail {

template <>
struct type_caster<fastconv::Operand> {
  PYBIND11_TYPE_CASTER(fastconv::Operand, const_name("tuple"));
  bool load(handle source, bool) { return fastconv::load_operand(source, value); }
};

}  // namespace pybind11::detail
