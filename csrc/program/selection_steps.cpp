// L5 program: the steps that compare, choose and pick; see program.h.
#include "core/check.h"
#include "nn/compare.h"
#include "nn/grid_sample.h"
#include "nn/select.h"
#include "program/expect.h"
#include "program/program.h"

namespace fastconv {
namespace {

constexpr std::initializer_list<Element> kTruth = {Element::u8};
// Those by which any element of 1, 2, 4 or 8 bytes is moved.
constexpr std::initializer_list<Element> kMoved = {Element::u8, Element::u16, Element::f32,
                                                   Element::u64};

}  // namespace

void Program::compare(const Operand& a, const Operand& b, const Operand& y, CompareOp op) {
  for (const Operand* operand : {&a, &b}) expect_shape("a, b", *operand, y);
  add({&a, &b, {&y, kTruth}}, [=](std::byte* const* slots) {
    fastconv::compare(op, a.at(slots), b.at(slots), y.at(slots));
  });
}

void Program::logic(const Operand& a, const Operand& b, const Operand& y, LogicOp op) {
  for (const Operand* operand : {&a, &b}) expect_shape("a, b", *operand, y);
  add({{&a, kTruth}, {&b, kTruth}, {&y, kTruth}},
      [=](std::byte* const* slots) { fastconv::logic(op, a.at(slots), b.at(slots), y.at(slots)); });
}

void Program::choose(const Operand& condition, const Operand& a, const Operand& b,
                     const Operand& y) {
  for (const Operand* operand : {&condition, &a, &b}) expect_shape("condition, a, b", *operand, y);
  const Element element = y.view.element;
  add({{&condition, kTruth}, {&a, {element}}, {&b, {element}}, {&y, kMoved}},
      [=](std::byte* const* slots) {
        fastconv::choose(condition.at(slots), a.at(slots), b.at(slots), y.at(slots));
      });
}

void Program::top_k(const Operand& x, const Operand& values, const Operand& indices, bool largest) {
  check_top_k(x.view, values.view, indices.view);
  add({&x, &values, {&indices, {Element::s64}}}, [=](std::byte* const* slots) {
    fastconv::top_k(x.at(slots), values.at(slots), indices.at(slots), largest);
  });
}

void Program::grid_sample(const Operand& x, const Operand& grid, const Operand& y, SampleMode mode,
                          SamplePadding padding, bool align_corners) {
  check_grid_sample(x.view, grid.view, y.view);
  add({&x, &grid, &y}, [=](std::byte* const* slots) {
    fastconv::grid_sample(x.at(slots), grid.at(slots), y.at(slots), mode, padding, align_corners);
  });
}

}  // namespace fastconv
