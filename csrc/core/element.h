// L0 core: the element types of arrays, and the bytes that each takes.
#pragma once
#include <cstddef>
#include <cstdint>

#include "core/types.h"

namespace fastconv {

// other: a type that no kernel reads; only functions of the caller's get such arrays.
enum class Element : uint8_t { f32, f64, f16, bf16, s8, u8, s16, u16, s32, u32, s64, u64, other };

constexpr const char* element_name(Element e) noexcept {
  constexpr const char* kNames[] = {"f32", "f64", "f16", "bf16", "s8",  "u8",   "s16",
                                    "u16", "s32", "u32", "s64",  "u64", "other"};
  return kNames[static_cast<int>(e)];
}

constexpr dim_t element_size(Element e) noexcept {
  constexpr dim_t kBytes[] = {4, 8, 2, 2, 1, 1, 2, 2, 4, 4, 8, 8, 1};
  return kBytes[static_cast<int>(e)];
}

// The element whose values a C++ type holds.
template <class T>
inline constexpr Element element_of = Element::other;
template <>
inline constexpr Element element_of<float> = Element::f32;
template <>
inline constexpr Element element_of<double> = Element::f64;
template <>
inline constexpr Element element_of<int8_t> = Element::s8;
template <>
inline constexpr Element element_of<uint8_t> = Element::u8;
template <>
inline constexpr Element element_of<int16_t> = Element::s16;
template <>
inline constexpr Element element_of<uint16_t> = Element::u16;
template <>
inline constexpr Element element_of<int32_t> = Element::s32;
template <>
inline constexpr Element element_of<uint32_t> = Element::u32;
template <>
inline constexpr Element element_of<int64_t> = Element::s64;
template <>
inline constexpr Element element_of<uint64_t> = Element::u64;

}  // namespace fastconv
