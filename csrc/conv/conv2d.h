// L4 conv: a convolution of any kind as a plan. Conv chooses the algorithm (algo_list.cpp, first
// that accepts) and packs the weights once; bind() fixes shapes and strides; BoundConv::run does
// the work, from any thread, without allocating. Called by bindings/bind_conv.cpp and program/.
// Start reading at Conv::Conv in conv2d.cpp.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "core/epilogue.h"
#include "core/shape.h"
#include "core/view.h"

namespace fastconv {

struct Algo;
class PackedConv;

// A plan for given shapes and strides of x, y and residual.
class BoundConv {
 public:
  virtual ~BoundConv() = default;
  virtual dim_t workspace() const noexcept = 0;  // floats
  virtual void run(const float* x, const float* residual, float* y,
                   float* workspace) const noexcept = 0;
};

// Why an algorithm was not taken, for explain(); reason is empty for the one in use.
struct AlgoVerdict {
  std::string name;
  std::string reason;
};

class Conv {
 public:
  // w: [oc][ic / groups][spatial...] (transposed: [ic][oc / groups][spatial...]), dense; bias: [oc]
  // or null. algorithm: "auto" or a name of algorithm_names(); ArgumentError with the reason where
  // it does not accept.
  Conv(const ConvParams& params, const float* w, const float* bias, const Activation& activation,
       const std::string& algorithm);
  ~Conv();

  const ConvParams& params() const noexcept { return params_; }
  ConvShape shape(int rank, const dim_t* x_shape) const {
    return conv_shape(params_, rank, x_shape);
  }
  // Views in logical NC<spatial> order, any strides; their data pointers are ignored. residual may
  // be null.
  std::unique_ptr<const BoundConv> bind(const View& x, const View& y, const View* residual) const;

  const char* algorithm() const noexcept;
  std::string tile() const;
  std::vector<AlgoVerdict> verdicts() const;
  dim_t packed_bytes() const noexcept;

 private:
  ConvParams params_;
  const Algo* algo_ = nullptr;
  std::shared_ptr<const PackedConv> packed_;
};

std::vector<std::string> algorithm_names();

}  // namespace fastconv
