// L3 gemm: packing B into panels; see PackedB in gemm.h. Called by gemm.cpp and conv/.
#include <cstring>

#include "gemm/gemm.h"
#include "kernels/dispatch.h"

namespace fastconv {

PackedB::PackedB(const GemmKernels& kernels, dim_t K, dim_t N) : kernels_(&kernels), K_(K), N_(N) {
  const dim_t full = N / kernels.nr * kernels.nr;
  const dim_t tail = N == full ? 0 : width(panels() - 1);
  data_ = Buffer(K * (full + tail));
}

int PackedB::width(dim_t p) const noexcept {
  const int half = kernels_->nr / 2;
  return N_ - p * kernels_->nr <= half ? half : kernels_->nr;
}

void PackedB::pack(dim_t k0, dim_t rows, const float* b, dim_t ldk, dim_t ldn, dim_t p0, dim_t p1,
                   float scale) noexcept {
  for (dim_t p = p0; p < p1; ++p) {
    const int w = width(p);
    const dim_t n0 = p * kernels_->nr;
    const int n = static_cast<int>(std::min<dim_t>(w, N_ - n0));
    float* dst = data_.data() + p * K_ * kernels_->nr + k0 * w;
    const float* src = b + n0 * ldn;
    if (ldn == 1) {
      for (dim_t k = 0; k < rows; ++k)
        std::memcpy(dst + k * w, src + k * ldk, static_cast<size_t>(n) * sizeof(float));
    } else if (ldk == 1) {
      fastconv::kernels().layout.transpose(n, rows, src, ldn, dst, w);
    } else {
      for (dim_t k = 0; k < rows; ++k)
        for (int j = 0; j < n; ++j) dst[k * w + j] = src[k * ldk + j * ldn];
    }
    if (n < w)
      for (dim_t k = 0; k < rows; ++k)
        for (int j = n; j < w; ++j) dst[k * w + j] = 0.0f;
    if (scale != 1.0f)
      for (dim_t i = 0; i < rows * w; ++i) dst[i] *= scale;
  }
}

}  // namespace fastconv
