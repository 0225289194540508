"""A pass that writes loops out whose rounds are few and known: what follows sees one graph.

A loop is otherwise run between two programs (:mod:`fastconv.graph.staged`), and nothing is fused across it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from fastconv.errors import FastconvError
from fastconv.graph.ir import Graph, Node, all_nodes, renamed
from fastconv.graph.loop import body_of
from fastconv.graph.passes.simplify import eliminate_identity
from fastconv.graph.value import Array

MAX_NODES = 256  # that a loop may become


def unroll_loops(graph: Graph) -> Graph:
    """Write out Loops whose number of rounds is a constant, and whose condition stays true."""
    constants = dict(graph.constants)
    nodes: list[Node] = []
    for node in graph.nodes:
        trips = _rounds(node, constants)
        nodes += [node] if trips is None else _written_out(node, trips, constants)
    if len(nodes) == len(graph.nodes) and all(map(lambda a, b: a is b, nodes, graph.nodes)):
        return graph
    return eliminate_identity(replace(graph, nodes=tuple(nodes), constants=constants))


def _rounds(node: Node, constants: Mapping[str, Array]) -> int | None:
    """Return how often a loop runs, where that is known and few; None for all other nodes."""
    if node.domain or node.op != "Loop":
        return None
    try:
        body = body_of(node)
    except FastconvError:  # it comes again when the graph is compiled
        return None
    trips, condition = (constants.get(name) for name in node.inputs[:2])
    if trips is None or trips.size != 1 or trips.dtype.kind not in "iu":
        return None
    if node.inputs[1] and (condition is None or condition.size != 1 or not condition.reshape(())):
        return None
    again = body.outputs[0].name
    writer = {name: inner for inner in body.nodes for name in inner.outputs}
    while again in writer and not writer[again].domain and writer[again].op == "Identity":
        again = writer[again].inputs[0]
    known = body.constants.get(again, constants.get(again))
    if again in writer and not writer[again].domain and writer[again].op == "Constant":
        known = writer[again].attrs.get("value")
    stays = again == body.inputs[1].name or (known is not None and known.size == 1 and known.reshape(()))
    count = max(int(trips.reshape(())), 0)
    collects = len(node.outputs) > len(body.inputs) - 2
    few = count * sum(1 for _ in all_nodes(body.nodes)) <= MAX_NODES and count <= MAX_NODES
    return count if stays and few and (count or not collects) else None


def _written_out(node: Node, trips: int, constants: dict[str, Array]) -> list[Node]:
    """Return the nodes that a loop stands for; what they read besides is added to the constants."""
    body = body_of(node)
    counter, condition, *states = (info.name for info in body.inputs)
    values = list(node.inputs[2 : 2 + len(states)])
    names = body.outputs[1 + len(states) : 1 + len(node.outputs)]
    collected: list[list[str]] = [[] for _ in names]
    constants.update(body.constants)
    own = _defined(body) - body.constants.keys()
    place = node.outputs[0] or node.name
    true = f"{place}/true"
    constants[true] = np.ones(body.inputs[1].shape if body.inputs[1].shape == (1,) else (), bool)
    nodes: list[Node] = []
    for n in range(trips):
        number = f"{place}/round {n}"
        constants[number] = np.full((1,) if body.inputs[0].shape == (1,) else (), n, np.int64)
        known = {counter: number, condition: true, **dict(zip(states, values, strict=True))}

        def name_of(name: str, known: Mapping[str, str] = known, n: int = n) -> str:
            return known.get(name, f"{name}/{n}" if name in own else name)

        for inner in body.nodes:
            name = f"{inner.name}/{n}" if n else inner.name
            nodes.append(replace(renamed(inner, name_of), name=name))
        values = [name_of(info.name) for info in body.outputs[1 : 1 + len(states)]]
        for rows, info in zip(collected, names, strict=True):
            rows.append(name_of(info.name))
    results = values + [_stacked(node, i, rows, nodes, constants) for i, rows in enumerate(collected)]
    nodes += [
        Node("Identity", f"{node.name}/{i}", (value,), (output,))
        for i, (value, output) in enumerate(zip(results, node.outputs, strict=False))
        if output
    ]
    return nodes


def _defined(graph: Graph) -> set[str]:
    """Return the names that a graph defines, with those of the graphs inside of it."""
    found = {*graph.constants, *(info.name for info in graph.inputs)}
    for node in all_nodes(graph.nodes):
        found.update(filter(None, node.outputs))
        for value in node.attrs.values():
            if isinstance(value, Graph):
                found.update(value.constants, (info.name for info in value.inputs))
    return found


def _stacked(node: Node, index: int, rows: list[str], nodes: list[Node], constants: dict[str, Array]) -> str:
    """Write what stacks the values that all rounds add to an output, and return its name."""
    place = f"{node.outputs[0] or node.name}/collected {index}"
    axes = f"{place}/axes"
    constants[axes] = np.zeros(1, np.int64)
    parts = []
    for n, row in enumerate(rows):
        parts.append(f"{place}/{n}")
        nodes.append(Node("Unsqueeze", parts[-1], (row, axes), (parts[-1],)))
    nodes.append(Node("Concat", place, tuple(parts), (place,), {"axis": 0}))
    return place
