// L5 program: the run phase of a graph. A Program is a flat list of steps, each bound to operands:
// views at an offset of a slot. Slots are the arena (where graph/memory.py laid out every
// intermediate tensor and workspace), the inputs, the outputs and the constants, in this order; the
// arena comes from a pool, inputs and outputs from the caller of run. Written once by
// graph/compile.py through bindings/bind_program.cpp, then immutable: run is safe from any number
// of threads, each run with an arena of its own, and allocates nothing once the pool has one that
// is large enough.
#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "conv/conv2d.h"
#include "conv/integer_conv.h"
#include "core/buffer.h"
#include "core/fork_mutex.h"
#include "core/ops.h"
#include "core/quantization.h"
#include "core/view.h"
#include "nn/grid_sample.h"
#include "nn/pool.h"
#include "nn/recurrent.h"
#include "nn/resize.h"

namespace fastconv {

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

  std::byte* at(std::byte* const* slots) const noexcept { return slots[slot] + offset; }
};

// The same as a view.
struct Operand {
  Place place;
  View view;  // its data pointer is not used

  View at(std::byte* const* slots) const noexcept {
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

  // Steps, in the order of their calls; they mean what nn/*.h and conv/conv2d.h say. An operand
  // that is not inside its slot is a ShapeError, one of other elements than the step works with an
  // ArgumentError.
  void conv(std::shared_ptr<const BoundConv> conv, const Operand& x, const Operand* residual,
            const Operand& y, const Operand& workspace);
  // x_zero: one number of x's type, where a run tells.
  void integer_conv(std::shared_ptr<const IntegerConvPlan> conv, const Operand& x,
                    const Operand* x_zero, const Operand& y, const Operand& workspace);
  void gemm(const Operand& a, const Operand& b, const Operand* c, const Operand& y, float alpha,
            float beta, const Activation& activation);
  void activate(const Operand& x, const Operand& y, const Activation& activation);
  void binary(const Operand& a, const Operand& b, const Operand& y, BinaryOp op,
              const Activation& activation);
  void prelu(const Operand& x, const Operand& slope, const Operand& y);
  void compare(const Operand& a, const Operand& b, const Operand& y, CompareOp op);
  void logic(const Operand& a, const Operand& b, const Operand& y, LogicOp op);
  void grid_sample(const Operand& x, const Operand& grid, const Operand& y, SampleMode mode,
                   SamplePadding padding, bool align_corners);
  // Into values and indices; rows lie along the last dimension.
  void top_k(const Operand& x, const Operand& values, const Operand& indices, bool largest);
  void choose(const Operand& condition, const Operand& a, const Operand& b, const Operand& y);
  void max_pool2d(const Operand& x, const Operand& y, const PoolShape& p);
  void avg_pool2d(const Operand& x, const Operand& y, const PoolShape& p, bool count_include_pad);
  void channel_affine(const Operand& x, const Operand& scale, const Operand& shift,
                      const Operand& y, const Activation& activation);
  void lrn(const Operand& x, const Operand& y, int size, float alpha, float beta, float k);
  void layer_norm(const Operand& x, const Operand& scale, const Operand& shift, const Operand& y,
                  float epsilon);
  void softmax(const Operand& x, const Operand& y, int axis);
  void reduce(const Operand& x, const Operand& y, ReduceOp op);
  void resize2d(const Operand& x, const Operand& y, const ResizeParams& p);
  // Operands that are null are absent; y has a last state below the steps for each of the layer's.
  void recurrent(std::shared_ptr<const Recurrent> layer, const Operand& x, const Operand* initial_h,
                 const Operand* initial_c, const Operand* peepholes, const Operand* lengths,
                 const Operand& y, const Operand& workspace);
  void copy(const Operand& x, const Operand& y);
  void fill(const Operand& y, float value);

  // Numbers of 8 bits. A scale and a zero point are single numbers, which a run may compute; the
  // zero point has the numbers' type, and is absent where they are s32.
  void quantize(const Operand& x, const Operand& scale, const Operand& zero, const Operand& y);
  void dequantize(const Operand& x, const Operand& scale, const Operand* zero, const Operand& y);
  void dynamic_range(const Operand& x, const Operand& y);  // y: 2 numbers without a gap
  void lookup(const Operand& x, const Operand& table, const Operand& y);
  void quantized_binary(const Operand& a, const Operand& b, const Operand& y, BinaryOp op,
                        Quantization from_a, Quantization from_b, Quantization to);
  void quantized_avg_pool2d(const Operand& x, const Operand& y, const PoolShape& p,
                            bool count_include_pad, Quantization from, Quantization to);

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
  using Step = std::function<void(std::byte* const* slots)>;

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
  void check(const Place& place) const;
  void add(std::initializer_list<Expected> operands, Step step);

  std::shared_ptr<ArenaPool> pool_;
  size_t inputs_, outputs_;
  std::vector<dim_t> sizes_;            // bytes of each slot
  std::vector<const void*> constants_;  // the last slots
  std::vector<Step> steps_;
};

}  // namespace fastconv
