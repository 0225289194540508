// L4 conv: a convolution of any kind as a plan. Conv chooses the algorithm (algo_list.cpp: the
// first that accepts and pays) and packs the weights once; bind() fixes shapes and strides;
// BoundConv::run does the work, from any thread, without allocating. Called by
// bindings/bind_conv.cpp and program/. Start reading at Conv::Conv in conv2d.cpp.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/buffer.h"
#include "core/cpu.h"
#include "core/epilogue.h"
#include "core/shape.h"
#include "core/view.h"

namespace fastconv {

struct Algo;
struct KernelTable;
class PackedConv;
template <class A, class Packed>
class Choice;

// How much of a convolution is done together, for the caches' sake: what a plan decides besides the
// algorithm, and no bit of the result depends on. A size is `most`, or a smaller multiple of
// `step`.
struct BlockSize {
  const char* name;
  dim_t size, step, most;
};

// A plan for given shapes and strides of x, y and residual.
class BoundConv {
 public:
  virtual ~BoundConv() = default;
  virtual std::vector<BlockSize> blocks() const { return {}; }  // empty: nothing to decide
  virtual dim_t workspace() const noexcept = 0;                 // bytes
  // x and y are numbers of the elements of the views that it was bound to.
  // Returns early where core/interrupt.h says so.
  virtual void run(const void* x, const float* residual, void* y,
                   std::byte* workspace) const noexcept = 0;
};

// Weights that an equal plan had packed for an algorithm, in memory that outlives the plan.
struct StoredWeights {
  std::string algorithm;
  const void* data;
  dim_t bytes;
};
// Those of a plan: `arrays` are what to store, one after another, each from a multiple of
// kAlignment bytes on.
struct PackedWeights {
  std::string algorithm;
  std::vector<PackedArray> arrays;
};
// Names the order in which this version packs weights for a tier: to be equal where stored ones are
// to serve.
std::string packing_id(Tier tier);

// Why an algorithm was not taken, for explain(); reason is empty for the one in use.
struct AlgoVerdict {
  std::string name;
  std::string reason;
};

class Conv {
 public:
  // w: [oc][ic / groups][spatial...] (transposed: [ic][oc / groups][spatial...]), dense; bias: [oc]
  // or null. algorithm: "auto" or a name of algorithm_names(); ArgumentError with the reason where
  // it does not accept. Where the choice waits for the input's size, it is made for x_shape once
  // and for all if that is given; else at each bind(), and the weights are kept for it. once: the
  // plan is for a single call. borrow: w outlives the plan and need not be copied. stored: w is not
  // read for these algorithms, and may be null if no other is in use; ShapeError, here or at
  // bind(), where they are of another size.
  Conv(const ConvParams& params, const float* w, const float* bias, const Activation& activation,
       const std::string& algorithm, const std::vector<dim_t>& x_shape = {}, bool once = false,
       bool borrow = false, std::vector<StoredWeights> stored = {});
  ~Conv();

  const ConvParams& params() const noexcept { return params_; }
  ConvShape shape(int rank, const dim_t* x_shape) const {
    return conv_shape(params_, rank, x_shape);
  }
  // Views in logical NC<spatial> order, any strides; their data pointers are ignored. x and y are f32,
  // or bf16 where reads_bf16() and stores_bf16() say so; residual is f32 or null, and null where y is
  // bf16. The plan is for get_num_threads() threads at most. blocks: for experiments, a size for each
  // of BoundConv::blocks() in place of the plan's own.
  std::unique_ptr<const BoundConv> bind(const View& x, const View& y, const View* residual,
                                        const std::vector<dim_t>& blocks = {}) const;

  // What serves an input of that shape; without one, what serves all, or "auto" where that differs.
  const char* algorithm(const ConvShape* s) const;
  std::string tile(const ConvShape& s) const;
  dim_t kept_weights(const ConvShape& s) const;  // of sparse ones, else 0
  // Whether x may be bf16: the bits are then those of the same numbers as f32. And whether y may be,
  // which is what f32 would be, rounded to nearest, ties to even, of a plan without residual.
  bool reads_bf16(const ConvShape& s) const;
  bool stores_bf16(const ConvShape& s) const;
  std::vector<AlgoVerdict> verdicts(const ConvShape* s) const;
  dim_t packed_bytes() const noexcept;  // of all algorithms packed so far
  // The same themselves: they live as long as the plan.
  std::vector<PackedWeights> packed() const;
  std::string packing() const { return packing_id(tier_); }

 private:
  std::string reason_against(const Algo& algo, bool automatic) const;
  bool pays(const Algo& algo, const ConvShape& s) const;
  const Algo* choose(const ConvShape& s) const;
  std::shared_ptr<const PackedConv> packed_for(const Algo* algo) const;
  std::shared_ptr<const PackedConv> prepack(const Algo* algo, const float* w,
                                            const float* bias) const;

  ConvParams params_;
  Activation activation_;
  bool once_, borrow_;
  std::vector<StoredWeights> stored_;
  const KernelTable* kernels_;
  Tier tier_;
  Buffer<float> w_, bias_;  // empty once there is but one candidate
  std::unique_ptr<Choice<Algo, PackedConv>> choice_;
};

std::vector<std::string> algorithm_names();

}  // namespace fastconv
