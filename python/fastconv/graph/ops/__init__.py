"""The operators, by family. Importing this package fills the table of :mod:`fastconv.graph.registry`."""

from fastconv.graph.ops import (
    activation,
    cast,
    control,
    conv,
    detection,
    elementwise,
    index,
    linear,
    norm,
    pool,
    quantize,
    recurrent,
    reduce,
    resize,
    sampling,
    tensor,
)

__all__ = [
    "activation",
    "cast",
    "control",
    "conv",
    "detection",
    "elementwise",
    "index",
    "linear",
    "norm",
    "pool",
    "quantize",
    "recurrent",
    "reduce",
    "resize",
    "sampling",
    "tensor",
]
