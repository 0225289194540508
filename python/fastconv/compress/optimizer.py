"""The fastest network that is still right: layers in floats, bf16 or 8 bits, by measured time and error."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastconv._arguments import integer, number, shown
from fastconv._files import path_of
from fastconv._table import Table
from fastconv.compress.agreement import share_of
from fastconv.compress.candidates import BF16, BYTES, ELEMENTS, FLOAT, Candidates, Times
from fastconv.compress.correct import Rounded
from fastconv.compress.prepare import graph_of
from fastconv.compress.ranges import RANGES
from fastconv.compress.report import Cost, Report, report_of
from fastconv.compress.result import Result
from fastconv.compress.rounding import observed_network, remarks, rounded_network
from fastconv.compress.samples import SAMPLES, Prepare, check_of, samples_of
from fastconv.compress.search import Alone, Point, front, search
from fastconv.errors import ArgumentError, DTypeError
from fastconv.exporters.onnx import to_file

BUDGET = 0.01  # 20 dB
SEARCHED = 32  # samples that candidates are judged by; the one that is chosen is judged by all
STRICTER = 0.8  # than what is left of the budget, where a network that was found loses more on all samples
ATTEMPTS = 4
NO_BF16 = "no layer was tried in bf16: none gains by it here, or the package ml_dtypes is missing"
_TABLE = Table(("ms", ">"), ("loss", ">"), ("layers in 8 bits", ">"), ("in bf16", ">"), ("", "<"))


@dataclass(frozen=True)
class Optimized(Result):
    """The network that was chosen, and what there was to choose from.

    Attributes
    ----------
    graph : Graph
        In QDQ form; what layers of bf16 read goes through a pair of casts, and layers of floats are as they
        were.
    chosen : Point
        Its kinds, milliseconds and loss on all samples.
    points : tuple of Point
        All networks that were measured.
    layers : tuple of str
        The layers whose kinds the points tell.
    budget : float
    report : Report
        As of :func:`quantize`, with times.
    times : dict
        The record that repeats the search: pass it as ``times``.
    costs : tuple of Cost
        Of each layer that has times of its own: what it gains and loses in 8 bits.
    """

    chosen: Point
    points: tuple[Point, ...]
    layers: tuple[str, ...]
    budget: float
    report: Report
    times: dict[str, Any]
    costs: tuple[Cost, ...]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network, as an ``.onnx`` file or compiled (``.fcm``)."""
        target = path_of(path, "path")
        check_suffix(target.suffix, str(target))
        if target.suffix.lower() == ".fcm":
            self.model().save(target)
        else:
            to_file(self.graph, target, metadata={"fastconv.optimized": f"loss at most {self.budget:g}"})

    def front(self) -> list[Point]:
        """Return the networks that no other is both faster and nearer than, the fastest first."""
        return front(list(self.points))

    def lines(self) -> list[str]:
        """Return the layers, the front and what was chosen as text, line by line."""
        rows = [self._cells(point) for point in self._told()]
        return [*self.report.lines(), *self.words(), "", *_TABLE.lines(rows)]

    def words(self) -> list[str]:
        """Return what the budget was a share of, and what of it is used."""
        outputs = self.report.outputs
        if not outputs:
            return []
        worst = min(outputs, key=lambda output: output.snr).output
        of = (
            f"output {worst!r}"
            if len(outputs) == 1
            else f"output {worst!r}, which loses most of {len(outputs)}"
        )
        return [
            f"loss {self.chosen.loss:.3%} of a budget of {self.budget:.3%}: the power of the error in {of},"
            " as a share of the power of its numbers as they are"
        ]

    def html(self) -> str:
        """Return the networks as an HTML table, which a notebook shows."""
        return _TABLE.html(self._cells(point) for point in self._told())

    def _repr_html_(self) -> str:
        return self.html()

    def _told(self) -> list[Point]:
        """Return the front and, where they are not of it, the networks of one kind."""
        ends = [point for point in self.points if self._of_one_kind(point)]
        return sorted({*self.front(), *ends, self.chosen}, key=lambda point: point.ms)

    def _of_one_kind(self, point: Point) -> str:
        """Return what a network is all of, or ""."""
        if set(point.kinds) <= {FLOAT}:
            return "all in float"
        if set(point.kinds) == {BYTES}:
            return "all in 8 bits"
        most = max(p.in_bf16 for p in self.points)
        return "all in bf16 that gain" if point.in_bf16 == most and not point.in_bytes else ""

    def _cells(self, point: Point) -> tuple[str, ...]:
        kind = self._of_one_kind(point)
        remarks = [kind] if kind else []
        if point == self.chosen:
            remarks.append("chosen")
        elif point.loss > self.budget:
            remarks.append("over the budget")
        counts = str(point.in_bytes), str(point.in_bf16)
        return f"{point.ms:.3f}", f"{point.loss:.3%}", *counts, ", ".join(remarks)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""

        def plain(point: Point) -> dict[str, Any]:
            return {"kinds": list(point.kinds), "ms": point.ms, "loss": point.loss}

        return {
            "budget": self.budget,
            "layers_by_name": list(self.layers),
            "chosen": plain(self.chosen),
            "front": [plain(point) for point in self.front()],
            "points": [plain(point) for point in self.points],
            **self.report.as_dict(),
        }


def check_suffix(suffix: str, shown: str) -> None:
    """Raise ArgumentError unless a file's suffix is one that a network can be written as."""
    if suffix.lower() not in (".onnx", ".fcm"):
        raise ArgumentError(f"path: expected a file ending in .onnx or .fcm, got {shown!r}")


def optimize(
    model: Any,
    data: Any,
    *,
    budget: float = BUDGET,
    prepare: Prepare | None = None,
    samples: int = SAMPLES,
    labels: Sequence[int] | None = None,
    exclude: Collection[str] = (),
    exclude_ops: Collection[str] = (),
    times: Mapping[str, Any] | None = None,
    elements: Collection[str] = ELEMENTS,
    check: Any = None,
) -> Optimized:
    """Find, layer by layer, whether floats, bf16 or 8 bits make the fastest network within a budget of loss.

    Times are those of this machine, for one sample, with the threads that are set. They differ from run to
    run, and so may the network; the same record of times gives the same network.

    Parameters
    ----------
    model, data, prepare, samples, labels, exclude, exclude_ops, check
        As for :func:`quantize`.
    budget : float
        The largest loss: the power of the error in the network's results as a share of the power of the
        results, on the samples, and of several results that which loses most. 0.01 is a signal-to-noise of
        20 dB.
    times : mapping, optional
        The ``times`` of an earlier result for the same network: what is in it is not measured again.
    elements : collection of {"bf16", "int8"}
        What layers may be computed with besides float32; by default both. bf16 is tried in the layers that
        ``precision="bf16"`` rounds on this processor.

    Returns
    -------
    Optimized
        With its ``graph``, ``model()``, ``save(path)``, ``front()``, ``report`` and ``times``.

    Raises
    ------
    ArgumentError
        Where the budget is no share, the record of times is none, there are no such elements, or as
        :func:`quantize` does.
    ShapeError, DTypeError
        Where the data do not fit the network.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv.models import squeezenet1_1
    >>> model = squeezenet1_1(squeezenet1_1.random_weights())
    >>> x = np.random.default_rng(0).standard_normal((4, 3, 64, 64), np.float32)
    >>> result = optimize(model, x, budget=0.01)
    >>> result.chosen.loss <= 0.01
    True
    """
    share = number("budget", budget)
    if not 0 <= share < 1:
        raise ArgumentError(f"budget: expected a share from 0 up to 1, got {share:g}")
    kinds = _elements(elements)
    in_bytes = BYTES in kinds
    known = Times() if times is None else Times.of(times)
    given = graph_of(model)
    taken = samples_of(data, given, prepare=prepare, limit=integer("samples", samples, 1))
    checked = check_of(check, taken, labels, given, prepare)
    network = observed_network(given, taken, exclude, exclude_ops, equalize=in_bytes)
    graph = network.graph
    rounded = rounded_network(network, taken, RANGES, portable=True, compensate=in_bytes, correct=in_bytes)
    excluded = exclude, exclude_ops
    candidates = Candidates(graph, rounded, taken.first(SEARCHED), known, excluded, kinds)
    whole = Candidates(graph, rounded, taken, known, excluded, kinds)
    alone = candidates.alone(taken)
    points, chosen = _within(candidates, whole, alone, share)
    made = candidates.rounded(chosen.kinds)
    result = candidates.graph(chosen.kinds)
    said = remarks(network, taken)
    if BF16 in kinds and BF16 not in candidates.kinds:
        said += (NO_BF16,)
    costs = _costs(candidates, rounded, alone, chosen) if in_bytes else ()
    layers = zip(candidates.layers, chosen.kinds, strict=True)
    lost = alone[BYTES] | {name: alone[BF16][name] for name, kind in layers if kind == BF16}
    report = report_of(given, graph, result, made, checked, labels, lost, remarks=said, timed=True)
    return Optimized(result, chosen, tuple(points), candidates.layers, share, report, known.as_dict(), costs)


def _elements(elements: Any) -> tuple[str, ...]:
    """Return the elements that are named, each once."""
    if isinstance(elements, str) or not isinstance(elements, Collection):
        raise DTypeError(f"elements: expected a collection of names, got {shown(elements)}")
    if not len(elements) or any(name not in ELEMENTS for name in elements):
        raise ArgumentError(f"elements: expected some of {', '.join(ELEMENTS)}, got {shown(elements)}")
    return tuple(kind for kind in ELEMENTS if kind in elements)


def _costs(candidates: Candidates, rounded: Rounded, alone: Alone, chosen: Point) -> tuple[Cost, ...]:
    """Return what each layer gains and loses, of those that have a time of their own."""
    before, after = (candidates.layer_ms(kind) for kind in (FLOAT, BYTES))
    found = []
    for name, kind in zip(candidates.layers, chosen.kinds, strict=True):
        node = rounded.scheme.products[name].node
        if before[name] > 0 and after[name] > 0:
            loss = share_of(alone[BYTES][name])
            found.append(Cost(node.name, node.op, kind, before[name], after[name], loss))
    return tuple(found)


def _within(
    candidates: Candidates, whole: Candidates, alone: Alone, budget: float
) -> tuple[list[Point], Point]:
    """Return what was measured, and the first network found that keeps to a budget on all samples."""
    stricter = budget
    points: list[Point] = []
    for _ in range(ATTEMPTS):
        points = search(candidates, alone, stricter)
        loss = whole.loss(points[0].kinds)
        if loss <= budget:
            chosen = Point(points[0].kinds, points[0].ms, loss)
            return [chosen, *points[1:]], chosen
        stricter *= STRICTER * budget / loss
    floats = candidates.all_of(FLOAT)
    chosen = Point(floats, candidates.ms(floats), 0.0)
    return [chosen, *(point for point in points if point.kinds != floats)], chosen
