"""Networks whose layers are each of one kind of elements: how long they take, and what they lose.

A candidate is a tuple with a kind for each layer. Another kind is another letter here, and the nodes that it
is written as in :meth:`Candidates.graph`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy.typing as npt

from fastconv._arguments import shown
from fastconv.compress.agreement import Loss
from fastconv.compress.correct import Rounded
from fastconv.compress.insert import insert_conversions
from fastconv.compress.samples import Samples
from fastconv.compress.scheme import scheme_of
from fastconv.compress.times import layer_times, milliseconds, ratio
from fastconv.errors import ArgumentError
from fastconv.graph.ir import Graph
from fastconv.graph.model import Model

Array = npt.NDArray[Any]
Kinds = tuple[str, ...]

FLOAT, BYTES = "f32", "int8"
LETTERS = {FLOAT: "f", BYTES: "i"}  # of a candidate's key in a record of times
BATCH = 4


@dataclass
class Times:
    """What was measured, and is not measured again: milliseconds of layers by kind, of networks by key."""

    layers: dict[str, dict[str, float]] = field(default_factory=dict)
    networks: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, record: Any) -> Times:
        """Read a record as :meth:`as_dict` gives it; ArgumentError where it is none."""
        try:
            layers = {
                str(kind): {str(name): _milliseconds(ms) for name, ms in found.items()}
                for kind, found in record["layers"].items()
            }
            return cls(layers, {str(key): _milliseconds(ms) for key, ms in record["networks"].items()})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ArgumentError(
                f"times: expected a record of times of fastconv.optimize, got {shown(record):.80}"
            ) from error

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {"layers": {k: dict(v) for k, v in self.layers.items()}, "networks": dict(self.networks)}


def _milliseconds(value: Any) -> float:
    if isinstance(value, bool) or not 0 <= float(value) < float("inf"):
        raise ValueError
    return float(value)


class Candidates:
    """Networks made of one that was rounded: each layer as it is, or in 8 bits.

    Parameters
    ----------
    graph : Graph
        In floats.
    rounded : Rounded
        How all that can be is rounded.
    samples : Samples
        On which losses are measured; times are those of the first of them.
    times : Times
        What is known; what is measured is added.
    excluded : tuple of collections
        Layers and operators that are never in 8 bits.
    """

    def __init__(
        self, graph: Graph, rounded: Rounded, samples: Samples, times: Times, excluded: tuple[Any, Any]
    ) -> None:
        self.layers = tuple(rounded.scheme.products)
        self.times = times
        self._graph, self._rounded, self._excluded = graph, rounded, excluded
        self._batches = samples.batches(BATCH)
        self._feeds = samples.first(1).batches(1)[0]
        plain = Model(graph)
        self._expected = [plain.run(None, feeds) for feeds in self._batches]
        self._losses: dict[Kinds, float] = {}
        self._base: Model | None = None

    def all_of(self, kind: str) -> Kinds:
        """Return the candidate whose layers are all of a kind."""
        return (kind,) * len(self.layers)

    @staticmethod
    def key(kinds: Kinds) -> str:
        """Return a candidate's name in a record: a letter for each layer."""
        return "".join(LETTERS[kind] for kind in kinds)

    def rounded(self, kinds: Kinds) -> Rounded:
        """Return how a candidate is rounded: a part of the whole.

        A value whose scale was another's keeps that scale where it has one of its own now.
        """
        names, ops = self._excluded
        left = [name for name, kind in zip(self.layers, kinds, strict=True) if kind == FLOAT]
        scheme = scheme_of(self._graph, [*names, *left], ops)
        reasons = {name: "it is faster, or better, in float" for name in left}
        scheme = replace(scheme, kept=dict(scheme.kept) | reasons)
        whole = self._rounded
        sources = dict.fromkeys(scheme.source(name) for name in scheme.values)
        ranges = {name: whole.ranges[whole.scheme.source(name)] for name in sources}
        weights = {name: whole.weights[name] for name in scheme.products}
        return replace(whole, scheme=scheme, ranges=ranges, weights=weights)

    def graph(self, kinds: Kinds) -> Graph:
        """Return the network."""
        made = self.rounded(kinds)
        return insert_conversions(self._graph, made.scheme, made.ranges, made.weights, made.biases)

    def loss(self, kinds: Kinds) -> float:
        """Return the power of a candidate's error as a share of that of the float results; of the worst."""
        if kinds not in self._losses:
            self._losses[kinds] = self._measured_loss(Model(self.graph(kinds)))
        return self._losses[kinds]

    def _measured_loss(self, model: Model) -> float:
        loss = Loss()
        for feeds, expected in zip(self._batches, self._expected, strict=True):
            loss.add(expected, model.run(None, feeds))
        return loss.worst

    def ms(self, kinds: Kinds) -> float:
        """Return the milliseconds of a candidate for one sample, beside those of the network of 8 bits."""
        known = self.times.networks
        key, base = self.key(kinds), self.key(self.all_of(BYTES))
        if base not in known:
            known[base] = milliseconds(self._reference(), self._feeds)
        if key not in known:
            known[key] = known[base] * ratio(Model(self.graph(kinds)), self._reference(), self._feeds)
        return known[key]

    def again(self, kinds: Kinds, rounds: int) -> float:
        """Return the milliseconds of a candidate over more turns."""
        key = f"{self.key(kinds)}*{rounds}"
        if key not in self.times.networks:
            share = ratio(Model(self.graph(kinds)), self._reference(), self._feeds, rounds)
            self.times.networks[key] = self.ms(self.all_of(BYTES)) * share
        return self.times.networks[key]

    def layer_ms(self, kind: str) -> dict[str, float]:
        """Return each layer's milliseconds, by its result, where the layers are all of a kind."""
        if kind not in self.times.layers:
            model = Model(self.graph(self.all_of(kind)))
            found = layer_times(model, self._feeds)
            names = {node.outputs[0]: node.name for node in self._graph.nodes}
            self.times.layers[kind] = {name: found.get(names[name], 0.0) for name in self.layers}
        return self.times.layers[kind]

    def _reference(self) -> Model:
        if self._base is None:
            self._base = Model(self.graph(self.all_of(BYTES)))
        return self._base
