"""Networks whose layers are each of one kind of elements: how long they take, and what they lose.

A candidate is a tuple with a kind for each layer. Another kind is another letter here, and the nodes that it
is written as in :meth:`Candidates.graph`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

import numpy.typing as npt

from fastconv._arguments import shown
from fastconv.compress.agreement import Loss
from fastconv.compress.correct import Rounded
from fastconv.compress.insert import insert_conversions
from fastconv.compress.samples import Samples
from fastconv.compress.scheme import scheme_of
from fastconv.compress.sensitivity import bf16_sensitivities, sensitivities
from fastconv.compress.times import bf16_layers, layer_times, milliseconds, ratio
from fastconv.errors import ArgumentError
from fastconv.graph.ir import Graph
from fastconv.graph.model import Model

Array = npt.NDArray[Any]
Kinds = tuple[str, ...]

FLOAT, BF16, BYTES = "f32", "bf16", "int8"
LETTERS = {FLOAT: "f", BF16: "b", BYTES: "i"}  # of a candidate's key in a record of times
ELEMENTS = (BF16, BYTES)  # of which layers may be besides floats
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
    """Networks made of one that was rounded: each layer as it is, in bf16, or in 8 bits.

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
        Layers and operators that stay in floats.
    elements : collection of str
        Of which layers may be besides floats, of :data:`ELEMENTS`.

    Attributes
    ----------
    layers : tuple of str
        Those that have a choice.
    kinds : tuple of str
        What there is to choose from, floats first.
    """

    def __init__(
        self,
        graph: Graph,
        rounded: Rounded,
        samples: Samples,
        times: Times,
        excluded: tuple[Any, Any],
        elements: Collection[str] = ELEMENTS,
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
        self._of_bf16 = self._bf16_layers() if BF16 in elements else frozenset()
        self.kinds = (FLOAT, *([BF16] if self._of_bf16 else []), *([BYTES] if BYTES in elements else []))

    def _bf16_layers(self) -> frozenset[str]:
        """Return the layers that ``precision="bf16"`` rounds on the processor that the times are of."""
        if BF16 in self.times.layers:
            return frozenset(self.layers) & self.times.layers[BF16].keys()
        found: set[str] = set()
        if importlib.util.find_spec("ml_dtypes") is not None:  # weights of bf16 are its arrays
            found = bf16_layers(Model(self._graph, precision="bf16"), self._feeds)
        products = self._rounded.scheme.products
        taken = frozenset(name for name in self.layers if products[name].node.name in found)
        if not taken:
            self.times.layers[BF16] = {}  # a record knows that too
        return taken

    def choices(self, layer: str) -> tuple[str, ...]:
        """Return the kinds that a layer may be of."""
        return tuple(kind for kind in self.kinds if kind != BF16 or layer in self._of_bf16)

    def all_of(self, kind: str) -> Kinds:
        """Return the candidate all of whose layers are of a kind, but for those that cannot be."""
        return tuple(kind if kind in self.choices(layer) else FLOAT for layer in self.layers)

    @staticmethod
    def key(kinds: Kinds) -> str:
        """Return a candidate's name in a record: a letter for each layer."""
        return "".join(LETTERS[kind] for kind in kinds)

    def rounded(self, kinds: Kinds) -> Rounded:
        """Return how a candidate is rounded: a part of the whole.

        A value whose scale was another's keeps that scale where it has one of its own now.
        """
        names, ops = self._excluded
        left = {name: kind for name, kind in zip(self.layers, kinds, strict=True) if kind != BYTES}
        scheme = scheme_of(self._graph, [*names, *left], ops)
        reasons = {
            name: f"it is faster, or better, in {'bf16' if kind == BF16 else 'float'}"
            for name, kind in left.items()
        }
        narrow = frozenset(name for name, kind in left.items() if kind == BF16)
        scheme = replace(scheme, kept=dict(scheme.kept) | reasons, bf16=narrow)
        whole = self._rounded
        sources = dict.fromkeys(scheme.source(name) for name in scheme.values)
        ranges = {name: whole.ranges[whole.scheme.source(name)] for name in sources}
        weights = {name: whole.weights[name] for name in scheme.products}
        return replace(whole, scheme=scheme, ranges=ranges, weights=weights)

    def graph(self, kinds: Kinds) -> Graph:
        """Return the network."""
        made = self.rounded(kinds)
        return insert_conversions(self._graph, made.scheme, made.ranges, made.weights, made.biases)

    def alone(self, samples: Samples) -> dict[str, dict[str, float]]:
        """Return the signal-to-noise of the results if a layer alone is of a kind, by kind and layer."""
        of_bf16 = [name for name in self.layers if name in self._of_bf16]
        in_bytes = sensitivities(self._graph, self._rounded, samples) if BYTES in self.kinds else {}
        return {BF16: bf16_sensitivities(self._graph, self._rounded, of_bf16, samples), BYTES: in_bytes}

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
        """Return the milliseconds of a candidate for one sample, beside those of the last kind's network."""
        known = self.times.networks
        key, base = self.key(kinds), self.key(self.all_of(self.kinds[-1]))
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
            self.times.networks[key] = self.ms(self.all_of(self.kinds[-1])) * share
        return self.times.networks[key]

    def layer_ms(self, kind: str) -> dict[str, float]:
        """Return the milliseconds of each layer that may be of a kind, by its result, where all are."""
        if kind not in self.times.layers:
            model = Model(self.graph(self.all_of(kind)))
            found = layer_times(model, self._feeds)
            names = {node.outputs[0]: node.name for node in self._graph.nodes}
            able = [name for name in self.layers if kind in self.choices(name)]
            self.times.layers[kind] = {name: found.get(names[name], 0.0) for name in able}
        return self.times.layers[kind]

    def _reference(self) -> Model:
        if self._base is None:
            self._base = Model(self.graph(self.all_of(self.kinds[-1])))
        return self._base
