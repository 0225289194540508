"""Passes that remove nodes: identities, those that compute constants, those that nobody reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fastconv.graph.budget import Budget
from fastconv.graph.compile import evaluate
from fastconv.graph.ir import Graph, Node, renamed
from fastconv.graph.passes.editor import Editor


def eliminate_identity(graph: Graph) -> Graph:
    """Remove Identity and Dropout; a graph output's name moves to the node that computes it."""
    outputs = {info.name for info in graph.outputs}
    written = {name for node in graph.nodes for name in node.outputs}
    read = outputs.union(*(node.inputs for node in graph.nodes))
    forward: dict[str, str] = {}  # value read after an identity -> value before it
    backward: dict[str, str] = {}  # value before an identity -> graph output behind it
    kept = []
    for node in graph.nodes:
        source = forward.get(node.inputs[0], node.inputs[0]) if node.inputs else ""
        target = node.outputs[0]
        identity = _is_identity(node) and not read.intersection(node.outputs[1:])
        if identity and target not in outputs:
            forward[target] = source
        elif identity and source in written - outputs and source not in backward:
            backward[source] = target
        else:
            kept.append(node)

    if not forward and not backward:
        return graph

    def name_of(name: str) -> str:
        name = forward.get(name, name)
        return backward.get(name, name)

    return replace(graph, nodes=tuple(renamed(node, name_of) for node in kept))


def _is_identity(node: Node) -> bool:
    return not node.domain and (node.op == "Identity" or (node.op == "Dropout" and len(node.inputs) < 3))


def eliminate_dead(graph: Graph) -> Graph:
    """Remove nodes whose outputs nobody reads."""
    needed = {info.name for info in graph.outputs}
    kept = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            kept.append(node)
            needed.update(node.inputs)
    return Editor(replace(graph, nodes=tuple(reversed(kept)))).build()


def fold_constants(graph: Graph, budget: Budget | None = None) -> Graph:
    """Compute nodes whose inputs are all constants, but for weights of 8 bits that are dequantised.

    Results are taken from a budget.
    """
    return _fold(graph, budget, lambda node: node.op != "DequantizeLinear")


def fold_weights(graph: Graph, budget: Budget | None = None) -> Graph:
    """Compute nodes whose inputs are all constants: what no operator on integers took as it was."""
    return _fold(graph, budget, lambda _: True)


def dequantize_weights(graph: Graph, budget: Budget | None = None) -> Graph:
    """Compute the weights that a file has as whole numbers and scales."""
    return _fold(graph, budget, lambda node: node.op == "DequantizeLinear")


def _fold(graph: Graph, budget: Budget | None, takes: Callable[[Node], bool]) -> Graph:
    budget = budget or Budget()
    constants = dict(graph.constants)
    kept = []
    for node in graph.nodes:
        results = None
        if takes(node) and all(name in constants for name in node.inputs if name):
            results = evaluate(node, constants, budget)
        if results is None or len(results) != sum(map(bool, node.outputs)):
            kept.append(node)
        else:
            constants.update(zip(filter(None, node.outputs), results, strict=True))
    return Editor(replace(graph, nodes=tuple(kept), constants=constants)).build()
