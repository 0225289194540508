// L4 conv: the specification in plain loops over any strides, accumulated in double. Slow; for
// tests and for doubts.
#include <cmath>

#include "conv/algo.h"
#include "conv/stage.h"
#include "core/interrupt.h"
#include "core/parallel.h"

namespace fastconv {
namespace {

class ReferencePacked final : public PackedConv {
 public:
  explicit ReferencePacked(const ConvSpec& spec)
      : params(spec.params), activation(spec.activation), kernels(spec.kernels) {
    const dim_t size = params.oc * (params.ic / params.groups) * params.kernel[0] *
                       params.kernel[1] * params.kernel[2];
    w = spec.source.filled() ? spec.source.take<float>(size) : Buffer<float>::copy_of(spec.w, size);
    if (spec.bias) bias = Buffer<float>::copy_of(spec.bias, params.oc);
  }
  std::unique_ptr<const BoundConv> bind(const ConvShape& s, const View& x, const View& y,
                                        const View* residual,
                                        const std::vector<dim_t>&) const override;
  dim_t bytes() const noexcept override { return w.bytes() + bias.bytes(); }
  std::vector<PackedArray> arrays() const override { return {w}; }
  std::string tile() const override { return "1x1"; }

  ConvParams params;
  Activation activation;
  const KernelTable& kernels;
  Buffer<float> w, bias;
};

class ReferenceBound final : public BoundConv {
 public:
  ReferenceBound(std::shared_ptr<const PackedConv> owner, const ReferencePacked& packed,
                 const ConvShape& s, const View& x, const View& y, const View* residual)
      : owner_(std::move(owner)),
        p_(packed),
        s_(s),
        x_(image_of(x)),
        y_(image_of(y)),
        residual_(residual ? image_of(*residual) : y_) {}
  dim_t workspace() const noexcept override { return 0; }

  void run(const void* x, const float* residual, void* y, std::byte*) const noexcept override {
    const dim_t pixels = s_.out_pixels();
    parallel_for(s_.n * s_.oc * pixels, 256, [&](dim_t begin, dim_t end) {
      for (dim_t i = begin; i < end; ++i) {
        if ((i - begin) % 64 == 63 && interrupted()) return;
        const dim_t n = i / (s_.oc * pixels), o = i / pixels % s_.oc, at = i % pixels;
        const dim_t pos[kMaxSpatial] = {at / (s_.out[1] * s_.out[2]), at / s_.out[2] % s_.out[1],
                                        at % s_.out[2]};
        double sum = p_.bias.size() ? static_cast<double>(p_.bias.data()[o]) : 0.0;
        for (dim_t c = 0; c < s_.group_ic(); ++c)
          sum += window(static_cast<const float*>(x), n, o, c, pos);
        if (residual) sum += static_cast<double>(residual[offset(residual_, n, o, pos)]);
        float value = static_cast<float>(sum);
        p_.kernels.eltwise.activate(1, &value, &value, p_.activation);
        static_cast<float*>(y)[offset(y_, n, o, pos)] = value;
      }
    });
  }

 private:
  static dim_t offset(const Image& m, dim_t n, dim_t c, const dim_t* pos) {
    return n * m.n_stride + c * m.c_stride + pos[0] * m.stride[0] + pos[1] * m.stride[1] +
           pos[2] * m.stride[2];
  }

  // The input position of tap k for output position o in dimension i, or -1 where there is none.
  dim_t input_position(int i, dim_t o, dim_t k) const {
    dim_t in;
    if (p_.params.transposed) {
      const dim_t spread = o + s_.pad_lo[i] - k * s_.dilation[i];
      if (spread < 0 || spread % s_.stride[i]) return -1;
      in = spread / s_.stride[i];
    } else {
      in = o * s_.stride[i] - s_.pad_lo[i] + k * s_.dilation[i];
    }
    return in >= 0 && in < s_.in[i] ? in : -1;
  }

  // One input channel's contribution to one output value.
  double window(const float* x, dim_t n, dim_t o, dim_t c, const dim_t* pos) const {
    const dim_t group = o / s_.group_oc(), channel = group * s_.group_ic() + c;
    const dim_t pair =
        p_.params.transposed ? channel * s_.group_oc() + o % s_.group_oc() : o * s_.group_ic() + c;
    const float* w = p_.w.data() + pair * s_.taps();
    double sum = 0.0;
    for (dim_t kd = 0; kd < s_.kernel[0]; ++kd)
      for (dim_t kh = 0; kh < s_.kernel[1]; ++kh)
        for (dim_t kw = 0; kw < s_.kernel[2]; ++kw) {
          const dim_t at[kMaxSpatial] = {input_position(0, pos[0], kd),
                                         input_position(1, pos[1], kh),
                                         input_position(2, pos[2], kw)};
          if (at[0] < 0 || at[1] < 0 || at[2] < 0) continue;
          sum += static_cast<double>(x[offset(x_, n, channel, at)]) *
                 static_cast<double>(w[(kd * s_.kernel[1] + kh) * s_.kernel[2] + kw]);
        }
    return sum;
  }

  std::shared_ptr<const PackedConv> owner_;
  const ReferencePacked& p_;
  ConvShape s_;
  Image x_, y_, residual_;
};

std::unique_ptr<const BoundConv> ReferencePacked::bind(const ConvShape& s, const View& x,
                                                       const View& y, const View* residual,
                                                       const std::vector<dim_t>&) const {
  return std::make_unique<ReferenceBound>(shared_from_this(), *this, s, x, y, residual);
}

}  // namespace

extern const Algo algo_reference;
const Algo algo_reference = {"reference",
                             [](const ConvParams&, const KernelTable&) { return std::string(); },
                             [](const ConvSpec& spec) -> std::shared_ptr<const PackedConv> {
                               return std::make_shared<ReferencePacked>(spec);
                             }};

}  // namespace fastconv
