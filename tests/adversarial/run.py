"""What is done with a model that may be adversarial: it is loaded, and run once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

MAX_INPUT = 1 << 24  # elements of an input that is worth making
MAX_BYTES = (
    256 << 20
)  # what an adversarial model is allowed: less than by default, so that little is soon enough


def load_and_run(source: Any, max_bytes: int | None = MAX_BYTES) -> int:
    """Load a model and run it on ones, unless its inputs are too large; return the bytes of the results."""
    import fastconv
    from fastconv.importers import load

    model = load(source, max_bytes=max_bytes)
    shapes = [tuple(n if isinstance(n, int) else 1 for n in info.shape) for info in model.inputs]
    if sum(map(math.prod, shapes)) > MAX_INPUT:
        return 0
    arrays = [np.ones(shape, info.dtype) for shape, info in zip(shapes, model.inputs, strict=True)]
    with fastconv.threads(1):
        results = model(*arrays)
    return sum(r.nbytes for r in (results if isinstance(results, tuple) else (results,)))
