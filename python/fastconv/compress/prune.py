"""A network with fewer channels: those that matter least go, and layers behind make good for them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fastconv import _core
from fastconv._arguments import integer, number, shown
from fastconv.compress.agreement import Agreement
from fastconv.compress.channels import Trace, traced
from fastconv.compress.decide import all_sets, balance, read_channels
from fastconv.compress.importance import by_error, by_norm, by_scale
from fastconv.compress.prepare import graph_of
from fastconv.compress.refit import refitted
from fastconv.compress.result import Result, agreements, said
from fastconv.compress.rewrite import without
from fastconv.compress.samples import SAMPLES, Prepare, Samples, samples_of
from fastconv.compress.shrink import PASSES, concrete_shapes, macs_of, shrunk
from fastconv.errors import ArgumentError
from fastconv.graph.ir import Graph
from fastconv.graph.passes import run_passes

WAYS = ("norm", "scale", "error")
LEAST = 0.1  # the share of its channels that every layer keeps
REFITTED = 32  # samples that the layers are fitted to


@dataclass(frozen=True)
class PruneReport:
    """What became of a network.

    ``channels`` has how many each layer writes, before and after, by its name; ``macs`` the
    multiply-accumulates of a sample; ``outputs`` how far the results agree on the data, if there are any.
    """

    channels: dict[str, tuple[int, int]]
    macs: tuple[int, int]
    outputs: tuple[Agreement, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        before, after = self.macs
        macs = (
            f"{before / 1e6:.1f} > {after / 1e6:.1f} million multiply-accumulates a sample"
            f" ({after / max(1, before):.1%})"
        )
        return "\n".join([macs, *map(said, self.outputs)])


@dataclass(frozen=True)
class Pruned(Result):
    """A network with fewer channels: its ``graph``, in ONNX's words, and a ``report``."""

    report: PruneReport


def prune(
    model: Any,
    keep: float,
    *,
    data: Any = None,
    by: str | None = None,
    multiple: int | None = None,
    prepare: Prepare | None = None,
    samples: int = SAMPLES,
    shapes: Sequence[Sequence[int]] | None = None,
) -> Pruned:
    """Remove the channels of a network that matter least, until a share of its multiplications is left.

    Parameters
    ----------
    model : Model, Graph or path
        A network, or an ``.onnx`` file.
    keep : float
        The share of multiply-accumulates that is left, above 0 and below 1.
    data : path, array, or iterable, optional
        Samples without labels, as for :func:`fastconv.quantize`: layers are then fitted to what they computed
        before, and the report says how far the results agree.
    by : {"norm", "scale", "error"}, optional
        What says how much a channel matters: the filters that write it, the factor of its batch
        normalisation, or the error in what reads it, which needs data and is the default with them.
    multiple : int, optional
        Layers keep multiples of so many channels; by default as many as a vector register has numbers.
    prepare : callable, optional
        Makes the input of a photo's path.
    samples : int
        How many samples are taken at the most.
    shapes : sequence of sequence of int, optional
        Of the inputs, where the network does not say them.

    Returns
    -------
    Pruned
        With its ``graph``, ``model()``, ``save(path)`` and ``report``. Most networks must be trained further
        to be as good as before.

    Raises
    ------
    ArgumentError, ShapeError, DTypeError
        Where an argument is none of these, or data do not fit the network.
    UnsupportedOpError
        Where shapes within it depend on values.

    Examples
    --------
    >>> from fastconv.models import squeezenet1_1
    >>> graph = squeezenet1_1.graph(squeezenet1_1.random_weights())
    >>> before, after = prune(graph, 0.5, shapes=[(1, 3, 64, 64)]).report.macs
    >>> 0.45 < after / before <= 0.5
    True
    """
    share = number("keep", keep)
    if not 0 < share < 1:
        raise ArgumentError(f"keep: expected a share above 0 and below 1, got {shown(keep)}")
    by = by or ("norm" if data is None else "error")
    if by not in WAYS:
        raise ArgumentError(f"by: expected {', '.join(map(repr, WAYS))}, got {shown(by)}")
    if by == "error" and data is None:
        raise ArgumentError("data: expected samples for by='error', got none")
    lanes = _core.cpu_info()["tiers"]["lanes"][_core.active_tier()]
    step = lanes if multiple is None else integer("multiple", multiple, 1)
    given = graph_of(model)
    known = concrete_shapes(given, shapes)
    taken = None
    if data is not None:
        taken = samples_of(data, given, prepare=prepare, limit=integer("samples", samples, 1))
    trace, _ = shrunk(traced(run_passes(given, PASSES), known), known)
    if by == "error" and taken is not None:
        scores = by_error(trace, taken.first(REFITTED))
    else:
        scores = by_scale(trace) if by == "scale" else by_norm(trace)
    removed = _chosen(trace, scores, share, step)
    if taken is not None:
        trace = traced(refitted(trace, removed, taken.first(REFITTED)), known)
    last, _ = shrunk(traced(without(trace, removed), known), known)
    return Pruned(last.graph, _report(given, trace, last, taken))


def _chosen(trace: Trace, scores: dict[int, float], share: float, step: int) -> frozenset[int]:
    """Return the sets that matter least, as many as leave no more than a share of the multiplications."""
    families = _families(trace)
    ranked = sorted((scores.get(n, 0.0), n) for members in families for n in members)
    whole = macs_of(trace)
    best: frozenset[int] = frozenset()
    low, high = 0, len(ranked)  # of how many are removed: fewest that are enough
    while low < high:
        middle = (low + high) // 2
        removed = _rounded(trace, families, ranked, middle, step)
        if macs_without(trace, removed) <= share * whole:
            high, best = middle, removed
        else:
            low = middle + 1
    best = best or _rounded(trace, families, ranked, low, step)
    left = macs_without(trace, best) / max(1, whole)
    if left > share:
        raise ArgumentError(
            f"keep: expected at least the {left:.3f} that is left where each layer keeps {LEAST:.0%} of its"
            f" channels, in multiples of {step}, got {share:g}"
        )
    return best


def _families(trace: Trace) -> list[list[int]]:
    """Return the sets that may be removed, those together that the same layers write."""
    writers: dict[int, list[str]] = {}
    for output in trace.layers:
        for n in trace.channels[output].sets.tolist():
            writers.setdefault(n, []).append(output)
    found: dict[tuple[str, ...], list[int]] = {}
    for n, names in writers.items():
        if n not in trace.frozen:
            found.setdefault(tuple(dict.fromkeys(names)), []).append(n)
    return list(found.values())


def _rounded(
    trace: Trace, families: list[list[int]], ranked: list[tuple[float, int]], count: int, step: int
) -> frozenset[int]:
    """Return about so many of the first sets, so that multiples are left of each family."""
    place = {n: i for i, (_, n) in enumerate(ranked)}
    kept = dict(trace.frozen) | dict.fromkeys(all_sets(trace) - place.keys(), "no layer writes it")
    for members in families:
        left = sum(place[n] >= count for n in members)
        least = max(step, LEAST * len(members))
        wanted = int(min(len(members), step * max(round(left / step), -(-least // step))))
        best = sorted(members, key=place.__getitem__)[len(members) - wanted :]
        kept |= dict.fromkeys(best, "it matters more")
    return balance(trace, kept, [n for _, n in ranked])


def macs_without(trace: Trace, removed: Collection[int]) -> float:
    """Return the multiply-accumulates of a sample that are left without some sets."""
    gone = np.fromiter(removed, np.int64, len(removed))
    total = 0.0
    for output, layer in trace.layers.items():
        given = read_channels(trace, layer)
        inputs = 1.0 if given is None or layer.depthwise else 1 - np.isin(given.sets, gone).mean()
        total += layer.macs * inputs * (1 - np.isin(trace.channels[output].sets, gone).mean())
    return total


def _report(given: Graph, first: Trace, last: Trace, samples: Samples | None) -> PruneReport:
    after = {layer.node.name: layer.outputs for layer in last.layers.values()}
    channels = {y.node.name: (y.outputs, after.get(y.node.name, 0)) for y in first.layers.values()}
    outputs = () if samples is None else agreements(given, last.graph, samples)
    return PruneReport(channels, (macs_of(first), macs_of(last)), outputs)
