// L4 nn: which of many boxes to keep (NonMaxSuppression).
#pragma once
#include <vector>

#include "core/types.h"

namespace fastconv {

// How boxes are chosen: at most `most` of a class, none that one of a better score overlaps by more
// than `overlap` (the area of what they share, over that of both), and, where `has_least`, none
// whose score is not above `least`. Where `centred` a box is (x, y, width, height), else two
// opposite corners, (y, x, y, x).
struct Suppression {
  dim_t most;
  float overlap, least;
  bool has_least, centred;
};

// kept[image * classes + c] = the boxes of a class that are kept, the best first and of equal
// scores the first one. boxes: [images][count][4], scores: [images][classes][count], dense. NaN is
// the least score; a box without area, or of NaN, overlaps none. Sums and products are in f32, in
// the order of ONNX's formula.
std::vector<std::vector<dim_t>> suppress(const float* boxes, const float* scores, dim_t images,
                                         dim_t classes, dim_t count, const Suppression& how);

}  // namespace fastconv
