"""The operators, by family: importing one enters its functions in :mod:`fastconv.graph.registry`.

The families of most networks are imported here, the others when a network has an operator of none of these.
"""

from fastconv.graph.ops import activation, conv, elementwise, linear, norm, pool, reduce, tensor
from fastconv.graph.registry import enter_later

__all__ = ["activation", "conv", "elementwise", "linear", "norm", "pool", "reduce", "tensor"]


@enter_later
def _enter_others() -> None:
    from fastconv.graph.ops import (  # noqa: F401  (each enters its operators)
        bf16,
        cast,
        control,
        detection,
        einsum,
        index,
        integer_conv,
        integer_matmul,
        qlinear,
        quantize,
        recurrent,
        resize,
        sampling,
        sign_conv,
        truth,
    )
