// L4 conv: a convolution of 8-bit integers as a plan, exact on every tier: sums are those of
// integers modulo 2^32, so that no result depends on an order, an algorithm or a processor. The
// integer sister of conv2d.h, and built like it: IntegerConv chooses an algorithm and packs the
// weights once, bind() fixes shapes and strides, IntegerConvPlan::run does the work, from any
// thread, without allocating. To add an algorithm: integer_<name>.cpp with an `extern const
// IntegerAlgo` and a row in integer_conv.cpp.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "conv/conv2d.h"
#include "core/shape.h"
#include "core/view.h"
#include "kernels/kernel_table.h"

namespace fastconv {

// Inside, x has bytes of u8: one of s8 is 128 more, and so is its zero point. Weights are s8: one of
// u8 is 128 less.

struct IntegerConvRun {
  const uint8_t* x;
  int32_t zero;          // of x, 0 to 255: what is around the image
  IntegerFinish finish;  // its bias is to be added to the sums of x * w
  // [oc], to be added to the sums of (x - zero) * w. Like all arrays of finish, it is readable up to
  // kFinishColumns beyond oc.
  const int32_t* centred_bias;
  void* y;
  std::byte* workspace;
};
constexpr dim_t kFinishColumns = 64;

class BoundIntegerConv {
 public:
  virtual ~BoundIntegerConv() = default;
  virtual dim_t workspace() const noexcept = 0;  // bytes, from a multiple of kAlignment on
  virtual void run(const IntegerConvRun& run) const noexcept = 0;
};

class PackedIntegerConv : public std::enable_shared_from_this<PackedIntegerConv> {
 public:
  virtual ~PackedIntegerConv() = default;
  // x and y: logical NC<spatial> order, any strides; x has bytes, y those of the result.
  virtual std::unique_ptr<const BoundIntegerConv> bind(const ConvShape& s, const View& x,
                                                       const View& y) const = 0;
  virtual dim_t bytes() const noexcept = 0;
  virtual std::string tile() const = 0;
};

struct IntegerConvSpec {
  const ConvParams& params;
  const int8_t* w;        // dense oi<spatial> (transposed: io<spatial>)
  const int32_t* w_zero;  // [oc], or null: all are 0
  int x_zero;             // 0 to 255, or -1: only a run tells
  const KernelTable& kernels;
};

struct IntegerAlgo {
  const char* name;
  std::string (*reject)(const IntegerConvSpec& spec);  // empty where it accepts
  std::shared_ptr<const PackedIntegerConv> (*prepack)(const IntegerConvSpec& spec);
  // As Algo::pays; null: always.
  bool (*pays)(const ConvShape& shape, const KernelTable& kernels) = nullptr;
};
const IntegerAlgo* const* integer_algo_list(int* count);

// Weights of either sign and the zero points of them: none, one, or one an output channel.
struct IntegerWeights {
  const uint8_t* data;
  bool is_signed;
  const int32_t* zero;
  dim_t zeros;
};
// What becomes of the sums, arrays of oc; see IntegerFinish.
struct IntegerResult {
  StoreAs type = StoreAs::s32;
  const int32_t* bias = nullptr;
  const float *scale = nullptr, *shift = nullptr;
  float low = 0.0f, high = 0.0f;
  int32_t zero = 0;
};

class IntegerConv;

// For given shapes and strides, and at most get_num_threads() threads. The IntegerConv outlives it.
class IntegerConvPlan {
 public:
  Element x_element() const noexcept;
  Element y_element() const noexcept { return y_element_; }
  bool knows_x_zero() const noexcept;
  dim_t workspace() const noexcept { return flipped_bytes_ + bias_bytes_ + bound_->workspace(); }
  // x_zero, as numbers of x's type: of this run, or null where the plan knows.
  void run(const void* x, const int32_t* x_zero, void* y, std::byte* workspace) const noexcept;

 private:
  friend class IntegerConv;
  IntegerConvPlan(const IntegerConv& conv, const ConvShape& s, const View& x, const View& y);

  const IntegerConv& conv_;
  View x_, flipped_;
  Element y_element_;
  dim_t flipped_bytes_ = 0, bias_bytes_ = 0;
  std::unique_ptr<const BoundIntegerConv> bound_;
};

class IntegerConv {
 public:
  // x_zero: of x, in its own type, or null: each run gives it. algorithm: "auto" or a name of
  // integer_algorithm_names(); ArgumentError with the reason where it does not accept.
  IntegerConv(const ConvParams& params, const IntegerWeights& w, bool x_signed,
              const int32_t* x_zero, const IntegerResult& result, const std::string& algorithm);
  ~IntegerConv();

  const ConvParams& params() const noexcept { return params_; }
  ConvShape shape(int rank, const dim_t* x_shape) const {
    return conv_shape(params_, rank, x_shape);
  }
  StoreAs type() const noexcept { return finish_.type; }
  bool x_signed() const noexcept { return x_signed_; }
  bool knows_x_zero() const noexcept { return x_zero_ >= 0; }
  std::unique_ptr<const IntegerConvPlan> bind(const View& x, const View& y) const;

  // s: an input's, or null: what holds for every size, "auto" where the choice waits for it.
  const char* algorithm(const ConvShape* s) const;
  std::string tile(const ConvShape& s) const;
  std::vector<AlgoVerdict> verdicts(const ConvShape* s) const;
  dim_t packed_bytes() const noexcept;

 private:
  friend class IntegerConvPlan;
  IntegerConvSpec spec() const noexcept {
    return {params_, w_.data(), w_zero_.empty() ? nullptr : w_zero_.data(), x_zero_, *kernels_};
  }
  const IntegerAlgo* choose(const ConvShape& s) const;
  std::shared_ptr<const PackedIntegerConv> packed_for(const IntegerAlgo* algo) const;
  void write_bias(int32_t x_zero, int32_t* bias) const noexcept;

  ConvParams params_;
  const KernelTable* kernels_;
  bool x_signed_;
  int x_zero_;
  std::vector<std::string> reasons_;  // of each of the list: it may need w, which is not kept
  Buffer<int8_t> w_;
  std::vector<int32_t> w_zero_, sums_, centred_bias_, bias_;
  std::vector<float> scale_, shift_;
  IntegerFinish finish_;
  std::unique_ptr<Choice<IntegerAlgo, PackedIntegerConv>> choice_;
};

std::vector<std::string> integer_algorithm_names();

}  // namespace fastconv
