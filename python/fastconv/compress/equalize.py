"""Equalisation: channels of one tensor get ranges of one size, by factors that layers share between them.

A tensor has one scale, so that a channel of small numbers is rounded coarsely. Where what writes a channel
makes it s times larger, and all weights that read it are s times smaller, the network is the same (Nagel et
al. 2019, arXiv:1906.04721). The weights that write it have a scale for each channel: to them it makes no
difference. To those that read it it does, unless they are depthwise; how far to go is decided by the noise
that both kinds of rounding are expected to leave.

Values that sums, pools and clamps from zero join have the same channels, and share the factors: all of a
residual stream, which is where a network of linear bottlenecks loses most.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.compress.observer import Statistics
from fastconv.graph.ir import Graph, Node
from fastconv.graph.passes.editor import Editor
from fastconv.graph.registry import activation_of
from fastconv.graph.value import F32

Array = npt.NDArray[Any]

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)  # 1: all channels reach equally far
LARGEST = 64.0  # a factor: a channel that hardly ever is more than zero is not blown up
MARGIN = 1.05  # what a channel may reach beyond what was observed before a clamp cuts it off
SMALL = 1e-6  # of the widest channel: what reaches less is as good as zero

# What gives x times s for inputs times s, if s is positive, and keeps the channels apart.
_HOMOGENEOUS = ("Relu", "LeakyRelu", "Add", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool")


@dataclass
class Stream:
    """Values that have the same channels, what writes them from others, and what reads them into others.

    ``limits`` are the clamps in it: the value behind each, and its upper limit.
    """

    values: list[str] = field(default_factory=list)
    writers: list[Node] = field(default_factory=list)
    readers: list[Node] = field(default_factory=list)
    limits: list[tuple[str, float]] = field(default_factory=list)


def streams_of(graph: Graph, statistics: Mapping[str, Statistics]) -> list[Stream]:
    """Return the streams of a graph that layers alone write and read, in order."""
    edit = Editor(graph)
    joined = _Classes()
    fixed = {info.name for info in (*graph.inputs, *graph.outputs)}  # values whose channels others know
    writers: dict[str, Node] = {}
    readers: dict[str, list[Node]] = {}
    limits: dict[str, float] = {}
    for node in graph.nodes:
        if _is_layer(edit, node):
            writers[node.outputs[0]] = node
            readers.setdefault(node.inputs[0], []).append(node)
            joined.add(node.inputs[0], node.outputs[0])
            continue
        limit = _passes_channels(edit, node, statistics)
        names = [name for name in (*node.inputs, *node.outputs) if name and name not in edit.constants]
        if limit is None:
            fixed.update(names)
            joined.add(*names)
        else:
            joined.join(names)
            if limit < math.inf:
                limits[node.outputs[0]] = limit
    streams: dict[str, Stream] = {}
    for name in joined.names():
        stream = streams.setdefault(joined.root(name), Stream())
        stream.values.append(name)
        stream.readers += readers.get(name, [])
        if name in writers:
            stream.writers.append(writers[name])
        if name in limits:
            stream.limits.append((name, limits[name]))
    return [s for s in streams.values() if s.writers and s.readers and not fixed & {*s.values}]


class _Classes:
    """Names that are joined are of one class."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def add(self, *names: str) -> None:
        for name in names:
            self._parent.setdefault(name, name)

    def names(self) -> Iterable[str]:
        return self._parent

    def root(self, name: str) -> str:
        while self._parent[name] != name:
            name = self._parent[name]
        return name

    def join(self, names: Iterable[str]) -> None:
        first, *others = names
        self.add(first, *others)
        for name in others:
            self._parent[self.root(name)] = self.root(first)


def _is_layer(edit: Editor, node: Node) -> bool:
    """Whether a node has weights of its own that factors can go into, as what it writes and what it reads."""
    if node.domain or node.op not in ("Conv", "Gemm"):
        return False
    w, names = edit.constants.get(node.inputs[1]), [name for name in node.inputs[1:3] if name]
    if w is None or w.dtype != F32 or any(name not in edit.constants for name in names):
        return False
    if any(len(edit.readers[name]) > 1 for name in names) or len(set(names)) < len(names):
        return False
    if node.op == "Gemm":
        plain = all(node.attrs.get(key, default) == default for key, default in
                    (("transA", 0), ("alpha", 1.0), ("beta", 1.0)))  # fmt: skip
        return plain and w.ndim == 2
    groups = node.attrs.get("group", 1)
    return w.ndim >= 3 and (groups == 1 or w.shape[1] == 1)


def _passes_channels(edit: Editor, node: Node, statistics: Mapping[str, Statistics]) -> float | None:
    """Return the limit above which a node that keeps channels apart cuts them off; None where it does not."""
    if node.domain or len(node.outputs) > 1:
        return None
    if node.op == "Clip":
        clamp = activation_of(node, edit.constants)
        return clamp.beta if clamp is not None and clamp.alpha == 0 and clamp.beta > 0 else None
    if node.op == "Flatten":  # of one pixel: channels stay what they are
        shape = statistics[node.inputs[0]].shape if node.inputs[0] in statistics else ()
        single = len(shape) > 1 and math.prod(shape[1:]) == 1 and node.attrs.get("axis", 1) == 1
        return math.inf if single else None
    if node.op not in _HOMOGENEOUS:
        return None
    if node.op != "Add":
        return math.inf
    known = [statistics.get(name) for name in node.inputs]
    shapes = {s.shape for s in known if s is not None}
    return math.inf if None not in known and len(shapes) == 1 else None


def equalized(graph: Graph, statistics: Mapping[str, Statistics]) -> tuple[Graph, int]:
    """Return a graph that computes the same with more equal channels, and how many streams it changed.

    Parameters
    ----------
    graph : Graph
    statistics : mapping of str to Statistics
        Of the values that are to be rounded.
    """
    edit = Editor(graph)
    changed = 0
    for stream in streams_of(graph, statistics):
        factor = _factors(edit, stream, statistics)
        if factor is None:
            continue
        changed += 1
        for node in stream.writers:
            _multiply(edit, node.outputs[0], factor)
        for node in stream.readers:
            _divide(edit, node.outputs[0], factor)
    return edit.build(), changed


def _multiply(edit: Editor, output: str, factor: Array) -> None:
    """Make the channels that a layer writes larger."""
    node = edit.nodes[edit.writer[output]]
    assert node is not None
    w = edit.constants[node.inputs[1]].astype(np.float64)
    first = node.op == "Conv" or node.attrs.get("transB")
    w = w * (factor.reshape(-1, *[1] * (w.ndim - 1)) if first else factor)
    inputs = [node.inputs[0], edit.constant(node.inputs[1], w)]
    if len(node.inputs) > 2 and node.inputs[2]:
        inputs.append(edit.constant(node.inputs[2], edit.constants[node.inputs[2]] * factor))
    edit.put(edit.writer[output], replace(node, inputs=tuple(inputs)))


def _divide(edit: Editor, output: str, factor: Array) -> None:
    """Make the weights that read channels smaller."""
    node = edit.nodes[edit.writer[output]]
    assert node is not None
    w = edit.constants[node.inputs[1]].astype(np.float64)
    rows = _by_input(node, w)
    scaled = rows / factor.reshape(1, -1, 1) if _reads_all(node) else rows / _of_groups(node, w, factor)
    if node.op == "Gemm" and not node.attrs.get("transB"):
        scaled = np.moveaxis(scaled, 0, 1)
    inputs = (node.inputs[0], edit.constant(node.inputs[1], scaled.reshape(w.shape)), *node.inputs[2:])
    edit.put(edit.writer[output], replace(node, inputs=inputs))


def _by_input(node: Node, w: Array) -> Array:
    """Return weights as (outputs, inputs, taps)."""
    rows = w if node.op == "Conv" or node.attrs.get("transB") else w.T
    return rows.reshape(rows.shape[0], rows.shape[1], -1)


def _reads_all(node: Node) -> bool:
    return bool(node.op == "Gemm" or node.attrs.get("group", 1) == 1)


def _of_groups(node: Node, w: Array, factor: Array) -> Array:
    """Return the factors of a depthwise layer's inputs for each of its outputs."""
    return np.repeat(factor, len(w) // node.attrs["group"]).reshape(-1, 1, 1)


def _factors(edit: Editor, stream: Stream, statistics: Mapping[str, Statistics]) -> Array | None:
    """Return what each channel is multiplied by; None where that leaves no less noise."""
    known = [statistics[name] for name in stream.values if name in statistics]
    counts = {len(s.channel_high) for s in known}
    counts |= {_outputs(edit, node) for node in stream.writers} | {
        _inputs(edit, node) for node in stream.readers
    }
    if len(counts) != 1 or not known:
        return None
    reaches = [np.maximum(np.abs(s.channel_low), np.abs(s.channel_high)).astype(np.float64) for s in known]
    reach = np.max([r / max(float(r.max()), 1e-30) for r in reaches], 0)
    largest = np.full(reach.shape, LARGEST)
    for name, limit in stream.limits:
        if name not in statistics:
            return None
        high = np.maximum(statistics[name].channel_high.astype(np.float64), 1e-30)
        largest = np.minimum(largest, limit / (MARGIN * high))
    readers = [(node, edit.constants[node.inputs[1]].astype(np.float64)) for node in stream.readers]
    best, least = None, np.inf
    for strength in STRENGTHS:
        factor = np.maximum(np.minimum((1 / np.maximum(reach, SMALL)) ** strength, largest), 1.0)
        noise = 0.0
        for node, w in readers:
            noise += _expected_noise(node, w, factor, known, reaches)
        if noise < least * (1 - 1e-3):
            best, least = factor, noise
    return None if best is None or not (best > 1).any() else best


def _expected_noise(
    node: Node, w: Array, factor: Array, known: list[Statistics], reaches: list[Array]
) -> float:
    """Return the noise that rounding of the stream's values and of a reader's weights is to leave in it."""
    step = max(float((reach * factor).max()) for reach in reaches) / 255
    rows = _by_input(node, w)
    if not _reads_all(node):  # a depthwise layer's weights have a scale for each channel as well
        energy = np.square(rows / _of_groups(node, w, factor)).sum()
        return step**2 / 12 * float(energy)
    scaled = rows / factor.reshape(1, -1, 1)
    steps = np.abs(scaled).max((1, 2)) / 127
    power = max(float((s.channel_square * factor**2).sum()) for s in known) * rows.shape[2]
    return float(step**2 * np.square(scaled).sum() + np.square(steps).sum() * power) / 12


def _outputs(edit: Editor, node: Node) -> int:
    w = edit.constants[node.inputs[1]]
    return int(w.shape[0 if node.op == "Conv" or node.attrs.get("transB") else 1])


def _inputs(edit: Editor, node: Node) -> int:
    """Return how many channels a layer reads."""
    w = edit.constants[node.inputs[1]]
    if node.op == "Gemm":
        return int(w.shape[1 if node.attrs.get("transB") else 0])
    return int(w.shape[1] if node.attrs.get("group", 1) == 1 else node.attrs["group"])
