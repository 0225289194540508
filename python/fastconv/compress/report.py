"""What quantising did to a network: layer by layer, and to what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv._progress import track
from fastconv._table import Table
from fastconv.compress.agreement import Agreement, Loss, agreement, decibels, share_of
from fastconv.compress.correct import Rounded
from fastconv.compress.samples import Samples
from fastconv.compress.times import layer_times
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
class Cost:
    """What a layer gains and loses in 8 bits, and what was decided: ``kind`` is f32, bf16 or int8.

    ``before`` and ``after`` are its milliseconds for one sample in floats and in 8 bits, ``loss`` what the
    network's results lose if it alone is rounded: the power of the error, as a share of theirs.
    """

    name: str
    op: str
    kind: str
    before: float
    after: float
    loss: float


_TABLE = Table(
    *(("layer", "<"), ("operator", "<"), ("elements", "<"), ("SNR dB", ">"), ("alone", ">")),
    *(("range", "<"), ("scale", ">"), ("zero", ">"), ("saturating", ">"), ("avoided", ">")),
    *(("ms f32", ">"), ("ms now", ">")),
)


@dataclass(frozen=True)
class Report:
    """What quantising did.

    Attributes
    ----------
    layers : tuple of LayerReport
        In order.
    outputs : tuple of Agreement
        Against those of the float network.
    kept : dict of str to str
        Layers left in float, by the names of their results, and why.
    remarks : tuple of str
        What is odd about the data.
    """

    layers: tuple[LayerReport, ...]
    outputs: tuple[Agreement, ...]
    kept: dict[str, str]
    remarks: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "layers": [asdict(layer) for layer in self.layers],
            "outputs": [asdict(output) for output in self.outputs],
            "kept": dict(self.kept),
            "remarks": list(self.remarks),
        }

    def lines(self) -> list[str]:
        """Return the report as a text table, line by line."""
        return [*_TABLE.lines([layer.cells() for layer in self.layers]), "", *self.words()]

    def words(self) -> list[str]:
        """Return what became of each output, and what is odd about the data, a sentence each."""
        return [*(self._said(output) for output in self.outputs), *self.remarks]

    def html(self) -> str:
        """Return the layers as an HTML table, which a notebook shows."""
        return _TABLE.html(layer.cells() for layer in self.layers)

    def _repr_html_(self) -> str:
        return self.html()

    @property
    def costs(self) -> tuple[Cost, ...]:
        """What each layer of 8 bits gains and loses, of those of which both were measured."""
        return tuple(
            Cost(y.name, y.op, "int8", y.before, y.after, share_of(y.alone))
            for y in self.layers
            if y.alone is not None and y.before is not None and y.after is not None
        )

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
    remarks: tuple[str, ...] = (),
    timed: bool = False,
) -> Report:
    """Run a quantised network on samples, and compare it with the float one that was given.

    Layer by layer it is compared with ``graph``, whose channels are scaled as its own are.
    """
    scheme = rounded.scheme
    layers = [node for node in graph.nodes if node.outputs[0] in (*scheme.products, *scheme.kept)]
    mine = [scheme.clamped.get(node.outputs[0], node.outputs[0]) for node in layers]
    bytes_of = {node.inputs[0]: node.outputs[0] for node in result.nodes if node.op == "QuantizeLinear"}
    floats_of = {node.inputs[0]: node.outputs[0] for node in result.nodes if node.op == "DequantizeLinear"}
    theirs = [floats_of[bytes_of[name]] if name in bytes_of else name for name in mine]
    of_layers, of_outputs = Loss(), Loss()
    pairs: list[tuple[list[Array], list[Array]]] = []
    float_model, before, after = Model(given), Model(graph), Model(result)
    for feeds in track(samples.batches(BATCH), "comparing"):
        expected, got = before.run(mine, feeds), after.run(theirs, feeds)
        of_layers.add(expected, got)
        # The outputs are those of the networks as they are: layers that are looked at are not fused.
        pairs.append((float_model.run(None, feeds), after.run(None, feeds)))
        of_outputs.add(*pairs[-1])
    compared = []
    for i, (info, lost) in enumerate(zip(given.outputs, of_outputs.shares(), strict=True)):
        each = [(np.atleast_1d(a[i]), np.atleast_1d(b[i])) for a, b in pairs]
        if len({array.shape[1:] for pair in each for array in pair}) > 1 or any(
            len(a) != len(b) for a, b in each
        ):  # as of boxes that were found: not as many
            compared.append(Agreement(info.name, len(samples), decibels(1.0, lost)))
            continue
        a, b = (np.concatenate(side) for side in zip(*each, strict=True))
        compared.append(agreement(info.name, a, b, labels))
    one = samples.first(1).batches(1)[0]
    times = [layer_times(model, one) if timed else {} for model in (float_model, after)]
    rows = [
        _layer(node, name, rounded, decibels(1.0, lost), (alone or {}).get(node.outputs[0]), times)
        for node, name, lost in zip(layers, mine, of_layers.shares(), strict=True)
    ]
    return Report(tuple(rows), tuple(compared), dict(scheme.kept), remarks)


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
    elements = "bf16" if node.outputs[0] in rounded.scheme.bf16 else "f32"
    if weights is not None:
        elements = f"u8 x s8 > {'f32' if found is None else 'u8'}"
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
