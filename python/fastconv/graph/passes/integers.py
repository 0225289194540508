"""Passes that let networks of 8 bits compute with integers: what quantisers write around each layer.

A file in the form QDQ says of each layer: dequantise its inputs, compute in f32, quantise the result. Where
an operator on 8-bit values computes just that, it takes the place of all of them. Its sums are exact, where
those in f32 are rounded: a result may differ by one step where a value is next to a rounding edge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from fastconv.graph.budget import Budget
from fastconv.graph.compile import evaluate
from fastconv.graph.ir import Graph, Node
from fastconv.graph.ops.integer import MAX_TERMS
from fastconv.graph.ops.quantize import Quantization
from fastconv.graph.passes.editor import Editor, absorbing
from fastconv.graph.registry import FASTCONV_DOMAIN, MICROSOFT, activation_of
from fastconv.graph.value import BYTES, F32, S8, S32, U8, Array


class Quantised(NamedTuple):
    """A value of integers with its scale and zero point, all by name; the numbers of both are constants."""

    name: str
    scale_name: str
    zero_name: str
    scale: Array
    zero: Array

    @property
    def inputs(self) -> tuple[str, str, str]:
        """As operators take them."""
        return self.name, self.scale_name, self.zero_name

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the integers."""
        return np.dtype(self.zero.dtype)

    @property
    def per_tensor(self) -> bool:
        """Whether all share a scale."""
        return self.scale.size == 1 and self.zero.size == 1

    @property
    def known(self) -> Quantization:
        """The one scale and the one zero point that there are."""
        return Quantization(float(self.scale.item()), int(self.zero.item()))

    def every_value(self) -> Array:
        """Return what each of the 256 numbers stands for, in the order of their bytes."""
        return self.known.values(np.arange(256, dtype=np.uint8).view(self.dtype))

    def numbers(self, values: Array) -> Array:
        """Return the numbers nearest to values."""
        return self.known.numbers(values, self.dtype)

    def is_alike(self, other: Quantised) -> bool:
        """Whether equal numbers stand for equal values."""
        single = self.per_tensor and other.per_tensor and self.dtype == other.dtype
        return single and self.known == other.known

    def allows(self, low: float, high: float) -> bool:
        """Whether the range of the numbers already clamps values to a range."""
        info, zero = np.iinfo(self.dtype), int(self.zero.item())
        lo, hi = (np.rint(np.float32(limit) / self.scale.reshape(())) + zero for limit in (low, high))
        return bool(lo <= info.min and hi >= info.max)


def prefer_unsigned(graph: Graph) -> Graph:
    """Keep values without a sign where they had one and are only quantised and dequantised: 128 more.

    The kernels read numbers without a sign as they lie.
    """
    edit = Editor(graph)
    for i in range(len(graph.nodes)):
        node = edit.nodes[i]
        if node is None or node.op != "QuantizeLinear" or node.outputs[0] in edit.outputs:
            continue
        ends = [node, *(edit.nodes[r] for r in sorted(edit.readers.get(node.outputs[0], ())))]
        if not all(_is_signed(edit, end, node.outputs[0]) for end in ends):
            continue
        for end in ends:
            assert end is not None
            zero = edit.constants[end.inputs[2]].astype(np.int16) + 128
            name = edit.constant(end.inputs[2], zero.astype(np.uint8), U8)
            edit.put(edit.writer[end.outputs[0]], replace(end, inputs=(*end.inputs[:2], name)))
    return edit.build()


def _is_signed(edit: Editor, node: Node | None, name: str) -> bool:
    """Whether a node makes s8 of a tensor's values, or f32 of those of that name, by one zero point."""
    if node is None or node.op not in ("QuantizeLinear", "DequantizeLinear") or len(node.inputs) < 3:
        return False
    zero = edit.constants.get(node.inputs[2])
    reads = node.op == "QuantizeLinear" or node.inputs[0] == name
    return reads and not node.attrs.get("output_dtype") and zero is not None and zero.dtype == S8


def use_integers(graph: Graph, budget: Budget | None = None) -> Graph:
    """Let operators on integers take the place of those between a dequantisation and a quantisation."""
    edit = Editor(graph, budget)
    for i in range(len(graph.nodes)):
        node = edit.nodes[i]
        if node is None or node.op != "QuantizeLinear":
            continue
        target = _quantised(edit, node, node.outputs[0])
        if target is None or not target.per_tensor or target.dtype not in BYTES:
            continue
        absorbed, low, high = [node], -np.inf, np.inf
        layer = edit.private_producer(node.inputs[0])
        clamp = None if layer is None else activation_of(layer, edit.constants)
        if layer is not None and clamp is not None and clamp.kind == "clamp":
            inner = edit.private_producer(layer.inputs[0])
            if inner is not None and inner.op in _CLAMPED:
                absorbed, layer, (low, high) = [node, layer], inner, clamp[1:]
        if layer is None or layer.op not in _RULES or layer.domain not in ("", FASTCONV_DOMAIN):
            if layer is None:
                _requantise(edit, i, target)
            continue
        new = _RULES[layer.op](edit, layer, target, (low, high))
        if new is None:
            continue
        for part in (layer, *absorbed):
            edit.remove(edit.writer[part.outputs[0]])
        edit.put(i, absorbing(new, *(part for part in absorbed if part.name), outputs=node.outputs))
    for i, node in enumerate(edit.nodes):
        # The last product of a classifier, whose result nobody quantises: its sums are scaled to floats.
        new = _gemm(edit, node, None) if node is not None and (node.domain, node.op) == ("", "Gemm") else None
        if new is not None:
            edit.put(i, new)
    return edit.build()


def _quantised(edit: Editor, node: Node, name: str) -> Quantised | None:
    """Return how a node quantises, or dequantises, if constants say it."""
    if any(node.attrs.get(key) for key in ("block_size", "output_dtype", "precision")):
        return None
    scale = edit.constants.get(node.inputs[1])
    if scale is None or scale.dtype != F32 or not np.all((scale > 0) & (scale < np.inf)):
        return None
    if len(node.inputs) > 2 and node.inputs[2]:
        zero_name = node.inputs[2]
        zero = edit.constants.get(zero_name)
        if zero is None or zero.shape != scale.shape:
            return None
    else:
        known = edit.constants.get(node.inputs[0])
        zero = np.zeros(scale.shape, U8 if known is None else known.dtype)
        zero_name = edit.constant(node.inputs[1], zero, zero.dtype)
    return Quantised(name, node.inputs[1], zero_name, scale, zero)


def _operand(edit: Editor, name: str) -> Quantised | None:
    """Return the 8-bit values of which an f32 value is the dequantised."""
    node = edit.producer(name)
    if node is None or node.op != "DequantizeLinear":
        return None
    found = _quantised(edit, node, node.inputs[0])
    return found if found is not None and found.per_tensor and found.dtype in BYTES else None


def _weights(edit: Editor, name: str, axis: int, rank: int = 0) -> Quantised | None:
    """Return constant weights of 8 bits with a scale for each index of an axis, or for all."""
    node = edit.producer(name)
    if node is None or node.op != "DequantizeLinear":
        return None
    found, array = _quantised(edit, node, node.inputs[0]), edit.constants.get(node.inputs[0])
    if found is None or array is None or array.dtype not in BYTES or found.dtype != array.dtype:
        return None
    if rank and array.ndim != rank:
        return None
    stated = node.attrs.get("axis", 1)
    along = stated % max(1, array.ndim) == axis % max(1, array.ndim)
    return found if found.scale.size == 1 or along else None


def _bias(edit: Editor, name: str, x: Quantised, w: Quantised) -> str | None:
    """Return a bias of integers that has the scale of the products, or else one of f32; "" for none."""
    if not name:
        return ""
    given = edit.constants.get(name)
    if given is not None:
        return name if given.dtype == F32 and given.ndim == 1 else None
    node = edit.producer(name)
    if node is None or node.op != "DequantizeLinear":
        return None
    found, array = _quantised(edit, node, node.inputs[0]), edit.constants.get(node.inputs[0])
    if found is None or array is None or array.dtype != S32 or found.zero.any() or array.ndim != 1:
        return None
    products = x.scale.reshape(-1) * w.scale.reshape(-1)
    if np.allclose(found.scale.reshape(-1), products, rtol=1e-5, atol=0):
        return node.inputs[0]
    return edit.constant(name, array.astype(F32) * found.scale.reshape(-1))


Clamp = tuple[float, float]


def _conv(edit: Editor, node: Node, y: Quantised, clamp: Clamp) -> Node | None:
    inputs = (*node.inputs, "")[:3]
    x, w = _operand(edit, inputs[0]), _weights(edit, inputs[1], 0)
    bias = None if x is None or w is None else _bias(edit, inputs[2], x, w)
    if x is None or w is None or bias is None:
        return None
    if math.prod(edit.constants[w.name].shape[1:]) > MAX_TERMS:
        return None
    given = (*x.inputs, *w.inputs, y.scale_name, y.zero_name, *([bias] if bias else []))
    attrs = {**node.attrs, "low": float(clamp[0]), "high": float(clamp[1])}
    return replace(node, op="QuantizedConv", domain=FASTCONV_DOMAIN, inputs=given, attrs=attrs)


def _gemm(edit: Editor, node: Node, y: Quantised | None, clamp: Clamp = (-np.inf, np.inf)) -> Node | None:
    """Return a product of integers, quantised anew or in floats."""
    inputs, attrs = (*node.inputs, "")[:3], node.attrs
    if attrs.get("alpha", 1) != 1 or attrs.get("beta", 1) != 1 or not (y is None or y.allows(*clamp)):
        return None
    axis = 0 if attrs.get("transB") else 1
    x, w = _operand(edit, inputs[0]), _weights(edit, inputs[1], axis, 2)
    bias = None if x is None or w is None else _bias(edit, inputs[2], x, w)
    if x is None or w is None or bias is None or (bias and edit.constants[bias].dtype != S32):
        return None
    kept = {key: value for key, value in attrs.items() if key in ("transA", "transB")}
    given = (*x.inputs, *w.inputs, bias, *(() if y is None else (y.scale_name, y.zero_name)))
    return replace(node, op="QGemm", domain=MICROSOFT, inputs=given, attrs=kept)


def _matmul(edit: Editor, node: Node, y: Quantised, clamp: Clamp) -> Node | None:
    x, w = _operand(edit, node.inputs[0]), _weights(edit, node.inputs[1], 1, 2)
    if x is None or w is None or not y.allows(*clamp):
        return None
    given = (*x.inputs, *w.inputs, y.scale_name, y.zero_name)
    return replace(node, op="QLinearMatMul", inputs=given, attrs={})


def _binary(edit: Editor, node: Node, y: Quantised, clamp: Clamp) -> Node | None:
    a, b = (_operand(edit, name) for name in node.inputs)
    if a is None or b is None or not a.dtype == b.dtype == y.dtype or not y.allows(*clamp):
        return None
    return _gate(edit, node, a, b, y) or replace(
        node,
        op=f"QLinear{node.op}",
        domain=MICROSOFT,
        inputs=(*a.inputs, *b.inputs, y.scale_name, y.zero_name),
        attrs={},
    )


def _gate(edit: Editor, node: Node, a: Quantised, b: Quantised, y: Quantised) -> Node | None:
    """Return the table of x * f(x), or x + f(x), where one operand is a table of the other."""
    for x, other in ((a, b), (b, a)):
        inner = edit.producer(other.name)
        if inner is None or inner.op != "Lookup" or inner.inputs[0] != x.name:
            continue
        left, right = x.every_value(), other.known.values(edit.constants[inner.inputs[1]])
        table = y.numbers(left * right if node.op == "Mul" else left + right)
        return _lookup(edit, node, x, table)
    return None


def _lookup(edit: Editor, node: Node, x: Quantised, table: Array) -> Node:
    name = edit.constant(f"{node.name}.table", table, table.dtype)
    return replace(node, op="Lookup", domain=FASTCONV_DOMAIN, inputs=(x.name, name), attrs={})


def _function(edit: Editor, node: Node, y: Quantised, clamp: Clamp) -> Node | None:
    """Return the table of a function of single values."""
    x = _operand(edit, node.inputs[0])
    if x is None or any(name and name not in edit.constants for name in node.inputs[1:]):
        return None
    every = x.every_value()
    inputs = {node.inputs[0]: every} | {name: edit.constants[name] for name in node.inputs[1:] if name}
    results = evaluate(node, inputs, Budget())
    if results is None or results[0].shape != every.shape or results[0].dtype != F32:
        return None
    with np.errstate(invalid="ignore"):
        return _lookup(edit, node, x, y.numbers(np.clip(results[0], *clamp)))


def _pool(edit: Editor, node: Node, y: Quantised, clamp: Clamp) -> Node | None:
    x = _operand(edit, node.inputs[0])
    dilated = any(d != 1 for d in node.attrs.get("dilations", ()))
    if x is None or x.dtype != y.dtype or dilated or not y.allows(*clamp):
        return None
    attrs = {key: value for key, value in node.attrs.items() if key != "dilations"}
    given = (*x.inputs, y.scale_name, y.zero_name)
    return replace(node, op=f"QLinear{node.op}", domain=MICROSOFT, inputs=given, attrs=attrs)


def _moved(edit: Editor, node: Node, y: Quantised, clamp: Clamp) -> Node | None:
    """Return an operator that only moves values, on the integers."""
    x = _operand(edit, node.inputs[0])
    if x is None or not x.is_alike(y) or not y.allows(*clamp) or len(node.outputs) > 1:
        return None
    if node.op == "Resize" and node.attrs.get("mode", "nearest") != "nearest":
        return None
    return replace(node, inputs=(x.name, *node.inputs[1:]))


def _concat(edit: Editor, node: Node, y: Quantised, clamp: Clamp) -> Node | None:
    parts = [_operand(edit, name) for name in node.inputs]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or not y.allows(*clamp):
        return None
    given = tuple(name for part in known for name in part.inputs)
    return replace(node, op="QLinearConcat", domain=MICROSOFT, inputs=(y.scale_name, y.zero_name, *given))


def _requantise(edit: Editor, at: int, y: Quantised) -> None:
    """Make a table of a quantisation of values that are dequantised, with another scale, for others too."""
    node = edit.nodes[at]
    x = None if node is None else _operand(edit, node.inputs[0])
    if node is None or x is None:
        return
    edit.put(at, _lookup(edit, node, x, y.numbers(x.every_value())))


_FUNCTIONS = (
    "Abs Celu Clip Elu Erf Exp Gelu HardSigmoid HardSwish LeakyRelu Mish Neg Relu Selu Sigmoid Silu Softplus "
    "Softsign Swish Tanh ThresholdedRelu"
)
_MOVES = (
    "DepthToSpace Expand Flatten Identity MaxPool Reshape Resize Slice SpaceToDepth Squeeze Transpose "
    "Unsqueeze"
)
_Rule = Callable[[Editor, Node, Quantised, Clamp], Node | None]
_RULES: Mapping[str, _Rule] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Add": _binary,
    "Mul": _binary,
    "AveragePool": _pool,
    "GlobalAveragePool": _pool,
    "Concat": _concat,
    **dict.fromkeys(_FUNCTIONS.split(), _function),
    **dict.fromkeys(_MOVES.split(), _moved),
}
# Those whose result a clamp before the quantisation may follow; of functions it is one.
_CLAMPED = ("Conv", "Gemm", "MatMul", "Add", "Mul", "AveragePool", "GlobalAveragePool", "Concat")
