// L0 core: the element types of arrays, and the bytes that each takes.
#pragma once
#include <bit>
#include <cstdint>
#include <type_traits>

#include "core/types.h"

namespace fastconv {

// other: a type that no kernel reads; only functions of the caller's get such arrays.
enum class Element : uint8_t { f32, f64, f16, bf16, s8, u8, s16, u16, s32, u32, s64, u64, other };

struct ElementFacts {
  const char* name;
  dim_t bytes;
};
inline constexpr ElementFacts kElementFacts[] = {
    {"f32", 4}, {"f64", 8}, {"f16", 2}, {"bf16", 2}, {"s8", 1},  {"u8", 1},    {"s16", 2},
    {"u16", 2}, {"s32", 4}, {"u32", 4}, {"s64", 8},  {"u64", 8}, {"other", 1},
};
constexpr const char* element_name(Element e) noexcept {
  return kElementFacts[static_cast<int>(e)].name;
}
constexpr dim_t element_size(Element e) noexcept {
  return kElementFacts[static_cast<int>(e)].bytes;
}

template <class T>
constexpr Element find_element() noexcept {
  if constexpr (std::is_same_v<T, float>) {
    return Element::f32;
  } else if constexpr (std::is_same_v<T, double>) {
    return Element::f64;
  } else if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
    constexpr Element kSigned[] = {Element::s8, Element::s16, Element::s32, Element::s64};
    constexpr Element kUnsigned[] = {Element::u8, Element::u16, Element::u32, Element::u64};
    constexpr int kSize = std::countr_zero(sizeof(T));
    return std::is_signed_v<T> ? kSigned[kSize] : kUnsigned[kSize];
  } else {
    return Element::other;
  }
}
// The element whose values a C++ type holds.
template <class T>
inline constexpr Element element_of = find_element<T>();

}  // namespace fastconv
