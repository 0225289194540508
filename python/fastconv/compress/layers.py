"""Layers: the operators that multiply by constant weights, all seen as (outputs, inputs of a group, taps)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from fastconv.graph.compile import Shape
from fastconv.graph.ir import Node
from fastconv.graph.value import F32, Array, Value

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class Layer:
    """A product by constant weights.

    Attributes
    ----------
    node : Node
    weights : array
        (outputs, inputs of a group, taps)
    bias : array
        (outputs,), in float64.
    groups : int
    bordered : bool
        Whether a constant input gives other results at the border: zeros are around it.
    axis : int
        Of the channels that it reads and writes: 1, or -1 for the last.
    positions : int
        How many pixels each weight is multiplied by, for one sample.
    kernel : tuple of int
        The sizes of which the taps are the product.
    """

    node: Node
    weights: Array
    bias: Array
    groups: int
    bordered: bool
    axis: int
    positions: int
    kernel: Shape = ()

    @property
    def outputs(self) -> int:
        """How many channels it writes."""
        return len(self.weights)

    @property
    def inputs(self) -> int:
        """How many channels it reads."""
        return int(self.weights.shape[1]) * self.groups

    @property
    def depthwise(self) -> bool:
        """Whether each output reads one input alone."""
        return self.groups > 1 and self.weights.shape[1] == 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one sample."""
        return self.positions * self.weights.size

    def by_group(self, values: Array) -> Array:
        """Return a vector of the inputs as (groups, 1, inputs of a group)."""
        return values.reshape(self.groups, 1, -1)

    def constants(self, known: Array | None, constants: Array | None) -> tuple[Array, Array]:
        """Return which outputs are constants, and which, if these inputs are."""
        grouped = self.weights.reshape(self.groups, -1, *self.weights.shape[1:])
        harmless = np.logical_not(grouped.any(3))
        total = self.bias.copy()
        if known is not None and constants is not None:
            constants = np.where(known, constants, 0.0)
            harmless = harmless | self.by_group(known & ((constants == 0) | (not self.bordered)))
            total += (grouped.sum(3, np.float64) * self.by_group(constants)).sum(2).reshape(-1)
        return harmless.all(2).reshape(-1), total

    def rewritten(self, weights: Array, bias: Array, groups: int) -> tuple[Array, Array, Node]:
        """Return new weights in the node's own order, its bias, and the node with its groups."""
        node = self.node
        if node.op == "MatMul" or (node.op == "Gemm" and not node.attrs.get("transB")):
            own = weights[:, :, 0].T
        elif node.op == "Gemm":
            own = weights[:, :, 0]
        elif node.op == "Conv":
            own = weights.reshape(*weights.shape[:2], *self.kernel)
        else:
            outputs, inputs = weights.shape[0] // groups, weights.shape[1]
            own = weights.reshape(groups, outputs, inputs, -1).transpose(0, 2, 1, 3)
            own = own.reshape(groups * inputs, outputs, *self.kernel)
        attrs = dict(node.attrs)
        if node.op == "Gemm":
            own = own / attrs.get("alpha", 1.0)
            bias = bias / attrs.get("beta", 1.0)
        elif node.op != "MatMul":
            attrs["group"] = groups
        return own, bias, replace(node, attrs=attrs)


def layer_of(node: Node, constants: Mapping[str, Array], values: Mapping[str, Value]) -> Layer | None:
    """Return a node as a layer; None where it is none, or not one of constant floats."""
    if node.domain or node.op not in LAYERS or len(node.inputs) < 2 or node.inputs[0] in constants:
        return None
    w = constants.get(node.inputs[1])
    named = node.inputs[2] if len(node.inputs) > 2 else ""
    given = constants.get(named) if named else None
    if w is None or w.dtype != F32 or w.ndim < 2 or (named and given is None) or not w.size:
        return None
    shape, attrs = values[node.outputs[0]].shape, node.attrs
    if node.op in ("Gemm", "MatMul"):
        if w.ndim != 2 or attrs.get("transA") or not (attrs.get("alpha", 1.0) and attrs.get("beta", 1.0)):
            return None
        rows = (w if attrs.get("transB") else w.T) * np.float32(attrs.get("alpha", 1.0))
        if given is not None and given.size != 1 and given.shape[-1] != given.size:
            return None
        bias = np.zeros(len(rows)) if given is None else np.broadcast_to(given.reshape(-1), len(rows)) * 1.0
        bias = bias * attrs.get("beta", 1.0)
        count = int(np.prod(shape[1:-1]))
        return Layer(node, rows[:, :, None], bias.astype(np.float64), 1, False, -1, count)
    groups = attrs.get("group", 1)
    if node.op == "Conv":
        weights, pixels = w.reshape(*w.shape[:2], -1), shape[2:]
    else:
        weights = w.reshape(groups, w.shape[0] // groups, w.shape[1], -1).transpose(0, 2, 1, 3)
        weights = weights.reshape(groups * w.shape[1], w.shape[0] // groups, -1)
        pixels = values[node.inputs[0]].shape[2:]
    bias = np.zeros(len(weights)) if given is None else given.astype(np.float64)
    bordered = (
        node.op == "ConvTranspose"
        or any(attrs.get("pads") or ())
        or (attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID") and weights.shape[2] > 1)
    )
    return Layer(node, weights, bias, groups, bordered, 1, int(np.prod(pixels)), w.shape[2:])
