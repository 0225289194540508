"""The graph intermediate representation: frozen nodes over named values, in the vocabulary of ONNX operators.

Importers and model definitions build a :class:`Graph`; passes turn one graph into another; ``compile``
lowers it for concrete input shapes. A node's attributes are plain Python values (ints, floats, strings,
lists of them, numpy arrays).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Dim = int | str | None  # a number, a symbol ("batch"), or unknown

MAX_DEPTH = 32  # of graphs within graphs; protobuf reads 33


class TensorInfo(NamedTuple):
    """Name, shape and dtype of a graph's input or output; a symbolic dimension is a string or None."""

    name: str
    shape: tuple[Dim, ...]
    dtype: np.dtype[Any]


class Activation(NamedTuple):
    """An elementwise function by its name in ``csrc/core/epilogue.h``, with that function's parameters."""

    kind: str = "none"
    alpha: float = 0.0
    beta: float = 0.0


NO_ACTIVATION = Activation()


@dataclass(frozen=True)
class Node:
    """One operator. ``inputs`` holds value names, ``""`` where an optional input is omitted.

    ``activation`` and ``absorbed`` (the names of the nodes that this one now stands for) are written by
    passes.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    opset: int = 18
    domain: str = ""
    activation: Activation = NO_ACTIVATION
    absorbed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Graph:
    """Nodes in topological order, with their constant inputs (weights) by value name.

    ``defaults`` are the constants that a caller may give other values for.
    """

    name: str
    nodes: tuple[Node, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    constants: Mapping[str, npt.NDArray[Any]]
    defaults: tuple[TensorInfo, ...] = ()


def all_nodes(nodes: Iterable[Node]) -> Iterator[Node]:
    """Yield nodes, and those of the graphs that are their attributes, at any depth.

    What walks over nodes to learn something of a whole graph does it with this: a branch is part of it.
    """
    waiting = list(nodes)[::-1]
    while waiting:
        node = waiting.pop()
        yield node
        for value in node.attrs.values():
            if isinstance(value, Graph):
                waiting += reversed(value.nodes)


def renamed(node: Node, name_of: Callable[[str], str]) -> Node:
    """Return a node whose values have other names, within the graphs that are its attributes too.

    Names in there differ from all others (the importer sees to it), so that one function serves all.
    """
    attrs = {
        key: renamed_graph(value, name_of) if isinstance(value, Graph) else value
        for key, value in node.attrs.items()
    }
    inputs, outputs = (
        tuple(name and name_of(name) for name in names) for names in (node.inputs, node.outputs)
    )
    return replace(node, inputs=inputs, outputs=outputs, attrs=attrs)


def renamed_graph(graph: Graph, name_of: Callable[[str], str]) -> Graph:
    """Return a graph whose values have other names; see :func:`renamed`."""
    inputs, outputs = (
        tuple(info._replace(name=name_of(info.name)) for info in infos)
        for infos in (graph.inputs, graph.outputs)
    )
    nodes = tuple(renamed(node, name_of) for node in graph.nodes)
    constants = {name_of(name): array for name, array in graph.constants.items()}
    return replace(graph, nodes=nodes, inputs=inputs, outputs=outputs, constants=constants)


def with_inputs(graph: Graph, names: frozenset[Any]) -> Graph | None:
    """Return a graph with some of its defaults as inputs; None where one of the names is none of them."""
    extra = tuple(info for info in graph.defaults if info.name in names)
    if len(extra) != len(names):
        return None
    constants = {name: array for name, array in graph.constants.items() if name not in names}
    return replace(graph, inputs=(*graph.inputs, *extra), constants=constants, defaults=())


def with_outputs(graph: Graph, names: Sequence[str]) -> Graph:
    """Return a graph that gives some of its values as results, in this order, in the place of its outputs.

    KeyError where it has no value of a name. The shape and type of one that is no output are not known.
    """
    known = {info.name: info for info in (*graph.inputs, *graph.outputs)}
    values = {name for node in graph.nodes for name in node.outputs if name} | graph.constants.keys()
    for name in names:
        if name not in known and name not in values:
            raise KeyError(name)
    unknown = np.dtype(np.float32)
    outputs = tuple(known.get(name) or TensorInfo(name, (), unknown) for name in names)
    return replace(graph, outputs=outputs)


class PackedWeights(NamedTuple):
    """The weights of a node as a plan packed them; ``output`` is the node's first, ``packing`` its plan's."""

    output: str
    algorithm: str
    packing: str
    arrays: tuple[npt.NDArray[np.float32], ...]


@dataclass(frozen=True)
class CompiledGraph(Graph):
    """A graph whose passes have run: what a compiled model's file holds (:mod:`fastconv.graph.save`)."""

    precision: str = "fast"
    # Whether a model keeps the constants that it has packed: mapped ones that are not read take no memory.
    keep: bool = False
    # Of the graph before the passes: how many each node reads, by the names of node and constant.
    parameters: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    packed: tuple[PackedWeights, ...] = ()

    def packed_by_output(self) -> dict[str, list[PackedWeights]]:
        """Return the packed weights of each node by its first output."""
        found: dict[str, list[PackedWeights]] = {}
        for packed in self.packed:
            found.setdefault(packed.output, []).append(packed)
        return found


class GraphBuilder:
    """Writes a graph node by node; what the model definitions are written with.

    >>> b = GraphBuilder("tiny", {"w": np.ones((4, 3, 1, 1), np.float32)})
    >>> x = b.input("input", ("batch", 3, None, None))
    >>> b.output(b.add("Relu", b.add("Conv", x, "w")))
    >>> [n.op for n in b.build().nodes]
    ['Conv', 'Relu', 'Identity']
    """

    def __init__(self, name: str, constants: Mapping[str, npt.NDArray[Any]]) -> None:
        self.name = name
        self.constants = dict(constants)
        self._nodes: list[Node] = []
        self._inputs: list[TensorInfo] = []
        self._outputs: list[TensorInfo] = []
        self._names = self._fresh_names()

    @staticmethod
    def _fresh_names() -> Iterator[int]:
        n = 0
        while True:
            yield n
            n += 1

    def input(self, name: str, shape: tuple[Dim, ...]) -> str:
        """Declare an f32 input and return its value name."""
        self._inputs.append(TensorInfo(name, shape, np.dtype(np.float32)))
        return name

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        """Add a constant and return its value name."""
        self.constants[name] = value
        return name

    def add(self, op: str, *inputs: str, name: str = "", **attrs: Any) -> str:
        """Append a node with one output and return that output's value name."""
        name = name or f"{op}_{next(self._names)}"
        output = f"{name}:out"
        self._nodes.append(Node(op, name, inputs, (output,), attrs))
        return output

    def output(self, value: str, name: str = "output", shape: tuple[Dim, ...] = ("batch", None)) -> None:
        """Declare a graph output under a public name."""
        self._nodes.append(Node("Identity", f"output_{name}", (value,), (name,)))
        self._outputs.append(TensorInfo(name, shape, np.dtype(np.float32)))

    def build(self) -> Graph:
        """Return the finished graph."""
        return Graph(self.name, tuple(self._nodes), tuple(self._inputs), tuple(self._outputs), self.constants)
