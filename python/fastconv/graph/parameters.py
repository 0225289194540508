"""What a network has learned, counted."""

from __future__ import annotations

from collections.abc import Mapping

from fastconv.graph.ir import Graph

# What is learned: the inputs of these operators that are constants, by position.
_LEARNED: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(("Conv", "ConvTranspose", "InstanceNormalization", "BatchNormalization"), (1, 2)),
    **dict.fromkeys(("Gemm", "MatMul", "Add", "Sub", "Mul", "Div"), (0, 1, 2)),
    "PRelu": (1,),
}


def parameters_of(graph: Graph) -> dict[str, dict[str, int]]:
    """Return how many learned parameters each node reads, by the names of node and constant.

    Statistics of a batch normalisation are not learned; a scalar is a number of the architecture.
    """
    found: dict[str, dict[str, int]] = {}
    for node in graph.nodes:
        for position in _LEARNED.get(node.op, ()):
            array = graph.constants.get(node.inputs[position]) if position < len(node.inputs) else None
            if array is not None and array.dtype.kind == "f" and array.size > 1:
                found.setdefault(node.name, {})[node.inputs[position]] = array.size
    return found
