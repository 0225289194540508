// L4 nn: normalisation along channels (dimension 1).
#pragma once
#include "core/epilogue.h"
#include "core/view.h"

namespace fastconv {

// y = act(x * scale[c] + shift[c]): batch normalisation with its statistics folded.
void channel_affine(const View& x, const float* scale, const float* shift, const View& y,
                    const Activation& activation) noexcept;
// Local response normalisation across channels (AlexNet, section 3.3; ONNX LRN).
void lrn(const View& x, const View& y, int size, float alpha, float beta, float k) noexcept;
// Mean 0 and variance 1 along the last dimension, which is contiguous in x and y, times scale plus
// shift, a number each for its elements, or with step 0 for all of them (Ba et al. 2016; ONNX
// LayerNormalization).
void layer_norm(const View& x, const float* scale, const float* shift, dim_t step, const View& y,
                float epsilon) noexcept;

}  // namespace fastconv
