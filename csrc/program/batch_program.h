// L5 program: a batch run in parts. What one image needs of the memory between steps is small
// enough for the caches where what eight need is not; and parts can run beside each other, one
// thread each, with nothing to wait for between steps. A BatchProgram runs the first steps of a
// graph part by part, each part a Program over its images, and then the rest, one Program over all
// of them. What passes from the parts to the rest (the carried tensors) are the last outputs of the
// part's Program and the last inputs of the rest's. Written by graph/split.py, which decides what
// may be cut where.
#pragma once
#include <memory>
#include <vector>

#include "program/program.h"

namespace fastconv {

class BatchProgram {
 public:
  // Of a batch of `images`. `lanes` parts run at a time; with more than one lane each part runs on
  // one thread.
  BatchProgram(std::shared_ptr<ArenaPool> pool, std::shared_ptr<const Program> rest, dim_t images,
               int lanes);
  // The next part, over `images` images: those times an input, output or carried tensor is what the
  // batch has of it, divided by the batch, or 0 where it is not touched, else a ShapeError.
  void add_part(std::shared_ptr<const Program> program, dim_t images);

  // As for Program. seconds: those of the steps of each distinct Program in the order of its first
  // part, summed over its parts and divided by the lanes; then those of the rest.
  void run(std::byte* const* inputs, std::byte* const* outputs, double* seconds = nullptr) const;

  dim_t input_bytes(size_t i) const { return rest_->input_bytes(i); }
  dim_t output_bytes(size_t i) const { return rest_->output_bytes(i); }
  size_t inputs() const noexcept { return rest_->inputs() - carried_; }
  size_t outputs() const noexcept { return rest_->outputs(); }
  size_t steps() const noexcept { return part_steps() + rest_->steps(); }

 private:
  struct Part {
    const Program* program;
    dim_t first, images;
    size_t steps_before;  // of programs before its own
  };
  size_t part_steps() const noexcept;
  // The pointers that a run hands to a Program: its inputs, then its outputs.
  size_t pointers() const noexcept { return inputs() + outputs() + carried_; }

  std::shared_ptr<ArenaPool> pool_;
  std::shared_ptr<const Program> rest_;
  dim_t images_, planned_ = 0;
  int lanes_;
  size_t carried_ = 0;
  std::vector<std::shared_ptr<const Program>> programs_;
  std::vector<Part> parts_;
};

}  // namespace fastconv
