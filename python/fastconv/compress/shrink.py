"""A network without the channels that are zeros already: the same results from fewer multiplications.

Tools that prune leave zeros in the weights, and the file as large and the network as slow as before. Here
whole filters of zeros are removed, with the weights that read them and whatever lies between.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fastconv._arguments import shown
from fastconv._table import Table
from fastconv.compress.channels import Trace, traced
from fastconv.compress.decide import balance, needed
from fastconv.compress.prepare import graph_of
from fastconv.compress.result import Result
from fastconv.compress.rewrite import without
from fastconv.errors import ArgumentError, ModelError
from fastconv.graph.budget import held_bytes
from fastconv.graph.compile import Shape
from fastconv.graph.ir import Graph
from fastconv.graph.model import Model
from fastconv.graph.options import check_input_shape
from fastconv.graph.passes import run_passes

PASSES = ("eliminate_identity", "fold_constants", "take_branches", "fold_pad", "eliminate_dead")
SIDE = 224  # of an image whose size is open: what is found holds for any
ALLOWED = 1e-3  # of the largest result: rounding is far below, a mistake far above


@dataclass(frozen=True)
class LayerChannels:
    """A layer before and after.

    ``constant`` counts the filters that gave a constant, zero or another, whatever the image; ``kept`` says
    of those that are left why, and how many.
    """

    name: str
    op: str
    inputs: tuple[int, int]
    outputs: tuple[int, int]
    macs: tuple[int, int]
    constant: int
    kept: dict[str, int]

    @property
    def changed(self) -> bool:
        """Whether it reads or writes fewer channels."""
        return self.inputs[0] > self.inputs[1] or self.outputs[0] > self.outputs[1]

    def cells(self) -> tuple[str, ...]:
        """Return the layer's line of the table."""
        changes = [str(a) if a == b else f"{a} > {b}" for a, b in (self.inputs, self.outputs)]
        why = "; ".join(f"{n}: {reason}" for reason, n in self.kept.items())
        return self.name, self.op, *changes, f"{self.macs[1] / 1e6:.2f}", str(self.constant), why


@dataclass(frozen=True)
class ShrinkReport:
    """What became of each layer, of the multiply-accumulates of a sample, and of the bytes of weights.

    ``difference`` is how far the results for a sample of noise are from those before, at the most, as a share
    of the largest.
    """

    layers: tuple[LayerChannels, ...]
    macs: tuple[int, int]
    bytes: tuple[int, int]
    difference: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return the report as a text table, line by line."""
        table = Table(
            *(("layer", "<"), ("operator", "<"), ("inputs", ">"), ("outputs", ">"), ("million MACs", ">")),
            *(("constant", ">"), ("of these kept, because", "<")),
        )
        changed = [y.cells() for y in self.layers if y.constant or y.changed]
        return [*table.lines(changed), "", self.total()]

    def total(self) -> str:
        """Return what the whole network saves, in words."""
        (macs, fewer), (size, smaller) = self.macs, self.bytes
        return (
            f"{macs / 1e6:.1f} > {fewer / 1e6:.1f} million multiply-accumulates a sample"
            f" ({fewer / max(1, macs):.1%}), {size / 2**20:.2f} > {smaller / 2**20:.2f} MiB of weights"
            f" ({smaller / max(1, size):.1%}), results differ by {self.difference:.1e} of the largest"
        )

    def __str__(self) -> str:
        return "\n".join(self.lines())


@dataclass(frozen=True)
class Shrunk(Result):
    """A network with fewer channels: its ``graph``, in ONNX's words, and a ``report``."""

    report: ShrinkReport


def shrink(model: Any, *, shapes: Sequence[Sequence[int]] | None = None) -> Shrunk:
    """Remove the channels of a network that are zeros or other constants, and those that nobody reads.

    Parameters
    ----------
    model : Model, Graph or path
        A network of :mod:`fastconv.models`, of :func:`fastconv.load` or :func:`fastconv.from_torch`, or an
        ``.onnx`` file.
    shapes : sequence of sequence of int, optional
        Of its inputs, where the network does not say them: one that it can run with. The result takes all
        sizes that the network takes.

    Returns
    -------
    Shrunk
        With its ``graph``, ``model()``, ``save(path)`` and ``report``. Results differ by rounding alone, as
        long as no value is infinite or NaN.

    Raises
    ------
    ArgumentError, ModelError
        Where the network is quantised, or its shapes are open.
    UnsupportedOpError
        Where shapes within it depend on values.

    Notes
    -----
    Channels that operators add or multiply go together or not at all. A constant is folded into the next
    layer's bias; where that layer has zeros around its image, one channel is kept for all constants, as the
    results at the border would else differ.

    Examples
    --------
    >>> from fastconv.models import squeezenet1_1
    >>> weights = squeezenet1_1.random_weights()
    >>> graph = squeezenet1_1.graph(weights)
    >>> w = graph.constants["features.3.squeeze.weight"]
    >>> w[::2] = 0
    >>> graph.constants["features.3.squeeze.bias"][::2] = 0
    >>> result = shrink(graph, shapes=[(1, 3, 64, 64)])
    >>> result.graph.constants["features.3.squeeze.weight:folded"].shape, w.shape
    ((8, 64, 1, 1), (16, 64, 1, 1))
    """
    given = graph_of(model)
    known = concrete_shapes(given, shapes)
    first = traced(run_passes(given, PASSES), known)
    last, kept = shrunk(first, known)
    return Shrunk(last.graph, _report(given, first, last, kept, known))


def shrunk(trace: Trace, shapes: Sequence[Shape]) -> tuple[Trace, dict[int, str]]:
    """Return what is left of a network when nothing more can go, and why each set of channels stays."""
    while True:
        kept = needed(trace)
        removed = balance(trace, kept)
        if not removed:
            return trace, kept
        trace = traced(without(trace, removed), shapes)


def concrete_shapes(graph: Graph, shapes: Sequence[Sequence[int]] | None) -> list[Shape]:
    """Return shapes for the inputs of a graph: those given, or declared, images of 224 where it is open."""
    if shapes is not None:
        if len(shapes) != len(graph.inputs):
            raise ArgumentError(f"shapes: expected {len(graph.inputs)}, one an input, got {shown(shapes)}")
        for info, shape in zip(graph.inputs, shapes, strict=True):
            check_input_shape(info, tuple(shape))
        return [tuple(shape) for shape in shapes]
    found = []
    for info in graph.inputs:
        rank = len(info.shape)
        images = (1, None, SIDE, SIDE) if rank == 4 else (1, *[None] * (rank - 1))
        sizes = [n if isinstance(n, int) else m for n, m in zip(info.shape, images, strict=True)]
        shape = tuple(n for n in sizes if n is not None)
        if len(shape) < rank:
            raise ArgumentError(
                f"shapes: expected a shape for input {info.name!r}, whose own is open: {info.shape}"
            )
        found.append(shape)
    return found


def _report(
    given: Graph, first: Trace, last: Trace, kept: Mapping[int, str], shapes: Sequence[Shape]
) -> ShrinkReport:
    rows = []
    after = {layer.node.name: (output, layer) for output, layer in last.layers.items()}
    for output, layer in first.layers.items():
        name, small = after.get(layer.node.name, ("", None))
        left: dict[str, int] = {}
        if small is not None:
            written = last.channels[name]
            left = dict(Counter(kept[n] for n in written.sets[written.known].tolist()))
        inputs, outputs, macs = (
            (getattr(layer, key), getattr(small, key) if small else 0)
            for key in ("inputs", "outputs", "macs")
        )
        constant = int(first.channels[output].known.sum())
        rows.append(LayerChannels(layer.node.name, layer.node.op, inputs, outputs, macs, constant, left))
    return ShrinkReport(
        tuple(rows),
        (macs_of(first), macs_of(last)),
        (held_bytes(first.graph.constants.values()), held_bytes(last.graph.constants.values())),
        _difference(given, last.graph, shapes),
    )


def macs_of(trace: Trace) -> int:
    """Return the multiply-accumulates of the layers for one sample."""
    return sum(layer.macs for layer in trace.layers.values())


def _difference(given: Graph, graph: Graph, shapes: Sequence[Shape]) -> float:
    """Run both networks on noise; ModelError where they do not give the same."""
    rng = np.random.default_rng(0)
    feeds = {
        info.name: rng.standard_normal(shape).astype(info.dtype)
        if info.dtype.kind == "f"
        else np.zeros(shape, info.dtype)
        for info, shape in zip(given.inputs, shapes, strict=True)
    }
    worst = 0.0
    pairs = zip(Model(given).run(None, feeds), Model(graph).run(None, feeds), given.outputs, strict=True)
    for before, now, info in pairs:
        if before.dtype.kind != "f" or not before.size:
            continue
        largest = float(np.abs(before).max())
        share = float(np.abs(now - before).max()) / (largest or 1.0)
        if not share <= ALLOWED:
            raise ModelError(
                f"output {info.name!r}: expected the same results from fewer channels, got {share:.1e} of the"
                f" largest between them"
            )
        worst = max(worst, share)
    return worst
