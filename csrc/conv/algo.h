// L4 conv: what an algorithm is. algo_list.cpp orders them; the first whose reject() has no reason
// and which pays for the input's size is taken. To add one: algo_<name>.cpp with an `extern const
// Algo algo_<name>` and a row in algo_list.cpp; tests and bench then run it on every shape that it
// accepts.
#pragma once
#include <memory>
#include <string>

#include "conv/conv2d.h"
#include "kernels/kernel_table.h"

namespace fastconv {

// Weights in the order that an algorithm wants, independent of the input's size; shared by every
// BoundConv made from it.
class PackedConv : public std::enable_shared_from_this<PackedConv> {
 public:
  virtual ~PackedConv() = default;
  // blocks: empty, or a size for each of BoundConv::blocks(), within its limits.
  virtual std::unique_ptr<const BoundConv> bind(const ConvShape& shape, const View& x,
                                                const View& y, const View* residual,
                                                const std::vector<dim_t>& blocks) const = 0;
  virtual dim_t bytes() const noexcept = 0;
  // What BufferSource would have to give, in this order, for an equal one; the rest (bias, tables)
  // is made anew.
  virtual std::vector<PackedArray> arrays() const = 0;
  virtual std::string tile() const = 0;  // for explain()
  // How many weights are multiplied where those that are zero are left out; 0 elsewhere.
  virtual dim_t kept_weights() const noexcept { return 0; }
};

// Of the order of the arrays of all PackedConv: to be raised when one changes, for they are kept in
// files (packing_id).
constexpr int kPackingVersion = 1;

// What prepack gets; w is dense oi<spatial> (transposed: io<spatial>), bias [oc] or null. The
// arrays of weights come from `source`; where that is filled, w is not read.
struct ConvSpec {
  const ConvParams& params;
  const float* w;
  const float* bias;
  Activation activation;
  const KernelTable& kernels;
  bool borrow;  // w outlives the plan: it need not be copied where it is read as it is
  BufferSource& source;
};

struct Algo {
  const char* name;
  // Empty where the algorithm accepts; else why not.
  std::string (*reject)(const ConvParams& params, const KernelTable& kernels);
  std::shared_ptr<const PackedConv> (*prepack)(const ConvSpec& spec);
  // Whether "auto" takes it for this input or goes on down the list; null: always. A function of
  // one image's size: were it to see the batch or the threads, an image's result would depend on
  // them.
  // once: the weights are packed for this one call, which has to pay for that too.
  bool (*pays)(const ConvParams& params, const ConvShape& shape, bool once,
               const KernelTable& kernels) = nullptr;
  // Why "auto" leaves it out whatever the input's size, though it accepts, or empty; null: never.
  std::string (*unsuited)(const ConvParams& params, const KernelTable& kernels) = nullptr;
  // As Conv has them; null: never.
  bool (*stores_bf16)(const ConvShape& shape, const KernelTable& kernels) = nullptr;
  bool reads_bf16 = false;
};

const Algo* const* algo_list(int* count);
// Those of convolutions that take the signs of their input.
const Algo* const* sign_algo_list(int* count);

}  // namespace fastconv
