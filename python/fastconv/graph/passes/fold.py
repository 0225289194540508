"""Passes that fold a node into the weights or the attributes of another.

Weights are multiplied in float64 and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from fastconv.graph.budget import Budget
from fastconv.graph.context import MAX_RANK
from fastconv.graph.ir import NO_ACTIVATION, Graph, Node
from fastconv.graph.ops.norm import batch_norm_affine
from fastconv.graph.passes.bf16 import is_bf16
from fastconv.graph.passes.editor import Editor, absorbing
from fastconv.graph.passes.signs import filters_of, one_magnitude
from fastconv.graph.registry import FASTCONV_DOMAIN, activation_of
from fastconv.graph.value import Array


def fold_pad(graph: Graph) -> Graph:
    """Move a zero border into the padding of the convolutions that read it."""
    edit = Editor(graph)
    for i, node in enumerate(graph.nodes):
        if node.op != "Pad" or node.outputs[0] in edit.outputs:
            continue
        border = _zero_border(edit, node)
        readers = sorted(edit.readers.get(node.outputs[0], ()))
        if border is None or not readers or not all(_takes_border(edit, r, node, border) for r in readers):
            continue
        half = len(border) // 2
        added = [*border[2:half], *border[half + 2 :]]
        for r in readers:
            conv = edit.nodes[r]
            assert conv is not None
            pads = [a + b for a, b in zip(conv.attrs.get("pads") or [0] * len(added), added, strict=True)]
            attrs = {**conv.attrs, "pads": pads, "auto_pad": "NOTSET"}
            inputs = (node.inputs[0], *conv.inputs[1:])
            edit.put(r, absorbing(conv, node, attrs=attrs, inputs=inputs))
        edit.remove(i)
    return edit.build()


def _zero_border(edit: Editor, node: Node) -> list[int] | None:
    """Return the sizes of a Pad that only surrounds images with zeros, low ones first."""
    if node.attrs.get("mode", "constant") != "constant" or len(node.inputs) > 3:
        return None
    if len(node.inputs) > 1:
        pads = edit.constants.get(node.inputs[1])
        value = edit.scalar(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else 0.0
        border = None if pads is None or pads.size > 2 * MAX_RANK else [int(n) for n in pads.reshape(-1)]
    else:
        border = list(node.attrs.get("pads", node.attrs.get("paddings", ())))
        value = node.attrs.get("value", 0.0)
    if not border or value != 0.0 or min(border) < 0:
        return None
    half = len(border) // 2
    return None if any(border[:2]) or any(border[half : half + 2]) else border


def _takes_border(edit: Editor, reader: int, pad: Node, border: Sequence[int]) -> bool:
    node = edit.nodes[reader]
    if node is None or (node.domain, node.op) != ("", "Conv") or pad.outputs[0] in node.inputs[1:]:
        return False
    w = edit.constants.get(node.inputs[1])
    explicit = node.attrs.get("auto_pad", "NOTSET") == "NOTSET" or (
        node.attrs["auto_pad"] == "VALID" and "pads" not in node.attrs
    )
    return explicit and w is not None and len(border) == 2 * w.ndim


def fold_affine(graph: Graph, budget: Budget | None = None) -> Graph:
    """Fold what multiplies and shifts channels into the node before.

    The first is a batch normalisation or arithmetic with constants, the second a convolution, a matrix
    product or another batch normalisation.
    """
    edit = Editor(graph, budget)
    for i in range(len(graph.nodes)):
        node = edit.nodes[i]
        affine = None if node is None or node.activation != NO_ACTIVATION else affine_of(edit, node)
        if node is None or affine is None:
            continue
        value, factor, offset = affine
        target = edit.private_producer(value)
        fold = None if target is None else _FOLDS.get((target.domain, target.op))
        if target is None or fold is None or target.activation != NO_ACTIVATION:
            continue
        folded = fold(edit, target, factor, offset)
        if folded is not None:
            edit.remove(i)
            edit.put(edit.writer[value], absorbing(folded, node, outputs=node.outputs))
    return edit.build()


def affine_of(edit: Editor, node: Node) -> tuple[str, Array, Array] | None:
    """Return value, factor and offset of a node that computes value * factor + offset by channel."""
    if node.domain:
        return None
    if node.op == "BatchNormalization":
        given = [edit.constants[name] for name in node.inputs[1:] if name in edit.constants]
        inference = not node.attrs.get("training_mode") and node.attrs.get("spatial", 1)
        if len(given) != 4 or any(g.ndim != 1 or g.shape != given[0].shape for g in given) or not inference:
            return None
        if not _may_compute(edit, given[0]):
            return None
        scale, bias, mean, var = given
        factor, offset = batch_norm_affine(scale, bias, mean, var, node.attrs.get("epsilon", 1e-5))
        return node.inputs[0], factor, offset
    if node.op not in ("Add", "Sub", "Mul", "Div") or "axis" in node.attrs or len(node.inputs) != 2:
        return None
    first, second = node.inputs
    swapped = first in edit.constants
    value, other = (second, first) if swapped else (first, second)
    vector = _channel_vector(edit, value, other)
    if vector is None or (swapped and node.op == "Div"):
        return None
    one, zero = np.ones(()), np.zeros(())
    if node.op == "Add":
        return value, one, vector
    if node.op == "Sub":
        return (value, -one, vector) if swapped else (value, one, -vector)
    return value, (vector if node.op == "Mul" else 1 / vector), zero


def _may_compute(edit: Editor, array: Array) -> bool:
    """Whether there is memory to fold a constant: a number that is repeated may be a large array."""
    return edit.budget.allows(8 * np.dtype(np.float64).itemsize * array.size)


def _channel_vector(edit: Editor, value: str, constant: str) -> Array | None:
    """Return a constant that broadcasts along the channels of a value, as a float64 scalar or vector."""
    array, producer = edit.constants.get(constant), edit.producer(value)
    if array is None or array.dtype != np.float32 or producer is None or not _may_compute(edit, array):
        return None
    if producer.op in _MATMULS:  # channels are last, and the rank is not known
        return array.astype(np.float64) if array.ndim <= 1 else None
    rank = _rank(edit, value)
    if rank is None or array.ndim > rank or rank < 2:
        return None
    shape = (1,) * (rank - array.ndim) + array.shape
    if array.size == 1:
        return array.astype(np.float64).reshape(())
    return array.astype(np.float64).reshape(-1) if shape[1] == array.size else None


_SAME_RANK = {
    "AveragePool",
    "BatchNormalization",
    "Concat",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "LRN",
    "MaxPool",
    "Pad",
    "Resize",
    "Upsample",
}
_MATMULS = {"MatMul", "FusedMatMul", "SignMatMul", "Bf16MatMul"}
_CONVOLUTIONS = {"Conv", "FusedConv", "SignConv", "Bf16Conv", "ConvTranspose"}


def _rank(edit: Editor, name: str) -> int | None:
    """Return the number of dimensions of a value, where the graph tells it without shapes."""
    path = []  # of values of one rank
    rank: int | None = None
    while True:
        if name in edit.ranks:
            rank = edit.ranks[name]
            break
        path.append(name)
        node = edit.producer(name)
        if name in edit.constants:
            rank = edit.constants[name].ndim
            break
        if node is None:
            break
        if node.op in _CONVOLUTIONS and node.inputs[1] in edit.constants:
            rank = edit.constants[node.inputs[1]].ndim
            break
        if node.op in ("Gemm", "SignGemm", "Bf16Gemm"):
            rank = 2
            break
        if node.op not in _SAME_RANK and activation_of(node, edit.constants) is None:
            break
        name = node.inputs[0]
    edit.ranks.update(dict.fromkeys(path, rank))  # once: a chain of n nodes is not walked n times
    return rank


def _fold(
    edit: Editor,
    node: Node,
    factor: Array,
    offset: Array,
    *,
    bias: int,
    channels: int,
    weights_as: Sequence[int],
    factor_as: Sequence[int],
) -> Node | None:
    """Multiply the weights (input 1), seen in the shape ``weights_as``, and adapt the bias."""
    name = node.inputs[bias] if len(node.inputs) > bias else ""
    old_bias = edit.constants.get(name) if name else np.zeros(channels)
    fits = all(v.shape in ((), (channels,)) for v in (factor, offset)) and np.isfinite(factor).all()
    if not fits or old_bias is None or old_bias.shape != (channels,):
        return None
    w = edit.constants[node.inputs[1]]
    if (factor != 1).any() and not _may_compute(edit, w):
        return None
    inputs = [*node.inputs, *[""] * (bias + 1 - len(node.inputs))]
    inputs[bias] = edit.constant(f"{node.outputs[0]}:bias", old_bias * factor + offset)
    if (factor != 1).any():
        scaled = w.reshape(weights_as) * np.broadcast_to(factor, channels).reshape(factor_as)
        inputs[1] = edit.constant(inputs[1], scaled.reshape(w.shape))
    return replace(node, inputs=tuple(inputs))


def _fold_into_conv(edit: Editor, node: Node, factor: Array, offset: Array) -> Node | None:
    w = edit.constants.get(node.inputs[1])
    if w is None or w.ndim < 3:
        return None
    shape = (-1, *[1] * (w.ndim - 1))
    return _fold(edit, node, factor, offset, bias=2, channels=w.shape[0], weights_as=w.shape, factor_as=shape)


def _fold_into_signs(edit: Editor, node: Node, factor: Array, offset: Array) -> Node | None:
    """Fold into a product of signs, unless its filters would not have one finite magnitude each."""
    fold = _fold_into_conv if node.op == "SignConv" else _fold_into_gemm
    folded = fold(edit, node, factor, offset)
    if folded is None:
        return None
    return folded if one_magnitude(filters_of(folded, edit.constants[folded.inputs[1]])) else None


def _fold_into_conv_transpose(edit: Editor, node: Node, factor: Array, offset: Array) -> Node | None:
    w = edit.constants.get(node.inputs[1])
    groups = node.attrs.get("group", 1)
    if w is None or w.ndim < 3 or groups < 1 or w.shape[0] % groups:
        return None
    grouped = (groups, w.shape[0] // groups, *w.shape[1:])
    shape = (groups, 1, w.shape[1], *[1] * (w.ndim - 2))
    channels = groups * w.shape[1]
    return _fold(edit, node, factor, offset, bias=2, channels=channels, weights_as=grouped, factor_as=shape)


def _fold_into_gemm(edit: Editor, node: Node, factor: Array, offset: Array) -> Node | None:
    w = edit.constants.get(node.inputs[1])
    if w is None or w.ndim != 2 or node.attrs.get("beta", 1.0) != 1.0:
        return None
    axis = 0 if node.attrs.get("transB") else 1
    shape = (-1, 1) if axis == 0 else (1, -1)
    return _fold(
        edit, node, factor, offset, bias=2, channels=w.shape[axis], weights_as=w.shape, factor_as=shape
    )


def _fold_into_matmul(edit: Editor, node: Node, factor: Array, offset: Array) -> Node | None:
    w = edit.constants.get(node.inputs[1])
    if w is None or w.ndim != 2:
        return None
    fused = node if node.domain else replace(node, op="FusedMatMul", domain=FASTCONV_DOMAIN)
    return _fold(
        edit, fused, factor, offset, bias=2, channels=w.shape[1], weights_as=w.shape, factor_as=(1, -1)
    )


_Fold = Callable[[Editor, Node, Array, Array], Node | None]
_OF_BF16: dict[str, _Fold] = {
    "Bf16Conv": _fold_into_conv,
    "Bf16Gemm": _fold_into_gemm,
    "Bf16MatMul": _fold_into_matmul,
}


def _fold_into_bf16(edit: Editor, node: Node, factor: Array, offset: Array) -> Node | None:
    folded = _OF_BF16[node.op](edit, node, factor, offset)
    return folded if folded is not None and is_bf16(edit.constants[folded.inputs[1]]) else None


def _fold_into_batch_norm(edit: Editor, node: Node, factor: Array, offset: Array) -> Node | None:
    scale = edit.constants.get(node.inputs[1])
    if scale is None or scale.ndim != 1:
        return None
    return _fold(edit, node, factor, offset, bias=2, channels=scale.size, weights_as=(-1,), factor_as=(-1,))


_FOLDS: dict[tuple[str, str], _Fold] = {
    ("", "Conv"): _fold_into_conv,
    **{(FASTCONV_DOMAIN, op): _fold_into_signs for op in ("SignConv", "SignGemm", "SignMatMul")},
    **{(FASTCONV_DOMAIN, op): _fold_into_bf16 for op in _OF_BF16},
    ("", "ConvTranspose"): _fold_into_conv_transpose,
    ("", "Gemm"): _fold_into_gemm,
    ("", "MatMul"): _fold_into_matmul,
    (FASTCONV_DOMAIN, "FusedMatMul"): _fold_into_matmul,
    ("", "BatchNormalization"): _fold_into_batch_norm,
}
