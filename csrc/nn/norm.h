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

}  // namespace fastconv
