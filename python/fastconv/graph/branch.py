"""If nodes whose condition is known: a branch takes the node's place in the graph.

Names inside of branches differ from all others (the importer sees to it), so that nodes only move.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fastconv.errors import ModelError, ShapeError
from fastconv.graph.ir import Graph, Node
from fastconv.graph.value import Array


def is_branch(node: Node) -> bool:
    """Whether a node is an If."""
    return (node.domain, node.op) == ("", "If")


def branch_of(node: Node, condition: Array) -> tuple[list[Node], Mapping[str, Array]]:
    """Return what an If node stands for: nodes that write its outputs, and their constants."""
    if condition.size != 1 or condition.dtype.kind != "b":
        got = f"shape {condition.shape} of {condition.dtype}"
        raise ShapeError(f"node {node.name!r} (If): condition: expected one bool, got {got}")
    branch: Graph = node.attrs["then_branch" if condition.reshape(()) else "else_branch"]
    if branch.inputs:
        raise ModelError(
            f"node {node.name!r} (If): expected a branch without inputs, got {len(branch.inputs)}"
        )
    if len(branch.outputs) != len(node.outputs):
        raise ModelError(
            f"node {node.name!r} (If): expected {len(branch.outputs)} outputs, as the branch has,"
            f" got {len(node.outputs)}"
        )
    results = [
        Node("Identity", f"{node.name}/{i}", (info.name,), (name,))
        for i, (info, name) in enumerate(zip(branch.outputs, node.outputs, strict=True))
        if name
    ]
    return [*branch.nodes, *results], branch.constants


def take_branches(graph: Graph) -> Graph:
    """Replace the If nodes whose conditions are constants, those in branches that are taken too."""
    constants = dict(graph.constants)
    waiting, nodes = list(reversed(graph.nodes)), []
    while waiting:
        node = waiting.pop()
        if is_branch(node) and node.inputs[0] in constants:
            inner, known = branch_of(node, constants[node.inputs[0]])
            waiting += reversed(inner)
            constants.update(known)
        else:
            nodes.append(node)
    return replace(graph, nodes=tuple(nodes), constants=constants)
