"""What each layer costs alone: the network's results where it is the only one that is rounded."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from fastconv._progress import track
from fastconv.compress.agreement import Loss, share_of
from fastconv.compress.correct import Rounded
from fastconv.compress.insert import insert_conversions
from fastconv.compress.samples import Samples
from fastconv.compress.scheme import Scheme
from fastconv.graph.ir import Graph
from fastconv.graph.model import Model

SAMPLES = 16  # of those that are given: layers are told apart by far less
BATCH = 4


def sensitivities(graph: Graph, rounded: Rounded, samples: Samples) -> dict[str, float]:
    """Return for each layer with weights the signal-to-noise of the results when it alone is rounded.

    In decibels, of the result that loses most, by the name of the layer's result. A layer is its weights,
    what it reads and what it gives.
    """
    scheme = rounded.scheme
    return _measured(graph, rounded, {name: _alone(scheme, name) for name in scheme.products}, samples)


def bf16_sensitivities(
    graph: Graph, rounded: Rounded, names: Collection[str], samples: Samples
) -> dict[str, float]:
    """Return the same of some layers when one alone is of bf16: its weights, and what it reads."""
    none = replace(rounded.scheme, products={}, values=())
    schemes = {name: replace(none, bf16=frozenset((name,))) for name in names}
    return _measured(graph, rounded, schemes, samples)


def _measured(
    graph: Graph, rounded: Rounded, schemes: Mapping[str, Scheme], samples: Samples
) -> dict[str, float]:
    """Return the signal-to-noise of the results of each scheme."""
    if not schemes:
        return {}
    some = samples.first(SAMPLES)
    batches = some.batches(BATCH)
    plain = Model(graph)
    expected = [plain.run(None, feeds) for feeds in batches]
    found = {}
    for name in track(list(schemes), "measuring layers"):
        result = insert_conversions(graph, schemes[name], rounded.ranges, rounded.weights, rounded.biases)
        model = Model(result)
        loss = Loss()
        for first, feeds in zip(expected, batches, strict=True):
            loss.add(first, model.run(None, feeds))
        found[name] = loss.snr
    return found


def output_snr(graph: Graph, result: Graph, samples: Samples) -> float:
    """Return the signal-to-noise of a quantised graph's worst result, in decibels."""
    plain, rounded, loss = Model(graph), Model(result), Loss()
    for feeds in samples.batches(BATCH):
        loss.add(plain.run(None, feeds), rounded.run(None, feeds))
    return loss.snr


def _alone(scheme: Scheme, name: str) -> Scheme:
    """Return a scheme of one layer."""
    product = scheme.products[name]
    result = scheme.clamped.get(name, name)
    values = tuple(value for value in scheme.values if value in (product.input, result))
    return replace(scheme, products={name: product}, values=values)


def costliest(alone: Mapping[str, float], budget: float, whole: float) -> list[str]:
    """Return the layers that must stay in float for the signal-to-noise of the whole to reach a budget.

    Their noises are taken to add up, scaled so that all of them make up that of the ``whole`` network. At
    least one layer is named, unless there is none.

    >>> costliest({"a": 30.0, "b": 10.0, "c": 40.0}, budget=25.0, whole=9.9)
    ['b']
    """
    noises = {name: share_of(snr) for name, snr in alone.items()}
    total = sum(noises.values())
    if not total:
        return []
    share = share_of(whole) / total
    left = share_of(whole)
    named: list[str] = []
    for name in sorted(noises, key=lambda name: -noises[name]):
        if named and left <= share_of(budget):
            break
        named.append(name)
        left -= noises[name] * share
    return named
