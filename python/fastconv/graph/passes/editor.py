"""What the passes rewrite graphs with."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np

from fastconv.graph.budget import Budget
from fastconv.graph.ir import Graph, Node
from fastconv.graph.value import F32, Array


class Editor:
    """A graph being rewritten: who writes and who reads each value; new constants are from a budget."""

    def __init__(self, graph: Graph, budget: Budget | None = None) -> None:
        self.graph = graph
        self.budget = budget or Budget()
        self.nodes: list[Node | None] = list(graph.nodes)
        self.constants = dict(graph.constants)
        self.outputs = {info.name for info in graph.outputs}
        self.writer = {name: i for i, node in enumerate(graph.nodes) for name in node.outputs if name}
        self.ranks: dict[str, int | None] = {info.name: len(info.shape) for info in graph.inputs}
        self._copies: Counter[str] = Counter()  # of constants by the name that theirs is derived from
        self.readers: dict[str, set[int]] = {}
        for i, node in enumerate(graph.nodes):
            for name in node.inputs:
                self.readers.setdefault(name, set()).add(i)

    def producer(self, name: str) -> Node | None:
        """Return the node that writes a value."""
        return self.nodes[self.writer[name]] if name in self.writer else None

    def private_producer(self, name: str) -> Node | None:
        """Return the node that writes a value that exactly one node reads, once, and that is no output."""
        if name in self.outputs or len(self.readers.get(name, ())) != 1:
            return None
        (reader,) = self.readers[name]
        node = self.nodes[reader]
        return self.producer(name) if node is not None and node.inputs.count(name) == 1 else None

    def put(self, index: int, node: Node) -> None:
        """Replace the node at an index by one that writes the same values, or more."""
        self.remove(index)
        self.nodes[index] = node
        for name in node.outputs:
            self.writer[name] = index
        for name in node.inputs:
            self.readers.setdefault(name, set()).add(index)

    def remove(self, index: int) -> None:
        """Delete the node at an index."""
        node = self.nodes[index]
        if node is None:
            return
        for name in node.inputs:
            self.readers[name].discard(index)
        self.nodes[index] = None

    def constant(self, like: str, array: Array, dtype: np.dtype[Any] = F32) -> str:
        """Add a constant, f32 or of another dtype, and return its name, derived from another's."""
        like = like.partition(":folded")[0]
        name = f"{like}:folded"
        while name in self.constants:  # a weight may be shared by thousands of nodes
            self._copies[like] += 1
            name = f"{like}:folded{self._copies[like]}"
        self.budget.spend(array.size * dtype.itemsize)
        self.constants[name] = np.asarray(array, dtype, order="C")
        return name

    def scalar(self, name: str) -> float | None:
        """Return the number that a constant of one element holds."""
        array = self.constants.get(name)
        return float(array.reshape(())) if array is not None and array.size == 1 else None

    def build(self) -> Graph:
        """Return the graph; constants that nobody reads any more are dropped."""
        nodes = tuple(node for node in self.nodes if node is not None)
        used = {name for node in nodes for name in node.inputs} | self.outputs
        constants = {name: array for name, array in self.constants.items() if name in used}
        return replace(self.graph, nodes=nodes, constants=constants)


def absorbing(node: Node, *absorbed: Node, **changes: Any) -> Node:
    """Return a node changed so that it stands for others too."""
    names = tuple(name for other in absorbed for name in (other.name, *other.absorbed))
    return replace(node, absorbed=(*node.absorbed, *names), **changes)
