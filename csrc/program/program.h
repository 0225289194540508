// L5 program: the run phase of a graph. A Program is a flat list of steps, each bound to operands:
// views at an offset of a slot. Slots are the arena (where graph/memory.py laid out every
// intermediate tensor and workspace), the inputs, the outputs and the constants, in this order; the
// arena comes from a pool, inputs and outputs from the caller of run. Written once by
// graph/compile.py through bindings/bind_program.cpp, then immutable: run is safe from any number
// of threads, each run with an arena of its own, and allocates nothing once the pool has one that
// is large enough. What the steps are, their bindings say (bindings/steps.h).
#pragma once
#include <cstddef>
#include <functional>
#include <initializer_list>
#include <memory>
#include <vector>

#include "core/buffer.h"
#include "core/fork_mutex.h"
#include "core/view.h"

namespace fastconv {

using Slots = std::byte* const*;  // the first byte of each slot of a run

// What a run needs besides the program: memory, and the first byte of every slot.
struct Arena {
  Buffer<std::byte> memory;
  std::vector<std::byte*> slots;
};

// Idle arenas, shared by the programs of one model: as many exist as runs ever were under way at
// the same time.
class ArenaPool {
 public:
  // An arena of at least these sizes, which goes back to its pool however the run ends.
  class Lease {
   public:
    Lease(ArenaPool& pool, dim_t bytes, size_t slots);
    ~Lease() { pool_.give(std::move(arena_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    std::byte* memory() noexcept { return arena_->memory.data(); }
    std::byte** slots() noexcept { return arena_->slots.data(); }

   private:
    ArenaPool& pool_;
    std::unique_ptr<Arena> arena_;
  };
  dim_t bytes() const;  // of the idle ones

 private:
  std::unique_ptr<Arena> take();
  void give(std::unique_ptr<Arena> arena) noexcept;

  mutable ForkMutex mutex_;
  std::vector<std::unique_ptr<Arena>> idle_;
};

// Where an array lies whose memory is known only at run time, in bytes of its slot.
struct Place {
  int slot = 0;
  dim_t offset = 0;         // of the element with indices 0
  dim_t low = 0, high = 0;  // the first byte that is touched and the one after the last

  std::byte* at(Slots slots) const noexcept { return slots[slot] + offset; }
};

// The same as a view.
struct Operand {
  Place place;
  View view;  // its data pointer is not used

  View at(Slots slots) const noexcept {
    View v = view;
    v.data = place.at(slots);
    return v;
  }
};

class Program {
 public:
  // Sizes are in bytes: what elements an array has is known to the steps that read and write it.
  Program(std::shared_ptr<ArenaPool> pool, dim_t arena, const std::vector<dim_t>& inputs,
          const std::vector<dim_t>& outputs);
  // The array must outlive the program. Returns the slot.
  int add_constant(const void* data, dim_t bytes);

  using Step = std::function<void(Slots slots)>;

  // An operand of a step, which may be absent, and the elements that the step works with there.
  struct Expected {
    Expected(const Operand* operand) : operand(operand) {}
    Expected(const Operand* operand, std::initializer_list<Element> elements) : operand(operand) {
      this->elements = 0;
      for (const Element element : elements) this->elements |= 1u << static_cast<int>(element);
    }
    const Operand* operand;
    uint32_t elements = 1u << static_cast<int>(Element::f32);
  };

  // Appends a step, which finds its operands in the slots of a run. An operand that is not inside its
  // slot is a ShapeError, one of other elements than the step works with an ArgumentError.
  void add(std::initializer_list<Expected> operands, Step step);

  // A function of the caller's, for what has no kernel: it gets the address of each operand's first
  // element, on the thread that called run. What it throws ends the run.
  void call(const std::vector<Place>& operands, std::function<void(void* const*)> function);

  // inputs[i] and outputs[i] are row-major arrays of the sizes given at construction. seconds, when
  // not null, receives the time of each step.
  void run(std::byte* const* inputs, std::byte* const* outputs, double* seconds = nullptr) const;

  // The same, in memory of arena() bytes, with room for slots() pointers.
  void run_in(std::byte* memory, std::byte** slots, std::byte* const* inputs,
              std::byte* const* outputs, double* seconds = nullptr) const;
  dim_t arena() const noexcept { return sizes_[0]; }
  size_t slots() const noexcept { return sizes_.size(); }

  dim_t input_bytes(size_t i) const { return sizes_.at(1 + i); }
  dim_t output_bytes(size_t i) const { return sizes_.at(1 + inputs_ + i); }
  size_t inputs() const noexcept { return inputs_; }
  size_t outputs() const noexcept { return outputs_; }
  size_t steps() const noexcept { return steps_.size(); }

 private:
  void check(const Place& place) const;

  std::shared_ptr<ArenaPool> pool_;
  size_t inputs_, outputs_;
  std::vector<dim_t> sizes_;            // bytes of each slot
  std::vector<const void*> constants_;  // the last slots
  std::vector<Step> steps_;
};

}  // namespace fastconv
