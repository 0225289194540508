// L4 conv: see stage.h.
#include "conv/stage.h"

#include <algorithm>
#include <cstring>

#include "core/division.h"
#include "core/parallel.h"
#include "nn/layout.h"

namespace fastconv {
namespace {

bool same_strides(const Image& a, const Image& b) {
  bool same = (a.n == 1 || a.n_stride == b.n_stride) && (a.c == 1 || a.c_stride == b.c_stride);
  for (int i = 0; i < kMaxSpatial; ++i)
    same = same && (a.size[i] == 1 || a.stride[i] == b.stride[i]);
  return same;
}

// Fills the frame of a padded channels-last image batch, or of planes as images of one channel; the
// interior is written by the copy that follows.
void fill_frame(std::byte* data, dim_t element, uint8_t padding, const Image& padded,
                const dim_t* lo, const dim_t* interior) {
  const dim_t pixel = padded.stride[2] * element, row = padded.size[2] * pixel;
  const dim_t left = lo[2] * pixel, middle = interior[2] * pixel;
  parallel_for(
      padded.n * padded.size[0] * padded.size[1], 1 + 65536 / (row + 1),
      [&](dim_t begin, dim_t end) {
        for (dim_t r = begin; r < end; ++r) {
          const dim_t h = r % padded.size[1], d = r / padded.size[1] % padded.size[0];
          std::byte* p = data + r * row;
          const bool inside =
              h >= lo[1] && h < lo[1] + interior[1] && d >= lo[0] && d < lo[0] + interior[0];
          const dim_t head = inside ? left : row;
          std::memset(p, padding, static_cast<size_t>(head));
          if (inside)
            std::memset(p + left + middle, padding, static_cast<size_t>(row - left - middle));
        }
      });
}

bool is_in_order(const Image& m, ImageOrder order) {
  if (order == ImageOrder::channels_last) return m.c_stride == 1 || m.c == 1;
  dim_t step = 1;  // images and channels anywhere, the pixels of one side by side
  for (int i = kMaxSpatial - 1; i >= 0; --i) {
    if (m.size[i] != 1 && m.stride[i] != step) return false;
    step *= m.size[i];
  }
  return true;
}

View view_of(const Image& m, Element element, const void* data) {
  View v{const_cast<void*>(data),
         element,
         5,
         {m.n, m.c, m.size[0], m.size[1], m.size[2]},
         {m.n_stride, m.c_stride, m.stride[0], m.stride[1], m.stride[2]}};
  return v;
}

}  // namespace

Image image_of(const View& v) {
  Image m{v.shape[0], v.shape[1], {1, 1, 1}, v.stride[0], v.stride[1], {0, 0, 0}};
  for (int i = 2; i < v.rank; ++i) {
    m.size[kMaxSpatial - v.rank + i] = v.shape[i];
    m.stride[kMaxSpatial - v.rank + i] = v.stride[i];
  }
  return m;
}

Image dense_image(dim_t n, dim_t c, const dim_t* size, ImageOrder order, dim_t gap) {
  checked_product({n, c + gap, size[0], size[1], size[2]});
  Image m{n, c, {size[0], size[1], size[2]}, 0, 1, {0, 0, 0}};
  dim_t step = order == ImageOrder::channels_last ? c + gap : 1;
  for (int i = kMaxSpatial - 1; i >= 0; --i) {
    m.stride[i] = step;
    step *= size[i];
  }
  if (order == ImageOrder::planes) {
    m.c_stride = step;
    step *= c;
  }
  m.n_stride = step;
  return m;
}

PaddedImage padded_image(dim_t n, dim_t c, const dim_t* size, const dim_t* before,
                         const dim_t* after, ImageOrder order, dim_t gap) {
  dim_t padded[kMaxSpatial];
  for (int i = 0; i < kMaxSpatial; ++i) padded[i] = before[i] + size[i] + after[i];
  PaddedImage image;
  image.whole = image.inside = dense_image(n, c, padded, order, gap);
  image.origin = 0;
  for (int i = 0; i < kMaxSpatial; ++i) {
    image.origin += before[i] * image.whole.stride[i];
    image.inside.size[i] = size[i];
  }
  return image;
}

Staging::Staging(const View& x, const View& y, const View* residual, const dim_t* before,
                 const dim_t* after, ImageOrder order, dim_t x_gap)
    : x_element_(x.element),
      y_element_(y.element),
      x_source_(image_of(x)),
      x_(x_source_),
      y_target_(image_of(y)),
      y_(y_target_),
      residual_(y_target_),
      order_(order),
      x_gap_(std::max<dim_t>(0, x_gap)) {
  bool padded = false;
  for (int i = 0; i < kMaxSpatial; ++i) {
    lo_[i] = before[i];
    padded_[i] = before[i] + x_.size[i] + after[i];
    padded = padded || before[i] || after[i];
  }
  stage_x_ = padded || x_gap != kAsItIs || !is_in_order(x_, order);
  if (stage_x_) {
    const PaddedImage image = padded_image(x_.n, x_.c, x_.size, before, after, order, x_gap_);
    x_ = image.inside;
    x_origin_ = image.origin;
    x_bytes_ = round_up(x_.n * x_.n_stride * element_size(x_element_), dim_t{kAlignment});
  }
  stage_y_ = !is_in_order(y_, order);
  if (stage_y_) {
    y_ = dense_image(y_.n, y_.c, y_.size, order);
    y_bytes_ = round_up(y_.n * y_.n_stride * element_size(y_element_), dim_t{kAlignment});
  }
  has_residual_ = residual != nullptr;
  if (has_residual_) residual_ = image_of(*residual);
  stage_residual_ = has_residual_ && !same_strides(residual_, y_);
}

Staging::Pointers<void, void> Staging::stage(const void* x, const float* residual, void* y,
                                             std::byte* workspace, uint8_t padding) const noexcept {
  Pointers<void, void> p{x, residual, stage_y_ ? workspace + x_bytes_ : y};
  if (stage_x_) {
    const Image whole = order_ == ImageOrder::planes
                            ? dense_image(x_.n * x_.c, 1, padded_)
                            : dense_image(x_.n, x_.c, padded_, order_, x_gap_);
    const dim_t element = element_size(x_element_);
    fill_frame(workspace, element, padding, whole, lo_, x_.size);
    std::byte* const interior = workspace + x_origin_ * element;
    copy(view_of(x_source_, x_element_, x), view_of(x_, x_element_, interior));
    p.x = interior;
  }
  if (stage_residual_) {
    // A residual of another layout is first laid where the result goes; the kernel then adds to it
    // in place.
    copy(view_of(residual_, y_element_, residual), view_of(y_, y_element_, p.y));
    p.residual = static_cast<const float*>(p.y);
  }
  return p;
}

void Staging::unstage(void* staged, void* y) const noexcept {
  if (stage_y_) copy(view_of(y_, y_element_, staged), view_of(y_target_, y_element_, y));
}

}  // namespace fastconv
