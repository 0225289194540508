// L5 program: parts beside and after each other; see batch_program.h.
#include "program/batch_program.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "core/check.h"
#include "core/division.h"
#include "core/interrupt.h"
#include "core/parallel.h"

namespace fastconv {
namespace {

// A carried tensor starts a cache line, as graph/memory.py's do.
dim_t whole_lines(dim_t bytes) noexcept { return round_up(bytes, dim_t{kAlignment}); }

}  // namespace

BatchProgram::BatchProgram(std::shared_ptr<ArenaPool> pool, std::shared_ptr<const Program> rest,
                           dim_t images, int lanes)
    : pool_(std::move(pool)), rest_(std::move(rest)), images_(images), lanes_(lanes) {
  FC_CHECK(images >= 1, ArgumentError, "images: expected at least 1, got ", images);
  FC_CHECK(lanes >= 1, ArgumentError, "lanes: expected at least 1, got ", lanes);
}

void BatchProgram::add_part(std::shared_ptr<const Program> program, dim_t images) {
  const Program& p = *program;
  FC_CHECK(images >= 1 && planned_ + images <= images_, ArgumentError, "images: expected 1 to ",
           images_ - planned_, ", got ", images);
  FC_CHECK(p.inputs() <= rest_->inputs(), ArgumentError, "program: expected at most ",
           rest_->inputs(), " inputs, got ", p.inputs());
  const size_t carried = rest_->inputs() - p.inputs();
  FC_CHECK(p.outputs() == rest_->outputs() + carried, ArgumentError, "program: expected ",
           rest_->outputs() + carried, " outputs, got ", p.outputs());
  FC_CHECK(parts_.empty() || carried == carried_, ArgumentError, "program: expected ", inputs(),
           " inputs, as in the parts before, got ", p.inputs());
  const auto check = [&](dim_t part, dim_t whole) {
    FC_CHECK(part == 0 || (part % images == 0 && part / images * images_ == whole), ShapeError,
             "program: expected none, or ", images, " of ", images_, " images of an array of ",
             whole, " bytes, got ", part);
  };
  for (size_t i = 0; i < p.inputs(); ++i) check(p.input_bytes(i), rest_->input_bytes(i));
  for (size_t i = 0; i < p.outputs(); ++i)
    check(p.output_bytes(i), i < rest_->outputs()
                                 ? rest_->output_bytes(i)
                                 : rest_->input_bytes(p.inputs() + i - rest_->outputs()));
  carried_ = carried;
  size_t steps_before = 0;
  auto known = programs_.begin();
  for (; known != programs_.end() && *known != program; ++known) steps_before += (*known)->steps();
  parts_.push_back({program.get(), planned_, images, steps_before});
  if (known == programs_.end()) programs_.push_back(std::move(program));
  planned_ += images;
}

size_t BatchProgram::part_steps() const noexcept {
  size_t steps = 0;
  for (const auto& program : programs_) steps += program->steps();
  return steps;
}

void BatchProgram::run(std::byte* const* inputs, std::byte* const* outputs, double* seconds) const {
  FC_CHECK(planned_ == images_, ArgumentError, "parts: expected ", images_, " images, got ",
           planned_);
  const size_t in = this->inputs(), out = this->outputs();
  dim_t carried_bytes = 0, lane_bytes = 0;
  size_t slots = 0;
  for (size_t i = 0; i < carried_; ++i) carried_bytes += whole_lines(rest_->input_bytes(in + i));
  for (const auto& program : programs_) {
    lane_bytes = std::max(lane_bytes, whole_lines(program->arena()));
    slots = std::max(slots, program->slots());
  }
  const size_t room = slots + pointers();  // of a lane
  ArenaPool::Lease arena(*pool_, carried_bytes + std::max(lanes_ * lane_bytes, rest_->arena()),
                         std::max(lanes_ * room, rest_->slots()) + pointers());

  // The whole batch: inputs, carried tensors, outputs. As many pointers as for a part.
  std::byte** const whole_inputs = arena.slots();
  std::byte** const whole_outputs = whole_inputs + in + carried_;
  std::byte** const lane_slots = whole_outputs + out;
  std::byte* memory = arena.memory();
  std::copy_n(inputs, in, whole_inputs);
  for (size_t i = in; i < in + carried_; ++i) {
    whole_inputs[i] = memory;
    memory += whole_lines(rest_->input_bytes(i));
  }
  std::copy_n(outputs, out, whole_outputs);

  const size_t timed = seconds ? part_steps() : 0;
  std::vector<double> lane_seconds(timed * lanes_), step_seconds(timed * lanes_);
  std::atomic<size_t> next{0};
  std::atomic<bool> failed{false};
  const auto run_lane = [&](int lane) {
    std::byte** const slot = lane_slots + lane * room;
    std::byte** const part_inputs = slot + slots;
    std::byte** const part_outputs = part_inputs + in;
    for (size_t i = next++; i < parts_.size() && !failed && !interrupted(); i = next++) {
      const Part& part = parts_[i];
      const Program& program = *part.program;
      const auto at = [&](std::byte* whole, dim_t bytes) {
        return whole + bytes / part.images * part.first;
      };
      for (size_t j = 0; j < in; ++j) part_inputs[j] = at(whole_inputs[j], program.input_bytes(j));
      for (size_t j = 0; j < out; ++j)
        part_outputs[j] = at(whole_outputs[j], program.output_bytes(j));
      for (size_t j = out; j < out + carried_; ++j)
        part_outputs[j] = at(whole_inputs[in + j - out], program.output_bytes(j));
      double* const times = seconds ? &step_seconds[lane * timed] : nullptr;
      program.run_in(memory + lane * lane_bytes, slot, part_inputs, part_outputs, times);
      if (seconds)
        for (size_t s = 0; s < program.steps(); ++s)
          lane_seconds[lane * timed + part.steps_before + s] += times[s];
    }
  };
  parallel_run(lanes_, [&](int lane) {
    const ThreadLimit limit(lanes_ > 1 ? 1 : get_num_threads());
    try {
      run_lane(lane);
    } catch (...) {  // of an operator that wants memory
      failed = true;
      throw;
    }
  });
  for (size_t i = 0; i < lane_seconds.size(); ++i) {
    if (i < timed) seconds[i] = 0;
    seconds[i % timed] += lane_seconds[i] / lanes_;
  }
  if (interrupted()) return;
  rest_->run_in(memory, lane_slots, whole_inputs, whole_outputs,
                seconds ? seconds + timed : nullptr);
}

}  // namespace fastconv
