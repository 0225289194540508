"""The pass that finds products of signs: binary networks, as XNOR-Net (Rastegari et al. 2016) has them.

A convolution or a fully connected layer whose input is -1, 0 and 1, and whose filters have one magnitude
each, is computed with bits. Files spell signs in many ways; larq's ``ste_sign`` is ``Sign(Sign(x) + 0.1)``,
others compare with 0 and choose. What follows a Sign, or a comparison with 0, has no more values than that:
one for what is negative, for 0, for what is positive and for NaN. So the nodes are evaluated with these four,
whatever they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from fastconv.graph.compile import evaluate
from fastconv.graph.ir import NO_ACTIVATION, Graph, Node
from fastconv.graph.passes.editor import Editor, absorbing
from fastconv.graph.registry import FASTCONV_DOMAIN
from fastconv.graph.value import F32, Array

# What stands for all that is negative, 0, positive and NaN.
_KINDS = np.array([-1, 0, 1, np.nan], F32)
_COMPARISONS: Mapping[str, Callable[..., Any]] = {
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
}
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "Sign": np.sign,
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Neg": np.negative,
    "Not": np.logical_not,
    "Where": np.where,
    "Cast": lambda a: a.astype(F32),
    "Identity": lambda a: a,
}
_ALL = {**_FUNCTIONS, **_COMPARISONS}
# What is rewritten, and to which operator of ours.
_PRODUCTS = {"Conv": "SignConv", "Gemm": "SignGemm", "MatMul": "SignMatMul"}
_LONGEST = 8  # nodes from an input to its signs
# Channels of a group, of the 32 of a word, from which a product of bits is faster than one of numbers.
_FEWEST = 8


def one_magnitude(w: Array) -> bool:
    """Whether each filter's weights are one finite number and its negative."""
    magnitude = np.abs(w.reshape(len(w), -1))
    return bool(np.isfinite(magnitude).all() and (magnitude == magnitude[:, :1]).all())


def filters_of(node: Node, w: Array) -> Array:
    """Return the weights of a convolution or of a product by a matrix with a filter in each row.

    >>> filters_of(Node("MatMul", "node", ("x", "w"), ("y",)), np.zeros((3, 4))).shape
    (4, 3)
    """
    by_row = node.op in ("Conv", "SignConv") or node.attrs.get("transB")
    return w if by_row else w.T


def use_signs(graph: Graph) -> Graph:
    """Let a product read the number whose sign it is of, where each of its filters has one magnitude."""
    edit = Editor(graph)
    for i in range(len(graph.nodes)):
        node = edit.nodes[i]
        if node is None or node.domain or node.op not in _PRODUCTS or node.activation != NO_ACTIVATION:
            continue
        signs = _signs(edit, node.inputs[0], _least_rank(edit, node))
        if signs is None or not _has_signs(edit, node):
            continue
        attrs = {name: value for name, value in node.attrs.items() if node.op == "Conv" or name == "transB"}
        attrs["of_zero"] = int(signs.values[1])
        if not np.isnan(signs.values[3]):
            attrs["of_nan"] = int(signs.values[3])
        inputs = (signs.x, *node.inputs[1:])
        alone = signs.nodes if edit.private_producer(node.inputs[0]) is not None else ()
        op = _PRODUCTS[node.op]
        edit.put(i, absorbing(node, *alone, op=op, domain=FASTCONV_DOMAIN, attrs=attrs, inputs=inputs))
    return edit.build()


def _least_rank(edit: Editor, node: Node) -> int:
    """Return how many dimensions the input of a product has at least."""
    w = edit.constants.get(node.inputs[1])
    return w.ndim if node.op == "Conv" and w is not None else 1


def _has_signs(edit: Editor, node: Node) -> bool:
    """Whether the weights of a product are constants of one magnitude in each filter."""
    w = _weights(edit, node.inputs[1])
    if w is None or w.dtype != F32 or w.size == 0:
        return False
    if node.op == "Conv":
        return w.ndim >= 3 and w.shape[1] >= _FEWEST and one_magnitude(w)
    if w.ndim != 2 or (node.op == "Gemm" and not _adds_a_vector(edit, node)):
        return False
    filters = filters_of(node, w)
    return filters.shape[1] >= _FEWEST and one_magnitude(filters)


def _weights(edit: Editor, name: str) -> Array | None:
    """Return weights that are a constant, or such as a file has them in 8 bits with their scales."""
    node = edit.producer(name)
    if node is None or (node.domain, node.op) != ("", "DequantizeLinear"):
        return edit.constants.get(name)
    known = all(given in edit.constants for given in node.inputs if given)
    found = evaluate(node, edit.constants, edit.budget) if known else None
    return found[0] if found else None


def _adds_a_vector(edit: Editor, node: Node) -> bool:
    """Whether a Gemm is a product of two matrices, neither scaled, and at most a constant for each column."""
    if node.attrs.get("transA") or any(node.attrs.get(name, 1.0) != 1.0 for name in ("alpha", "beta")):
        return False
    if len(node.inputs) < 3 or not node.inputs[2]:
        return True
    bias = edit.constants.get(node.inputs[2])
    return bias is not None and bias.dtype == F32 and bias.ndim <= 2 and bias.shape[-1:] in ((), (bias.size,))


class _Signs(NamedTuple):
    """What is computed of a value ``x``, by kind, and the nodes that do."""

    x: str
    values: Array
    nodes: tuple[Node, ...]


def _signs(edit: Editor, name: str, rank: int) -> _Signs | None:
    """Return of what a value is the sign, or None where it is none."""
    chain: list[Node] = []  # the last first
    while len(chain) < _LONGEST:
        node = edit.producer(name)
        if node is None or node.domain or node.activation != NO_ACTIVATION:
            break
        given = [n for n in node.inputs if n not in edit.constants]
        if node.op not in _ALL or len(given) != 1 or not _is_plain(node):
            break
        if any(c.size != 1 or c.ndim > rank for c in map(edit.constants.get, node.inputs) if c is not None):
            break
        chain.append(node)
        name = given[0]
    # From the first that leaves few values on: Sign, or a comparison with 0.
    for start in range(len(chain) - 1, -1, -1):
        first = chain[start]
        compared = first.op in _COMPARISONS and [edit.scalar(n) for n in first.inputs if n in edit.constants]
        if first.op != "Sign" and compared != [0.0]:
            continue
        values = _KINDS
        for node in reversed(chain[: start + 1]):
            values = _evaluated(edit, node, values)
        x = next(n for n in first.inputs if n not in edit.constants)
        known = values.dtype == F32 and values[0] == -1 and values[2] == 1 and values[1] in (-1, 0, 1)
        if known and (np.isnan(values[3]) or values[3] in (-1, 0, 1)):
            return _Signs(x, values, tuple(reversed(chain[: start + 1])))
        return None
    return None


def _is_plain(node: Node) -> bool:
    """Whether a node's attributes change nothing but, of a Cast, that the result is float32."""
    if node.op == "Cast":
        return node.attrs.get("to") in (1, "FLOAT")
    return not node.attrs


def _evaluated(edit: Editor, node: Node, values: Array) -> Array:
    """Return what a node makes of its only input that is no constant, where that has these values."""
    inputs = [edit.constants[n].reshape(()) if n in edit.constants else values for n in node.inputs]
    with np.errstate(all="ignore"):
        found: Array = np.asarray(_ALL[node.op](*inputs))
    return found
