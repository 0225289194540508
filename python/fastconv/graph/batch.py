"""A batch for a graph that is written for one image: run image by image where its steps would mix them.

A Reshape to (1, -1) makes one long row of all images, and a softmax along it, or a Split, has no notion of
where one ends. Where each step of a program is known to treat images by themselves they run together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastconv.errors import ShapeError
from fastconv.graph.value import Array


def one_by_one(run: Callable[[Sequence[Any]], list[Array]], arrays: Sequence[Array]) -> list[Array]:
    """Run each image alone and join the results; inputs of one image serve all."""
    sizes = {len(a) for a in arrays if a.ndim and len(a) != 1}
    if len(sizes) != 1:
        raise ShapeError(f"inputs: expected one batch size, got {sorted(sizes)}")
    (images,) = sizes
    if images == 0:
        raise ShapeError("inputs: expected at least 1 image, where a graph is written for one, got none")
    parts = [run([a[i : i + 1] if a.ndim and len(a) != 1 else a for a in arrays]) for i in range(images)]
    if any(not result.ndim for result in parts[0]):
        raise ShapeError(f"inputs: expected 1 at axis 0, for a result without a batch, got {images}")
    return [np.concatenate(results) for results in zip(*parts, strict=True)]
