// L5 experiments: see tiles.h.
#include "experiments/tiles.h"

#include "gemm/gemm.h"

namespace fastconv {

void repeat_tile(const GemmKernels& kernels, int width, int rows, dim_t K, const float* a,
                 const float* b, float* c, dim_t repeats) noexcept {
  constexpr dim_t kZeroTap = 0;
  GemmTile t{};
  t.a = a;
  t.lda = K;
  t.tap_offset = &kZeroTap;
  t.taps = 1;
  t.K = K;
  t.b = b;
  t.ldb = width;
  t.c = c;
  t.ldc = width;
  t.n_cur = width;
  const GemmPanel::Ukr ukr = panel_kernels(kernels, width).ukr[rows - 1];
  for (dim_t i = 0; i < repeats; ++i) ukr(t);
}

}  // namespace fastconv
