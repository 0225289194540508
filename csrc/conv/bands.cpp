// L4 conv: see bands.h.
#include "conv/bands.h"

namespace fastconv {

Bands::Bands(const View& y, const View* residual) : y_(image_of(y)), residual_(y_) {
  if (residual) residual_ = image_of(*residual);
  const dim_t row = y_.size[2] * y_.c * static_cast<dim_t>(sizeof(float));
  const dim_t slices = y_.n * y_.size[0];
  large_ = y_.c > 1 && y_.c_stride != 1 && slices * y_.size[1] * row > 2 * caches().l2 &&
           slices * y_.size[1] >= 4 * dim_t{threads_};  // to be shared
  if (!large_) return;
  // A quarter of L2, but a band for each thread.
  const dim_t rows = std::clamp<dim_t>(
      std::min(caches().l2 / 4 / row, ceil_div(slices * y_.size[1], dim_t{threads_})), 1,
      y_.size[1]);
  per_slice_ = ceil_div(y_.size[1], rows);
  count_ = slices * per_slice_;
  band_bytes_ = round_up(ceil_div(y_.size[1], per_slice_) * row, dim_t{kAlignment});
}

View Bands::dense(const View& y) const noexcept {
  View v = y;
  dim_t step = v.shape[1];
  v.stride[1] = 1;
  for (int i = v.rank - 1; i >= 2; --i) {
    v.stride[i] = step;
    step *= v.shape[i];
  }
  v.stride[0] = step;
  return v;
}

View Bands::part(const Image& image, const Band& b, float* data) const noexcept {
  const dim_t offset = b.slice / y_.size[0] * image.n_stride +
                       b.slice % y_.size[0] * image.stride[0] + b.row * image.stride[1];
  return {data + offset,
          Element::f32,
          3,
          {image.c, b.rows, image.size[2]},
          {image.c_stride, image.stride[1], image.stride[2]}};
}

View Bands::whole(const Band& b, float* data) const noexcept {
  return {data, Element::f32, 3, {y_.c, b.rows, y_.size[2]}, {1, y_.size[2] * y_.c, y_.c}};
}

}  // namespace fastconv
