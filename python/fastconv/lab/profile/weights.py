"""What a layer's weights are: where its node has them, of which type, and which pairs of them saturate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.graph.context import Step
from fastconv.graph.ir import Node
from fastconv.graph.value import BYTES, U8, Constant, Tensor, element_name

# Where a node has its weights, and its bias, if not second and third. The products with the inputs of a
# recurrent layer, one for each direction, are steps of their own, without it.
_INPUTS: Mapping[str, tuple[int, int | None]] = {
    **dict.fromkeys(("RNN", "GRU", "LSTM", "DynamicQuantizeLSTM"), (1, None)),
    **dict.fromkeys(
        ("ConvInteger", "ConvIntegerToFloat", "MatMulInteger", "MatMulIntegerToFloat"), (1, None)
    ),
    **dict.fromkeys(("QLinearConv", "QuantizedConv"), (3, 8)),
    "QLinearMatMul": (3, None),
    "QGemm": (3, 6),
}
SAFE = 128  # of |w0 + w1|: 255 times more is beyond 16 bits


def weights_of(node: Node) -> str:
    """Return the name of the weights of a convolution's or product's node."""
    at, _ = _INPUTS.get(node.op, (1, 2))
    return node.inputs[at]


def bias_of(node: Node) -> str:
    """Return the name of its bias, or "" where it has none."""
    _, at = _INPUTS.get(node.op, (1, 2))
    return "" if at is None or at >= len(node.inputs) else node.inputs[at]


def elements_of(step: Step, constants: Mapping[str, Constant]) -> str:
    """Return the types of what a step reads, multiplies by and writes: ``u8 x s8 > u8``, or ``f32``.

    Of a convolution of signs that is what it multiplies: ``bit x bit > f32``.
    """
    x = _first(step)
    read, written = element_name(x.dtype), element_name(step.output.dtype)
    weights = constants.get(weights_of(step.node)) if step.is_convolution else None
    if step.algorithm == "xnor":
        return f"bit x bit > {written}"
    if step.kind == "integer_conv" and weights is not None:
        return f"{read} x {element_name(weights.dtype)} > {written}"
    return read if read == written else f"{read} > {written}"


def saturating_pairs(step: Step, constants: Mapping[str, Constant]) -> tuple[int, int]:
    """Count the pairs of weights whose two products may be more than 16 bits hold, and all pairs.

    ``vpmaddubsw`` adds the products of two neighbouring bytes in 16 bits and saturates there: with pixels of
    255 where two weights add up to more than 128, or to less than -128. Neighbours are input channels 2 i and
    2 i + 1 at the same place of the kernel, as a product has them, or rows 2 i and 2 i + 1 of a matrix; a
    last one of an odd number has none. Weights of u8 are taken as s8, 128 less. A layer of other numbers than
    bytes has no such pairs, nor has a product with a piece of its node's weights, as recurrent layers have.
    """
    weights = constants.get(weights_of(step.node)) if step.kind == "integer_conv" else None
    if weights is None or weights.dtype not in BYTES:
        return 0, 0
    columns = _columns(step, weights)
    if columns is None:
        return 0, 0
    whole = columns.astype(np.int16) - (128 if weights.dtype == U8 else 0)
    even = whole.shape[1] // 2 * 2
    sums = whole[:, 0:even:2] + whole[:, 1:even:2]
    return int(np.count_nonzero(np.abs(sums) > SAFE)), sums.size


def _columns(step: Step, weights: Constant) -> npt.NDArray[Any] | None:
    """Return weights with input channels second; None where the step multiplies by a piece of them."""
    if len(step.output.shape) > 2:
        return weights.array
    inner, columns = _first(step).shape[1], step.output.shape[1]
    if math.prod(weights.shape) != inner * columns:
        return None
    if step.node.op == "QGemm" and step.node.attrs.get("transB"):
        return weights.array
    return weights.array.reshape(inner, columns).T


def _first(step: Step) -> Tensor:
    return next((t for t in step.inputs if t is not None), step.output)
