// L6 bindings: csrc/nn/quantized.h, steps of programs.
#include "bindings/steps.h"
#include "core/check.h"
#include "nn/quantized.h"

namespace py = pybind11;

namespace fastconv {
namespace {

// The numbers that two operands hold when the step runs.
Quantization quantization_at(Slots slots, const Operand& scale, const Operand& zero) {
  const View number = zero.at(slots);
  return {*scale.at(slots).as<float>(),
          number.element == Element::u8 ? *number.as<uint8_t>() : *number.as<int8_t>()};
}

}  // namespace

// A scale and a zero point are single numbers, which a run may compute; the zero point has the
// numbers' type, and is absent where they are s32.
void bind_quantized(Steps& steps) {
  steps.def("quantize", [](Program& self, const Operand& x, const Operand& scale,
                           const Operand& zero, const Operand& y) {
    expect_size("scale", scale.view, 1);
    expect_size("zero", zero.view, 1);
    expect_shape("y", y.view, x.view);
    self.add({&x, &scale, {&y, kBytes}, {&zero, {y.view.element}}}, [=](Slots slots) {
      quantize(x.at(slots), quantization_at(slots, scale, zero), y.at(slots));
    });
  });
  steps.def("dequantize", [](Program& self, const Operand& x, const Operand& scale,
                             const std::optional<Operand>& zero, const Operand& y) {
    expect_size("scale", scale.view, 1);
    expect_shape("y", y.view, x.view);
    if (!zero) {
      self.add({{&x, {Element::s32}}, &scale, &y}, [=](Slots slots) {
        dequantize(x.at(slots), {*scale.at(slots).as<float>(), 0}, y.at(slots));
      });
      return;
    }
    expect_size("zero", zero->view, 1);
    self.add({{&x, kBytes}, &scale, {&*zero, {x.view.element}}, &y}, [=, z = *zero](Slots slots) {
      dequantize(x.at(slots), quantization_at(slots, scale, z), y.at(slots));
    });
  });
  steps.def("dynamic_range", [](Program& self, const Operand& x, const Operand& y) {
    expect_size("y", y.view, 2);
    FC_CHECK(y.view.rank == 1 && y.view.stride[0] == 1, ArgumentError,
             "y: expected one dimension without gaps");
    self.add({&x, &y}, [=](Slots slots) { dynamic_range(x.at(slots), y.at(slots).as<float>()); });
  });
  steps.def("lookup", [](Program& self, const Operand& x, const Operand& table, const Operand& y) {
    FC_CHECK(table.view.rank == 1 && table.view.shape[0] == 256 && table.view.stride[0] == 1,
             ShapeError, "table: expected 256 elements without gaps, got shape ",
             shape_string(table.view));
    expect_shape("y", y.view, x.view);
    self.add({{&x, kBytes}, {&table, {Element::u8}}, {&y, kBytes}},
             [=](Slots slots) { lookup(x.at(slots), table.at(slots).as<uint8_t>(), y.at(slots)); });
  });
  steps.def("quantized_binary", [](Program& self, const Operand& a, const Operand& b,
                                   const Operand& y, const std::string& op, const Scaled& from_a,
                                   const Scaled& from_b, const Scaled& to) {
    const BinaryOp binary_op = binary_op_named(op);
    FC_CHECK(binary_op == BinaryOp::add || binary_op == BinaryOp::mul, ArgumentError,
             "op: expected add or mul of 8-bit numbers");
    for (const Operand* operand : {&a, &b}) expect_shape("a, b", operand->view, y.view);
    const Element element = y.view.element;
    const Quantization qa = quantization(from_a), qb = quantization(from_b), q = quantization(to);
    self.add({{&y, kBytes}, {&a, {element}}, {&b, {element}}}, [=](Slots slots) {
      quantized_binary(binary_op, a.at(slots), qa, b.at(slots), qb, y.at(slots), q);
    });
  });
}

}  // namespace fastconv
