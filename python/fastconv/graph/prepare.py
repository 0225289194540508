"""From what a model is given to what is planned: a graph, checked, its passes run, its parameters counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from fastconv.errors import ArgumentError
from fastconv.graph.budget import Budget, held_bytes
from fastconv.graph.ir import CompiledGraph, Graph, all_nodes
from fastconv.graph.passes import run_passes
from fastconv.graph.registry import check_node
from fastconv.graph.value import Array, is_storage


def prepare(
    source: Graph | Callable[[], Graph], passes: str | Sequence[str], max_bytes: int | None
) -> tuple[CompiledGraph, Budget]:
    """Return a checked graph after its passes, which may have run before, and what is left of its budget."""
    graph = _widened(source() if callable(source) else source)
    budget = Budget(max_bytes, held_bytes(_arrays(graph)))
    _check(graph)
    if isinstance(graph, CompiledGraph):
        if passes != "default":
            raise ArgumentError(
                f"passes: expected 'default', for those of a compiled model have run, got {passes!r}"
            )
        return graph, budget
    parameters = parameters_of(graph)
    graph = run_passes(graph, passes, budget)
    _check(graph)  # and what the passes wrote
    compiled = CompiledGraph(
        graph.name, graph.nodes, graph.inputs, graph.outputs, graph.constants, parameters=parameters
    )
    return compiled, budget


def _arrays(graph: Graph) -> Iterator[Array]:
    """Yield the arrays that a graph came with."""
    yield from graph.constants.values()
    for value in (value for node in all_nodes(graph.nodes) for value in node.attrs.values()):
        if isinstance(value, Graph):
            yield from value.constants.values()
        elif isinstance(value, np.ndarray):
            yield value


def _check(graph: Graph) -> None:
    for node in graph.nodes:
        check_node(node)


def _widened(graph: Graph) -> Graph:
    """Return the graph with its float16 and bfloat16 constants as f32, in which they are computed with."""
    stored = {name: array for name, array in graph.constants.items() if is_storage(array.dtype)}
    if not stored:
        return graph
    wide = {name: array.astype(np.float32) for name, array in stored.items()}
    return replace(graph, constants={**graph.constants, **wide})


# What is learned: the inputs of these operators that are constants, by position.
_LEARNED: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(("Conv", "ConvTranspose", "BatchNormalization", "InstanceNormalization"), (1, 2)),
    **dict.fromkeys(("LayerNormalization", "GroupNormalization", "RMSNormalization"), (1, 2)),
    **dict.fromkeys(("Gemm", "MatMul", "Add", "Sub", "Mul", "Div"), (0, 1, 2)),
    "PRelu": (1,),
}
# The same of integers.
_LEARNED_INTEGERS: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(("ConvInteger", "MatMulInteger"), (1,)),
    "QLinearConv": (3, 8),
    "QLinearMatMul": (3,),
    "QGemm": (3, 6),
}


def parameters_of(graph: Graph) -> dict[str, dict[str, int]]:
    """Return how many learned parameters each node reads, by the names of node and constant.

    Statistics of a batch normalisation are not learned; a scalar is a number of the architecture. What is
    quantised counts as what it stands for.
    """
    found: dict[str, dict[str, int]] = {}
    integers: dict[str, str] = {}  # that a value is made of by its scale, or by its way from f32 and back
    for node in graph.nodes:
        if node.op in ("QuantizeLinear", "DequantizeLinear") and node.inputs:
            integers[node.outputs[0]] = integers.get(node.inputs[0], node.inputs[0])
        for position in (*_LEARNED.get(node.op, ()), *_LEARNED_INTEGERS.get(node.op, ())):
            given = node.inputs[position] if position < len(node.inputs) else ""
            name = integers.get(given, given)
            array = graph.constants.get(name)
            counts = node.op in _LEARNED_INTEGERS or given in integers
            if array is not None and array.size > 1 and (array.dtype.kind == "f" or counts):
                found.setdefault(node.name, {})[name] = array.size
    return found
