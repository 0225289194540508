"""What quantising did to a network: layer by layer, and to what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv._progress import track
from fastconv._table import Table
from fastconv.compress.agreement import Agreement, agreement, decibels
from fastconv.compress.correct import Rounded
from fastconv.compress.samples import Samples
from fastconv.compress.times import layer_times
from fastconv.errors import ShapeError
from fastconv.graph.ir import Graph, Node
from fastconv.graph.model import Model

Array = npt.NDArray[Any]

BATCH = 4


@dataclass(frozen=True)
class LayerReport:
    """One layer.

    ``snr`` is how much larger its result is than the error that all layers up to it have left in it, in
    decibels. ``alone`` is that of the network's results where this layer alone is rounded, if measured.
    ``saturating`` counts the pairs of weights that are too large together for engines that multiply
    bytes by ``vpmaddubsw``, and ``avoided`` those that there would be without care. ``before`` and ``after``
    are milliseconds for one sample in the float network and in this one, as both run here, if measured.
    """

    name: str
    op: str
    elements: str
    snr: float
    alone: float | None
    method: str
    scale: float
    zero: int
    saturating: int
    avoided: int
    before: float | None = None
    after: float | None = None

    def cells(self) -> tuple[str, ...]:
        """Return the layer's line of the table."""
        names = self.name, self.op, self.elements
        signal = f"{self.snr:.1f}", "" if self.alone is None else f"{self.alone:.1f}"
        known = (self.method, f"{self.scale:.3g}", str(self.zero)) if self.method else ("", "", "")
        times = ("" if ms is None else f"{ms:.3f}" for ms in (self.before, self.after))
        return *names, *signal, *known, str(self.saturating), str(self.avoided), *times


@dataclass(frozen=True)
class Report:
    """What quantising did: ``layers`` in order, ``outputs`` against those of the float network, in words."""

    layers: tuple[LayerReport, ...]
    outputs: tuple[Agreement, ...]
    kept: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "layers": [asdict(layer) for layer in self.layers],
            "outputs": [asdict(output) for output in self.outputs],
            "kept": dict(self.kept),
        }

    def lines(self) -> list[str]:
        """Return the report as a text table, line by line."""
        table = Table(
            *(("layer", "<"), ("operator", "<"), ("elements", "<"), ("SNR dB", ">"), ("alone", ">")),
            *(("range", "<"), ("scale", ">"), ("zero", ">"), ("saturating", ">"), ("avoided", ">")),
            *(("ms f32", ">"), ("ms now", ">")),
        )
        rows = [y.cells() for y in self.layers]
        return [*table.lines(rows), "", *(self._said(output) for output in self.outputs)]

    @staticmethod
    def _said(output: Agreement) -> str:
        text = f"output {output.output!r}: SNR {output.snr:.1f} dB over {output.samples} samples"
        if output.top1 is None:
            return text
        text += (
            f", same first class {output.top1:.1%}, of the first five {output.top5:.1%}"
            f", KL {output.kl:.4f}, probabilities differ by {output.probability:.4f} at most"
        )
        if output.accuracy is not None:
            text += f", accuracy {output.accuracy[0]:.1%} -> {output.accuracy[1]:.1%}"
        return text

    def __str__(self) -> str:
        return "\n".join(self.lines())


def report_of(
    given: Graph,
    graph: Graph,
    result: Graph,
    rounded: Rounded,
    samples: Samples,
    labels: Sequence[int] | None = None,
    alone: Mapping[str, float] | None = None,
    *,
    timed: bool = False,
) -> Report:
    """Run a quantised network on samples, and compare it with the float one that was given.

    Layer by layer it is compared with ``graph``, whose channels are scaled as its own are.
    """
    if labels is not None and len(labels) != len(samples):
        raise ShapeError(f"labels: expected {len(samples)}, one a sample, got {len(labels)}")
    scheme = rounded.scheme
    layers = [node for node in graph.nodes if node.outputs[0] in (*scheme.products, *scheme.kept)]
    mine = [scheme.clamped.get(node.outputs[0], node.outputs[0]) for node in layers]
    bytes_of = {node.inputs[0]: node.outputs[0] for node in result.nodes if node.op == "QuantizeLinear"}
    floats_of = {node.inputs[0]: node.outputs[0] for node in result.nodes if node.op == "DequantizeLinear"}
    theirs = [floats_of[bytes_of[name]] if name in bytes_of else name for name in mine]
    sums = np.zeros((2, len(layers)))
    pairs: list[tuple[list[Array], list[Array]]] = []
    float_model, before, after = Model(given), Model(graph), Model(result)
    for feeds in track(samples.batches(BATCH), "comparing"):
        expected, got = before.run(mine, feeds), after.run(theirs, feeds)
        for i, (a, b) in enumerate(zip(expected, got, strict=True)):
            wide = a.astype(np.float64)
            sums[:, i] += np.square(wide).sum(), np.square(b - wide).sum()
        # The outputs are those of the networks as they are: layers that are looked at are not fused.
        pairs.append((float_model.run(None, feeds), after.run(None, feeds)))
    compared = []
    for i, info in enumerate(given.outputs):
        a, b = (np.concatenate([np.atleast_1d(p[side][i]) for p in pairs]) for side in (0, 1))
        compared.append(agreement(info.name, a, b, labels))
    one = samples.first(1).batches(1)[0]
    times = [layer_times(model, one) if timed else {} for model in (float_model, after)]
    rows = [
        _layer(node, name, rounded, decibels(*sums[:, i]), (alone or {}).get(node.outputs[0]), times)
        for i, (node, name) in enumerate(zip(layers, mine, strict=True))
    ]
    return Report(tuple(rows), tuple(compared), dict(scheme.kept))


def _layer(
    node: Node,
    value: str,
    rounded: Rounded,
    snr: float,
    alone: float | None,
    times: Sequence[Mapping[str, float]],
) -> LayerReport:
    weights = rounded.weights.get(node.outputs[0])
    found = rounded.ranges[rounded.scheme.source(value)] if value in rounded.scheme.values else None
    elements = "f32" if weights is None else f"u8 x s8 > {'f32' if found is None else 'u8'}"
    return LayerReport(
        node.name,
        node.op,
        elements,
        snr,
        alone,
        found.method if found else "",
        found.scale if found else 0.0,
        found.zero if found else 0,
        weights.saturating if weights else 0,
        weights.unsafe if weights else 0,
        *(milliseconds.get(node.name) for milliseconds in times),
    )
