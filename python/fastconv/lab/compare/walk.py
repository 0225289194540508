"""Runs a graph node by node on a table of functions; the float64 reference and torch have one each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastconv.errors import UnsupportedOpError
from fastconv.graph.ir import Graph
from fastconv.testing import reference

Observer = Callable[[str, tuple[Any, ...], Any], None]


def walk(
    graph: Graph,
    feeds: Mapping[str, Any],
    ops: Mapping[str, Callable[..., Any]],
    constants: Mapping[str, Any],
    observe: Observer | None = None,
) -> list[Any]:
    """Run a graph.

    Parameters
    ----------
    graph : Graph
        Nodes with one output each.
    feeds : mapping
        The inputs by name.
    ops : mapping of str to callable
        A function for each operator: inputs are positional (None where omitted), attributes are keywords.
    constants : mapping
        The graph's constants, as the functions take them.
    observe : callable, optional
        Called with operator, inputs and output of each node.

    Returns
    -------
    list
        The outputs in the graph's order.
    """
    values = {**constants, **feeds}
    for node in graph.nodes:
        if node.op not in ops:
            raise UnsupportedOpError(f"{node.name}: expected one of {', '.join(ops)}, got {node.op}")
        inputs = tuple(values[name] if name else None for name in node.inputs)
        output = ops[node.op](*inputs, **node.attrs)
        if observe is not None:
            observe(node.op, inputs, output)
        values[node.outputs[0]] = output
    return [values[info.name] for info in graph.outputs]


def pads_of(attrs: Mapping[str, Any], size: Sequence[int], kernel: Sequence[int]) -> tuple[int, ...]:
    """Return the padding of a Conv or pooling node, all lows then all highs, with ``auto_pad`` worked out."""
    spatial = len(kernel)
    auto = {"SAME_UPPER": "same", "SAME_LOWER": "same_lower", "VALID": "valid"}.get(
        attrs.get("auto_pad", "NOTSET")
    )
    padding = auto or attrs.get("pads", 0)
    stride = reference.per_axis(attrs.get("strides", 1), spatial)
    dilation = reference.per_axis(attrs.get("dilations", 1), spatial)
    pairs = reference.pads(padding, size, kernel, stride, dilation)
    return (*(low for low, _ in pairs), *(high for _, high in pairs))
