"""Which codebook each layer has: the fewest bytes with which the network's results keep their signal."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv._progress import track
from fastconv.compress.samples import Samples
from fastconv.compress.sensitivity import SAMPLES, output_snr
from fastconv.graph.ir import Graph, Node

Array = npt.NDArray[Any]
Values = Callable[[Array, int, str], Array]  # of weights, bits, and what codebooks are chosen for

# Bits of an index, and what the codebook is chosen for; 0 bits: weights as they are.
CHOICES = {
    "entropy": (3, 4, 5, 6, 7, 8, 0),
    "relative": (5, 6, 7, 8),
}
PROBE = 7  # bits that each layer's noise is measured with; that of others is taken to follow their error
ROUNDS = 6


@dataclass(frozen=True)
class _Offer:
    """What a layer may be: its weights, their bytes, and the noise that they leave in the results."""

    values: Array
    size: float
    noise: float


def allocate(
    graph: Graph, nodes: Sequence[Node], samples: Samples, min_snr: float, values_of: Values
) -> dict[str, Array]:
    """Return the weights of each layer, by the name of the constant.

    Noises of layers are taken to add up. The results are measured, and less noise is asked for, until they
    have the signal-to-noise that they must have.
    """
    some = samples.first(SAMPLES)
    offers: dict[str, list[_Offer]] = {}
    for node in track(nodes, "measuring layers"):
        name = node.inputs[1]
        w = graph.constants[name]
        offers[name] = []
        for aim, choices in CHOICES.items():
            probed = values_of(w, PROBE, aim)
            noise = _noise(output_snr(graph, _with(graph, {name: probed}), some))
            scale = noise / max(_error(w, probed), 1e-300)
            made = [values_of(w, bits, aim) for bits in choices]
            offers[name] += [_Offer(values, _size(values), scale * _error(w, values)) for values in made]
    budget = _noise(min_snr)
    for _ in range(ROUNDS):
        chosen = _cheapest(offers, budget)
        weights = {name: offer.values for name, offer in chosen.items()}
        reached = output_snr(graph, _with(graph, weights), some)
        if reached >= min_snr:
            break
        budget *= 10 ** ((reached - min_snr - 0.5) / 10)
    return weights


def _cheapest(offers: Mapping[str, Sequence[_Offer]], budget: float) -> dict[str, _Offer]:
    """Return an offer for each layer: few bytes, and no more noise together than a budget."""

    def at(price: float) -> dict[str, _Offer]:
        return {name: min(some, key=lambda o: o.size + price * o.noise) for name, some in offers.items()}

    low, high = -10.0, 40.0  # powers of ten of bytes for all the noise there may be
    for _ in range(60):
        middle = (low + high) / 2
        if sum(offer.noise for offer in at(10**middle / budget).values()) > budget:
            low = middle
        else:
            high = middle
    return at(10**high / budget)


def _with(graph: Graph, weights: Mapping[str, Array]) -> Graph:
    return replace(graph, constants={**graph.constants, **weights})


def _noise(snr: float) -> float:
    return 0.0 if snr == math.inf else float(10 ** (-snr / 10))


def _error(w: Array, values: Array) -> float:
    return float(np.square(w - values, dtype=np.float64).sum())


def _size(values: Array) -> float:
    """Return about how many bytes weights take in the file: the entropy of what is written."""
    _, counts = np.unique(values, return_counts=True)
    if counts.size > 256:
        return float(values.nbytes)
    bits = -(counts * np.log2(counts / values.size)).sum()
    return float(bits / 8 + 5 * counts.size + 100)
