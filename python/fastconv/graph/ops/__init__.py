"""The operators, by family: importing one enters its functions in :mod:`fastconv.graph.registry`.

The families of most networks are imported here, the others when a network has an operator of none of these.
"""

from fastconv.graph.ops import activation, conv, elementwise, linear, norm, pool, reduce, tensor
from fastconv.graph.registry import enter_later

__all__ = ["activation", "conv", "elementwise", "linear", "norm", "pool", "reduce", "tensor"]

enter_later(
    f"{__name__}.{family}"
    for family in (
        "cast",
        "truth",
        "index",
        "resize",
        "quantize",
        "qlinear",
        "integer_conv",
        "integer_matmul",
        "bf16",
        "sign_conv",
        "control",
        "recurrent",
        "einsum",
        "detection",
        "sampling",
    )
)
