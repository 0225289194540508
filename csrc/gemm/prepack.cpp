// L3 gemm: packing B into panels; see PackedB in gemm.h. Called by gemm.cpp and conv/.
#include <cstring>

#include "core/check.h"
#include "gemm/gemm.h"
#include "kernels/dispatch.h"

namespace fastconv {
namespace {

// A row at a time, in pieces whose size the compiler knows: a call of memcpy for each of them costs
// as much as the copy.
template <int kFloats>
void copy_rows(dim_t rows, const float* b, dim_t ldk, float* dst) {
  for (dim_t k = 0; k < rows; ++k) {
    __builtin_prefetch(b + k * ldk + kFloats, 0, 2);
    std::memcpy(dst + k * kFloats, b + k * ldk, kFloats * sizeof(float));
  }
}

// The same of rows whose length it does not know.
void copy_parts(dim_t rows, const float* b, dim_t ldk, int n, int width, float* dst) {
  for (dim_t k = 0; k < rows; ++k) {
    const float* from = b + k * ldk;
    float* to = dst + k * width;
    int j = 0;
    for (; j + 8 <= n; j += 8) std::memcpy(to + j, from + j, 8 * sizeof(float));
    if (j + 4 <= n) {
      std::memcpy(to + j, from + j, 4 * sizeof(float));
      j += 4;
    }
    if (j + 2 <= n) {
      std::memcpy(to + j, from + j, 2 * sizeof(float));
      j += 2;
    }
    if (j < n) to[j] = from[j];
  }
}

}  // namespace

void pack_panel(dim_t rows, const float* b, dim_t ldk, dim_t ldn, int n, int width,
                float* dst) noexcept {
  if (ldn == 1 && n == 32 && width == 32) return copy_rows<32>(rows, b, ldk, dst);
  if (ldn == 1 && n == 24 && width == 24) return copy_rows<24>(rows, b, ldk, dst);
  if (ldn == 1 && n == 16 && width == 16) return copy_rows<16>(rows, b, ldk, dst);
  if (ldn == 1 && n == 8 && width == 8) return copy_rows<8>(rows, b, ldk, dst);
  if (n < width) std::memset(dst, 0, static_cast<size_t>(rows * width) * sizeof(float));
  if (ldn == 1) {
    copy_parts(rows, b, ldk, n, width, dst);
  } else if (ldk == 1) {
    kernels().layout.transpose(n, rows, b, ldn, dst, width);
  } else {
    for (dim_t k = 0; k < rows; ++k)
      for (int j = 0; j < n; ++j) dst[k * width + j] = b[k * ldk + j * ldn];
  }
}

PackedB::PackedB(const GemmKernels& kernels, dim_t K, dim_t N, Buffer<float> data)
    : kernels_(&kernels), K_(K), N_(N), data_(std::move(data)) {}

std::string PackedB::tile() const {
  return message(panel_kernels(*kernels_, width(0)).mr, "x", width(0));
}

void PackedB::pack(dim_t k0, dim_t rows, const float* b, dim_t ldk, dim_t ldn) noexcept {
  for (dim_t p = 0; p < panels(); ++p) {
    const int w = width(p);
    const dim_t n0 = p * kernels_->nr;
    pack_panel(rows, b + n0 * ldn, ldk, ldn, static_cast<int>(std::min<dim_t>(w, N_ - n0)), w,
               panel(p) + k0 * w);
  }
}

}  // namespace fastconv
