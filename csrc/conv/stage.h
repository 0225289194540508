// L4 conv: staging. The kernels read and write channels-last pixels, and dense algorithms want
// their padding in memory. What does not come that way is copied through the workspace: x once into
// a padded channels-last image, y and a differently laid out residual at the end. A channels-last x
// that needs no padding, and a channels-last y, are used in place (but for pixels that would fall
// on each other in L1). Costs: the copy of a padded 3x3 layer is 2-3 % of its time at 64 channels
// and shrinks with them. An algorithm on planes is served the same way.
#pragma once
#include <cstddef>

#include "core/shape.h"
#include "core/view.h"

namespace fastconv {

// A logical view with exactly (n, c, d, h, w).
struct Image {
  dim_t n, c, size[kMaxSpatial];
  dim_t n_stride, c_stride, stride[kMaxSpatial];
};
Image image_of(const View& v);
// How a kernel wants an image: the channels of a pixel side by side, or the pixels of a channel.
enum class ImageOrder { channels_last, planes };
// `gap`: elements after the channels of each pixel, where these are side by side.
Image dense_image(dim_t n, dim_t c, const dim_t* size, ImageOrder order = ImageOrder::channels_last,
                  dim_t gap = 0);

// A dense image with room for so many pixels around each, and the part of it that has none, whose
// first element is `origin` from the whole's.
struct PaddedImage {
  Image whole, inside;
  dim_t origin;
};
PaddedImage padded_image(dim_t n, dim_t c, const dim_t* size, const dim_t* before,
                         const dim_t* after, ImageOrder order = ImageOrder::channels_last,
                         dim_t gap = 0);

class Staging {
 public:
  // before / after: pixels of padding that the algorithm reads around each image. x_gap: unless it
  // is kAsItIs, x is copied in any case, with so many elements between its pixels.
  static constexpr dim_t kAsItIs = -1;
  Staging(const View& x, const View& y, const View* residual, const dim_t* before,
          const dim_t* after, ImageOrder order = ImageOrder::channels_last, dim_t x_gap = kAsItIs);

  // The images that the kernels see; offsets of a staged x count from its unpadded origin.
  const Image& x() const noexcept { return x_; }
  const Image& y() const noexcept { return y_; }
  dim_t workspace() const noexcept { return x_bytes_ + y_bytes_; }  // a multiple of a cache line

  // X and Y: the elements of x and y; void is any.
  template <class X = float, class Y = float>
  struct Pointers {
    const X* x;             // first pixel of the first image, padding before it
    const float* residual;  // addressed like y, or null
    Y* y;
  };
  // `padding` is what all bytes of the pixels around x are.
  template <class X = float, class Y = float>
  Pointers<X, Y> before(const void* x, const float* residual, void* y, std::byte* workspace,
                        uint8_t padding = 0) const noexcept {
    const Pointers<void, void> p = stage(x, residual, y, workspace, padding);
    return {static_cast<const X*>(p.x), p.residual, static_cast<Y*>(p.y)};
  }
  template <class X, class Y>
  void after(const Pointers<X, Y>& p, void* y) const noexcept {
    unstage(p.y, y);
  }
  Element x_element() const noexcept { return x_element_; }
  Element y_element() const noexcept { return y_element_; }

 private:
  Pointers<void, void> stage(const void* x, const float* residual, void* y, std::byte* workspace,
                             uint8_t padding) const noexcept;
  void unstage(void* staged, void* y) const noexcept;

  Element x_element_, y_element_;
  Image x_source_, x_, y_target_, y_, residual_;
  ImageOrder order_;
  dim_t padded_[kMaxSpatial], lo_[kMaxSpatial], x_gap_;
  bool has_residual_, stage_x_, stage_y_, stage_residual_;
  dim_t x_bytes_ = 0, y_bytes_ = 0, x_origin_ = 0;  // the last in elements
};

}  // namespace fastconv
