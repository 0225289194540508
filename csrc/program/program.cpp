// L5 program: steps and their run; see program.h.
#include "program/program.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <mutex>
#include <optional>
#include <utility>

#include "core/allocation.h"
#include "core/check.h"
#include "core/interrupt.h"
#include "gemm/gemm.h"
#include "nn/eltwise.h"
#include "nn/layout.h"
#include "nn/norm.h"
#include "nn/reduce.h"
#include "nn/softmax.h"

namespace fastconv {
namespace {

constexpr std::initializer_list<Element> kOfKernels = {Element::f32, Element::u8, Element::s8};
// Those by which any element of 1, 2, 4 or 8 bytes is copied.
constexpr std::initializer_list<Element> kCopied = {Element::f32, Element::u8, Element::u16,
                                                    Element::u32, Element::u64};

}  // namespace

std::unique_ptr<Arena> ArenaPool::take() {
  const std::lock_guard<ForkMutex> lock(mutex_);
  if (idle_.empty()) return std::make_unique<Arena>();
  std::unique_ptr<Arena> arena = std::move(idle_.back());
  idle_.pop_back();
  return arena;
}

void ArenaPool::give(std::unique_ptr<Arena> arena) noexcept {
  const std::lock_guard<ForkMutex> lock(mutex_);
  try {
    idle_.push_back(std::move(arena));
  } catch (const std::bad_alloc&) {  // then this arena is freed instead of kept
  }
}

ArenaPool::Lease::Lease(ArenaPool& pool, dim_t bytes, size_t slots)
    : pool_(pool), arena_(pool.take()) {
  arena_->memory.reserve(bytes);
  if (arena_->slots.size() < slots) arena_->slots.resize(slots);
}

dim_t ArenaPool::bytes() const {
  const std::lock_guard<ForkMutex> lock(mutex_);
  dim_t bytes = 0;
  for (const auto& arena : idle_) bytes += arena->memory.bytes();
  return bytes;
}

Program::Program(std::shared_ptr<ArenaPool> pool, dim_t arena, const std::vector<dim_t>& inputs,
                 const std::vector<dim_t>& outputs)
    : pool_(std::move(pool)), inputs_(inputs.size()), outputs_(outputs.size()) {
  sizes_.push_back(arena);
  sizes_.insert(sizes_.end(), inputs.begin(), inputs.end());
  sizes_.insert(sizes_.end(), outputs.begin(), outputs.end());
}

int Program::add_constant(const void* data, dim_t bytes) {
  sizes_.push_back(bytes);
  constants_.push_back(data);
  return static_cast<int>(sizes_.size()) - 1;
}

void Program::check(const Place& place) const {
  FC_CHECK(place.slot >= 0 && place.slot < static_cast<int>(sizes_.size()), ArgumentError,
           "slot: expected 0 to ", sizes_.size() - 1, ", got ", place.slot);
  const dim_t size = sizes_[static_cast<size_t>(place.slot)];
  FC_CHECK(0 <= place.low && place.low <= place.high && place.high <= size, ShapeError,
           "operand: expected bytes 0 to ", size, " of slot ", place.slot, ", got ", place.low,
           " to ", place.high);
}

void Program::add(std::initializer_list<Expected> operands, Step step) {
  const CountAllocations count;
  for (const auto& [operand, elements] : operands) {
    if (!operand) continue;
    check(operand->place);
    const Element element = operand->view.element;
    if (elements >> static_cast<int>(element) & 1) continue;
    std::string expected;
    for (int i = 0; i <= static_cast<int>(Element::other); ++i)
      if (elements >> i & 1)
        expected.append(expected.empty() ? "" : " or ")
            .append(element_name(static_cast<Element>(i)));
    throw ArgumentError(
        message("operand: expected ", expected, " elements, got ", element_name(element)));
  }
  steps_.push_back(std::move(step));
}

void Program::conv(std::shared_ptr<const BoundConv> conv, const Operand& x, const Operand* residual,
                   const Operand& y, const Operand& workspace) {
  FC_CHECK(workspace.view.size() >= conv->workspace(), ShapeError, "workspace: expected ",
           conv->workspace(), " bytes, got ", workspace.view.size());
  const bool added = residual != nullptr;
  add({&x, residual, &y, {&workspace, {Element::u8}}},
      [conv = std::move(conv), x, added, r = added ? *residual : Operand{}, y,
       workspace](std::byte* const* slots) {
        conv->run(x.at(slots).as<float>(), added ? r.at(slots).as<float>() : nullptr,
                  y.at(slots).as<float>(),
                  reinterpret_cast<std::byte*>(workspace.at(slots).as<uint8_t>()));
      });
}

void Program::integer_conv(std::shared_ptr<const IntegerConvPlan> conv, const Operand& x,
                           const Operand* x_zero, const Operand& y, const Operand& workspace) {
  FC_CHECK(workspace.view.size() >= conv->workspace(), ShapeError, "workspace: expected ",
           conv->workspace(), " bytes, got ", workspace.view.size());
  const Element in = conv->x_element(), out = conv->y_element();
  FC_CHECK((x_zero != nullptr) == !conv->knows_x_zero(), ArgumentError,
           "x_zero: expected it of the plan or of a run");
  const bool given = x_zero != nullptr;
  add({{&x, {in}}, {x_zero, {in}}, {&y, {out}}, {&workspace, {Element::u8}}},
      [conv = std::move(conv), x, given, z = given ? *x_zero : Operand{}, y, workspace,
       is_signed = in == Element::s8](std::byte* const* slots) {
        int32_t zero = 0;
        if (given) {
          const uint8_t byte = *static_cast<const uint8_t*>(z.at(slots).data);
          zero = is_signed ? static_cast<int8_t>(byte) : byte;
        }
        conv->run(x.at(slots).data, given ? &zero : nullptr, y.at(slots).data,
                  reinterpret_cast<std::byte*>(workspace.at(slots).as<uint8_t>()));
      });
}

void Program::gemm(const Operand& a, const Operand& b, const Operand* c, const Operand& y,
                   float alpha, float beta, const Activation& activation) {
  const bool added = c != nullptr;
  add({&a, &b, c, &y}, [=, addend = added ? *c : Operand{}](std::byte* const* slots) {
    const View view = addend.at(slots);
    fastconv::gemm(a.at(slots), b.at(slots), added ? &view : nullptr, y.at(slots), alpha, beta,
                   nullptr, activation);
  });
}

void Program::activate(const Operand& x, const Operand& y, const Activation& activation) {
  add({&x, &y},
      [=](std::byte* const* slots) { fastconv::activate(x.at(slots), y.at(slots), activation); });
}

void Program::binary(const Operand& a, const Operand& b, const Operand& y, BinaryOp op,
                     const Activation& activation) {
  add({&a, &b, &y}, [=](std::byte* const* slots) {
    fastconv::binary(op, a.at(slots), b.at(slots), y.at(slots), activation);
  });
}

void Program::prelu(const Operand& x, const Operand& slope, const Operand& y) {
  add({&x, &slope, &y},
      [=](std::byte* const* slots) { fastconv::prelu(x.at(slots), slope.at(slots), y.at(slots)); });
}

void Program::max_pool2d(const Operand& x, const Operand& y, const PoolShape& p) {
  add({{&y, kOfKernels}, {&x, {y.view.element}}},
      [=](std::byte* const* slots) { fastconv::max_pool2d(x.at(slots), y.at(slots), p); });
}

void Program::avg_pool2d(const Operand& x, const Operand& y, const PoolShape& p,
                         bool count_include_pad) {
  add({&x, &y}, [=](std::byte* const* slots) {
    fastconv::avg_pool2d(x.at(slots), y.at(slots), p, count_include_pad);
  });
}

void Program::channel_affine(const Operand& x, const Operand& scale, const Operand& shift,
                             const Operand& y, const Activation& activation) {
  add({&x, &scale, &shift, &y}, [=](std::byte* const* slots) {
    fastconv::channel_affine(x.at(slots), scale.at(slots).as<float>(), shift.at(slots).as<float>(),
                             y.at(slots), activation);
  });
}

void Program::lrn(const Operand& x, const Operand& y, int size, float alpha, float beta, float k) {
  add({&x, &y}, [=](std::byte* const* slots) {
    fastconv::lrn(x.at(slots), y.at(slots), size, alpha, beta, k);
  });
}

void Program::layer_norm(const Operand& x, const Operand& scale, const Operand& shift,
                         const Operand& y, float epsilon) {
  add({&x, &scale, &shift, &y}, [=](std::byte* const* slots) {
    const View scales = scale.at(slots);
    fastconv::layer_norm(x.at(slots), scales.as<float>(), shift.at(slots).as<float>(),
                         scales.size() > 1, y.at(slots), epsilon);
  });
}

void Program::softmax(const Operand& x, const Operand& y, int axis) {
  add({&x, &y},
      [=](std::byte* const* slots) { fastconv::softmax(x.at(slots), y.at(slots), axis); });
}

void Program::reduce(const Operand& x, const Operand& y, ReduceOp op) {
  add({&x, &y}, [=](std::byte* const* slots) { fastconv::reduce(op, x.at(slots), y.at(slots)); });
}

void Program::resize2d(const Operand& x, const Operand& y, const ResizeParams& p) {
  FC_CHECK(p.mode == ResizeMode::nearest || x.view.element == Element::f32, ArgumentError,
           "mode: expected nearest of ", element_name(x.view.element), " elements");
  add({{&y, kOfKernels}, {&x, {y.view.element}}},
      [=](std::byte* const* slots) { fastconv::resize2d(x.at(slots), y.at(slots), p); });
}

void Program::recurrent(std::shared_ptr<const Recurrent> layer, const Operand& x,
                        const Operand* initial_h, const Operand* initial_c,
                        const Operand* peepholes, const Operand* lengths, const Operand& y,
                        const Operand& workspace) {
  const View &in = x.view, &out = y.view;
  const dim_t h = layer->hidden(), steps = in.shape[0], n = in.shape[1];
  const auto expect = [](const char* name, const View& v, std::initializer_list<dim_t> shape) {
    const bool fits =
        v.rank == static_cast<int>(shape.size()) && std::equal(shape.begin(), shape.end(), v.shape);
    View wanted;
    wanted.rank = static_cast<int>(shape.size());
    std::copy(shape.begin(), shape.end(), wanted.shape);
    FC_CHECK(fits, ShapeError, name, ": expected shape ", shape_string(wanted), ", got ",
             shape_string(v));
  };
  FC_CHECK(in.rank == 3, ShapeError, "x: expected 3 dimensions, got ", in.rank);
  expect("x", in, {steps, n, layer->gates() * h});
  expect("y", out, {steps + layer->states(), n, h});
  if (initial_h) expect("initial_h", initial_h->view, {n, h});
  if (initial_c) expect("initial_c", initial_c->view, {n, h});
  if (peepholes) expect("peepholes", peepholes->view, {3 * h});
  if (lengths) expect("lengths", lengths->view, {n});
  for (const Operand* operand : {&x, peepholes, &y})
    FC_CHECK(!operand || operand->view.stride[operand->view.rank - 1] == 1, ArgumentError,
             "x, peepholes, y: expected the last dimension to be contiguous");
  FC_CHECK(workspace.view.size() >= layer->workspace(n), ShapeError, "workspace: expected ",
           layer->workspace(n), " floats, got ", workspace.view.size());
  const auto given = [](const Operand* operand) {
    return operand ? std::optional<Operand>(*operand) : std::nullopt;
  };
  add({&x, initial_h, initial_c, peepholes, lengths, &y, &workspace},
      [layer = std::move(layer), x, y, workspace,
       optional = std::array{given(initial_h), given(initial_c), given(peepholes), given(lengths)}](
          std::byte* const* slots) {
        View views[4];
        const View* at[4];
        for (size_t i = 0; i < 4; ++i) {
          if (optional[i]) views[i] = optional[i]->at(slots);
          at[i] = optional[i] ? &views[i] : nullptr;
        }
        layer->run(x.at(slots), at[0], at[1], at[2], at[3], y.at(slots),
                   workspace.at(slots).as<float>());
      });
}

void Program::copy(const Operand& x, const Operand& y) {
  add({{&y, kCopied}, {&x, {y.view.element}}},
      [=](std::byte* const* slots) { fastconv::copy(x.at(slots), y.at(slots)); });
}

void Program::fill(const Operand& y, float value) {
  add({&y}, [=](std::byte* const* slots) { fastconv::fill(y.at(slots), value); });
}

void Program::call(const std::vector<Place>& operands, std::function<void(void* const*)> function) {
  for (const Place& operand : operands) check(operand);
  steps_.push_back([operands, function = std::move(function)](std::byte* const* slots) {
    std::vector<void*> addresses;
    addresses.reserve(operands.size());
    for (const Place& operand : operands) addresses.push_back(operand.at(slots));
    function(addresses.data());
  });
}

void Program::run(std::byte* const* inputs, std::byte* const* outputs, double* seconds) const {
  ArenaPool::Lease arena(*pool_, this->arena(), slots());
  run_in(arena.memory(), arena.slots(), inputs, outputs, seconds);
}

void Program::run_in(std::byte* memory, std::byte** slots, std::byte* const* inputs,
                     std::byte* const* outputs, double* seconds) const {
  std::byte** slot = slots;
  *slot++ = memory;
  slot = std::copy_n(inputs, inputs_, slot);
  slot = std::copy_n(outputs, outputs_, slot);
  for (const void* constant : constants_)
    *slot++ = static_cast<std::byte*>(const_cast<void*>(constant));

  auto start = std::chrono::steady_clock::now();
  for (size_t i = 0; i < steps_.size(); ++i) {
    if (i > 0 && interrupted()) return;
    steps_[i](slots);
    if (!seconds) continue;
    const auto end = std::chrono::steady_clock::now();
    seconds[i] = std::chrono::duration<double>(end - start).count();
    start = end;
  }
}

}  // namespace fastconv
