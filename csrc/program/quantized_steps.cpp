// L5 program: the steps that read or write numbers of 8 bits; see program.h.
#include "core/check.h"
#include "nn/quantized.h"
#include "program/expect.h"
#include "program/program.h"

namespace fastconv {
namespace {

constexpr std::initializer_list<Element> kBytes = {Element::u8, Element::s8};

// The numbers that two operands hold when the step runs.
Quantization quantization_at(std::byte* const* slots, const Operand& scale, const Operand& zero) {
  const View number = zero.at(slots);
  return {*scale.at(slots).as<float>(),
          number.element == Element::u8 ? *number.as<uint8_t>() : *number.as<int8_t>()};
}

}  // namespace

void Program::quantize(const Operand& x, const Operand& scale, const Operand& zero,
                       const Operand& y) {
  expect_size("scale", scale, 1);
  expect_size("zero", zero, 1);
  expect_shape("y", y, x);
  add({&x, &scale, {&y, kBytes}, {&zero, {y.view.element}}}, [=](std::byte* const* slots) {
    fastconv::quantize(x.at(slots), quantization_at(slots, scale, zero), y.at(slots));
  });
}

void Program::dequantize(const Operand& x, const Operand& scale, const Operand* zero,
                         const Operand& y) {
  expect_size("scale", scale, 1);
  expect_shape("y", y, x);
  if (!zero) {
    add({{&x, {Element::s32}}, &scale, &y}, [=](std::byte* const* slots) {
      fastconv::dequantize(x.at(slots), {*scale.at(slots).as<float>(), 0}, y.at(slots));
    });
    return;
  }
  expect_size("zero", *zero, 1);
  add({{&x, kBytes}, &scale, {zero, {x.view.element}}, &y},
      [=, zero = *zero](std::byte* const* slots) {
        fastconv::dequantize(x.at(slots), quantization_at(slots, scale, zero), y.at(slots));
      });
}

void Program::dynamic_range(const Operand& x, const Operand& y) {
  expect_size("y", y, 2);
  FC_CHECK(y.view.rank == 1 && y.view.stride[0] == 1, ArgumentError,
           "y: expected one dimension without gaps");
  add({&x, &y}, [=](std::byte* const* slots) {
    fastconv::dynamic_range(x.at(slots), y.at(slots).as<float>());
  });
}

void Program::lookup(const Operand& x, const Operand& table, const Operand& y) {
  FC_CHECK(table.view.rank == 1 && table.view.shape[0] == 256 && table.view.stride[0] == 1,
           ShapeError, "table: expected 256 elements without gaps, got shape ",
           shape_string(table.view));
  expect_shape("y", y, x);
  add({{&x, kBytes}, {&table, {Element::u8}}, {&y, kBytes}}, [=](std::byte* const* slots) {
    fastconv::lookup(x.at(slots), table.at(slots).as<uint8_t>(), y.at(slots));
  });
}

void Program::quantized_binary(const Operand& a, const Operand& b, const Operand& y, BinaryOp op,
                               Quantization from_a, Quantization from_b, Quantization to) {
  FC_CHECK(op == BinaryOp::add || op == BinaryOp::mul, ArgumentError,
           "op: expected add or mul of 8-bit numbers");
  for (const Operand* operand : {&a, &b}) expect_shape("a, b", *operand, y);
  const Element element = y.view.element;
  add({{&y, kBytes}, {&a, {element}}, {&b, {element}}}, [=](std::byte* const* slots) {
    fastconv::quantized_binary(op, a.at(slots), from_a, b.at(slots), from_b, y.at(slots), to);
  });
}

void Program::quantized_avg_pool2d(const Operand& x, const Operand& y, const PoolShape& p,
                                   bool count_include_pad, Quantization from, Quantization to) {
  FC_CHECK(x.view.rank == 4 && y.view.rank == 4, ShapeError,
           "x, y: expected 4 dimensions, got shapes ", shape_string(x.view), " and ",
           shape_string(y.view));
  add({{&y, kBytes}, {&x, {y.view.element}}}, [=](std::byte* const* slots) {
    fastconv::quantized_avg_pool2d(x.at(slots), from, y.at(slots), to, p, count_include_pad);
  });
}

}  // namespace fastconv
