"""The operators, by family. Importing this package fills the table of :mod:`fastconv.graph.registry`."""

from fastconv.graph.ops import (
    activation,
    cast,
    conv,
    detection,
    elementwise,
    index,
    linear,
    norm,
    pool,
    qlinear,
    quantize,
    reduce,
    resize,
    sampling,
    tensor,
)

__all__ = [
    "activation",
    "cast",
    "conv",
    "detection",
    "elementwise",
    "index",
    "linear",
    "norm",
    "pool",
    "qlinear",
    "quantize",
    "reduce",
    "resize",
    "sampling",
    "tensor",
]
