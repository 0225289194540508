// L5 program: a list of steps and their run; see program.h.
#include "program/program.h"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <utility>

#include "core/allocation.h"
#include "core/check.h"
#include "core/interrupt.h"

namespace fastconv {

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

void Program::call(const std::vector<Place>& operands, std::function<void(void* const*)> function) {
  for (const Place& operand : operands) check(operand);
  steps_.push_back([operands, function = std::move(function)](Slots slots) {
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
