"""The steps that all networks of 8 bits begin with: data are observed, values and weights are rounded."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv._text import counted
from fastconv.compress.correct import Rounded, corrected
from fastconv.compress.equalize import equalized
from fastconv.compress.observer import Statistics, observe
from fastconv.compress.prepare import prepared
from fastconv.compress.ranges import Range, choose_range
from fastconv.compress.samples import FEW, Samples
from fastconv.compress.scheme import Scheme, scheme_of
from fastconv.compress.weights import ByteWeights, quantize_weights
from fastconv.graph.ir import Graph

Array = npt.NDArray[Any]

NAMED = 3  # values of a remark
CORRECTED = 32  # samples whose means correct the biases
BIAS = float(1 << 24)  # steps of the largest bias: of 32 bits, most are left for the sums


@dataclass(frozen=True)
class Observed:
    """A network ready to be rounded: what of it is, and the statistics of its values."""

    graph: Graph
    scheme: Scheme
    statistics: Mapping[str, Statistics]


def observed_network(
    given: Graph, samples: Samples, exclude: Collection[str], exclude_ops: Collection[str], *, equalize: bool
) -> Observed:
    """Return a network with its normalisations in weights, equalised if asked for, and observed."""
    graph = prepared(given, samples)
    scheme = scheme_of(graph, exclude, exclude_ops)
    statistics = observe(graph, samples, scheme.values)
    if equalize:
        graph, changed = equalized(graph, statistics)
        if changed:
            scheme = scheme_of(graph, exclude, exclude_ops)
            statistics = observe(graph, samples, scheme.values)
    return Observed(graph, scheme, statistics)


def remarks(network: Observed, samples: Samples) -> tuple[str, ...]:
    """Return what a user should know of the data, in sentences: how few there are, what they do not move."""
    said = []
    if len(samples) < FEW:
        said.append(
            f"ranges are those of {counted(len(samples), 'sample')}, which is few: what others reach beyond"
            " is cut off; take 100 to 300"
        )
    constant = [name for name, known in network.statistics.items() if known.low == known.high]
    if constant:
        named = ", ".join(map(repr, constant[:NAMED])) + (", ..." if constant[NAMED:] else "")
        said.append(
            f"{counted(len(constant), 'value')} had one number alone in all samples ({named}): the data may"
            " not be such as the network knows"
        )
    return tuple(said)


def rounded_network(
    network: Observed,
    samples: Samples,
    methods: tuple[str, ...],
    *,
    portable: bool,
    compensate: bool,
    correct: bool,
) -> Rounded:
    """Choose the ranges of values, round weights, and make good what can be of the errors."""
    graph, scheme, statistics = network.graph, network.scheme, network.statistics
    sources = dict.fromkeys(scheme.source(name) for name in scheme.values)
    ranges: dict[str, Range] = {name: choose_range(statistics[name], methods) for name in sources}
    weights: dict[str, ByteWeights] = {}
    biases: dict[str, Array] = {}
    for name, product in scheme.products.items():
        w = graph.constants[product.weights]
        known = statistics.get(product.input)
        importance = None
        if known is not None and product.node.attrs.get("group", 1) == 1:
            square = known.channel_square
            inputs = w.shape[1 - product.axis] if product.node.op != "Conv" else w.shape[1]
            if square.shape == (inputs,):
                importance = np.maximum(square, square.max(initial=0) * 1e-6 + 1e-30).reshape(1, -1, 1)
        zeros = np.zeros(product.channels, np.float32)
        biases[name] = graph.constants[product.bias] if product.bias else zeros
        # A channel of next to no weights has a bias all the same, which is counted in its scale.
        least = np.abs(biases[name].astype(np.float64)) / (ranges[scheme.source(product.input)].scale * BIAS)
        weights[name] = quantize_weights(
            w, product.axis, portable=portable, importance=importance, least=least
        )
    rounded = Rounded(scheme, ranges, weights, biases)
    if not (compensate or correct):
        return rounded
    some = samples.first(CORRECTED)
    return corrected(graph, rounded, some, weights=compensate, biases=correct, portable=portable)
