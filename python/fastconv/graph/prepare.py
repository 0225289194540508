"""From what a model is given to what is planned: a graph, checked, its passes run, its parameters counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from fastconv.errors import ArgumentError
from fastconv.graph.budget import Budget, held_bytes
from fastconv.graph.ir import CompiledGraph, Graph, all_nodes
from fastconv.graph.options import checked_graph
from fastconv.graph.passes import run_passes
from fastconv.graph.passes.simplify import dequantize_weights
from fastconv.graph.registry import check_node
from fastconv.graph.value import Array, is_storage


def prepare(
    source: Graph | Callable[[], Graph], passes: str | Sequence[str], max_bytes: int | None
) -> tuple[CompiledGraph, Budget]:
    """Return a checked graph after its passes, which may have run before, and what is left of its budget."""
    graph = _widened(checked_graph(source() if callable(source) else source))
    budget = Budget(max_bytes, held_bytes(_arrays(graph)))
    _check(graph)
    if isinstance(graph, CompiledGraph):
        if passes != "default":
            raise ArgumentError(
                f"passes: expected 'default', for those of a compiled model have run, got {passes!r}"
            )
        plain = dequantize_weights(graph, budget)  # a coded file may have some in that form
        return replace(graph, nodes=plain.nodes, constants=plain.constants), budget
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
    **dict.fromkeys(("LayerNormalization", "GroupNormalization", "RMSNormalization", "DeformConv"), (1, 2)),
    **dict.fromkeys(("RNN", "GRU", "LSTM"), (1, 2, 3)),
    **dict.fromkeys(("Gemm", "MatMul", "Add", "Sub", "Mul", "Div"), (0, 1, 2)),
    "Einsum": tuple(range(8)),
    "Gather": (0,),  # a table of vectors
    "PRelu": (1,),
}
# Of these a single number is one of the architecture: a temperature, an epsilon.
_ARITHMETIC = frozenset(("Add", "Sub", "Mul", "Div"))
# These must have a scale and an offset: a node writes ones and zeros for layers that have learned none.
_NORMALIZES = frozenset(op for op in _LEARNED if op.endswith("Normalization"))
# The same of integers.
_LEARNED_INTEGERS: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(("ConvInteger", "MatMulInteger"), (1,)),
    "QLinearConv": (3, 8),
    "QLinearMatMul": (3,),
    "QGemm": (3, 6),
}
# What only moves or converts its inputs, so that weights may lie behind it: all of them, or the first.
_MOVES = frozenset(("Concat",))
_MOVES_FIRST = frozenset(
    (
        *("Identity", "Transpose", "Cast", "CastLike", "Reshape", "Flatten", "Squeeze", "Unsqueeze"),
        *("Slice", "Split", "Expand", "QuantizeLinear", "DequantizeLinear"),
    )
)
_QUANTIZES = ("QuantizeLinear", "DequantizeLinear")


def parameters_of(graph: Graph) -> dict[str, dict[str, int]]:
    """Return how many learned parameters each node reads, by the names of node and constant.

    Those of branches count; weights may lie behind nodes that only move or convert them. Statistics of a
    batch normalisation are not learned; a scalar that something is added to or multiplied by is a number of
    the architecture, and so are the ones and zeros that a node writes for a normalisation without weights.
    What is quantised counts as what it stands for.
    """
    constants = dict(graph.constants)
    found: dict[str, dict[str, int]] = {}
    behind: dict[str, tuple[str, ...]] = {}  # constants that a value is made of by moving and converting them
    quantised: set[str] = set()
    written: set[str] = set()
    for node in all_nodes(graph.nodes):
        for value in node.attrs.values():
            if isinstance(value, Graph):
                constants.update(value.constants)
            elif node.op == "Constant" and isinstance(value, np.ndarray):
                constants[node.outputs[0]] = value
                written.add(node.outputs[0])
        if not node.domain and node.op in _MOVES | _MOVES_FIRST:
            moved = [n for n in node.inputs if n][: None if node.op in _MOVES else 1]
            sources = [behind.get(name, (name,) if name in constants else ()) for name in moved]
            if sources and all(sources):
                together = tuple(dict.fromkeys(name for part in sources for name in part))
                behind.update(dict.fromkeys(filter(None, node.outputs), together))
            if node.op in _QUANTIZES or quantised.intersection(moved):
                quantised.update(node.outputs)
        for position in (*_LEARNED.get(node.op, ()), *_LEARNED_INTEGERS.get(node.op, ())):
            given = node.inputs[position] if position < len(node.inputs) else ""
            for name in behind.get(given, (given,)):
                array = constants.get(name)
                counts = node.op in _LEARNED_INTEGERS or given in quantised
                if array is None or not (array.dtype.kind == "f" or counts):
                    continue
                few = node.op in _ARITHMETIC and array.size == 1
                filled = name in written and node.op in _NORMALIZES and _is_neutral(array)
                if not few and not filled:
                    found.setdefault(node.name, {})[name] = array.size
    return found


def _is_neutral(array: Array) -> bool:
    return bool(array.size) and array.flat[0] in (0, 1) and bool((array == array.flat[0]).all())
