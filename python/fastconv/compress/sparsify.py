"""Zeros among the weights, which the sparse kernels skip: the smallest ones go, alone or in blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv._arguments import integer, number, shown
from fastconv._table import Table
from fastconv.compress.agreement import Agreement, signal_to_noise
from fastconv.compress.prepare import folded, graph_of
from fastconv.compress.result import Result, agreements, said
from fastconv.compress.samples import SAMPLES, Prepare, samples_of
from fastconv.compress.sharing import layers_of
from fastconv.errors import ArgumentError
from fastconv.graph.ir import Graph, Node

Array = npt.NDArray[Any]

PATTERNS = {"single": 1, "1x16": 16, "1x32": 32}  # output channels that are zeros together
NARROW = 16  # output channels of the blocks that reports count
SPREADS = ("layer", "adaptive")
FEW = 16  # input channels: first layers and depthwise ones gain nothing by zeros


@dataclass(frozen=True)
class SparseLayer:
    """One layer: how many weights, the shares of zeros among them and of blocks of 16, and the SNR in dB."""

    name: str
    op: str
    weights: int
    zeros: float
    blocks: float
    snr: float

    def cells(self) -> tuple[str, ...]:
        """Return the layer's line of the table."""
        shares = f"{self.zeros:.1%}", f"{self.blocks:.1%}"
        return self.name, self.op, str(self.weights), *shares, f"{self.snr:.1f}"


@dataclass(frozen=True)
class Sparsified(Result):
    """A network with zeros among its weights: ``graph``, its ``layers``, and how far ``outputs`` agree."""

    layers: tuple[SparseLayer, ...]
    outputs: tuple[Agreement, ...]

    @property
    def zeros(self) -> float:
        """The share of zeros among the weights of all layers."""
        weights = sum(layer.weights for layer in self.layers)
        return sum(layer.zeros * layer.weights for layer in self.layers) / max(1, weights)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "zeros": self.zeros,
            "layers": [asdict(layer) for layer in self.layers],
            "outputs": [asdict(output) for output in self.outputs],
        }

    def lines(self) -> list[str]:
        """Return the layers as a text table, and the agreement, line by line."""
        table = Table(
            *(("layer", "<"), ("operator", "<"), ("weights", ">")),
            *(("zeros", ">"), ("blocks", ">"), ("SNR dB", ">")),
        )
        lines = table.lines([layer.cells() for layer in self.layers])
        return [*lines, f"{self.zeros:.1%} of all weights are zeros", *map(said, self.outputs)]


def sparsify(
    model: Any,
    zeros: float,
    *,
    pattern: str = "single",
    spread: str = "layer",
    layer_zeros: Mapping[str, float] | None = None,
    data: Any = None,
    prepare: Prepare | None = None,
    samples: int = SAMPLES,
) -> Sparsified:
    """Make the smallest weights of a network zeros.

    Shapes stay: what gains is the time of layers that a sparse kernel takes, and the bytes of a coded file.
    Layers whose output channels read fewer than 16 input channels, as first and depthwise ones, stay as they
    are. Normalisations are folded into the weights first.

    Parameters
    ----------
    model : Model, Graph or path
        A network of floats, or an ``.onnx`` file.
    zeros : float
        The share of weights that becomes zeros, from 0 to below 1.
    pattern : {"single", "1x16", "1x32"}
        Weights one by one, or blocks of neighbouring output channels at one tap of one input channel, those
        with the least mean square first. Blocks of 16 are what kernels of AVX2 and NEON skip, those of 32
        serve AVX-512 too.
    spread : {"layer", "adaptive"}
        Whether each layer has that share, or all together: then those go first that have the least part in
        what is left of their layer (Lee et al., Layer-adaptive sparsity for the magnitude-based pruning,
        2021).
    layer_zeros : mapping, optional
        Other shares for some layers, by their name or that of their result.
    data, prepare, samples
        As for :func:`fastconv.quantize`: the report then says how far the results agree.

    Returns
    -------
    Sparsified
        With its ``graph``, ``model()``, ``save(path)``, ``layers`` and ``outputs``. Most networks must be
        trained further, with these weights held at zero, to be as good as before.

    Raises
    ------
    ArgumentError
        Where an argument is none of these, or weights are not finite.

    Examples
    --------
    >>> from fastconv.models import squeezenet1_1
    >>> graph = squeezenet1_1.graph(squeezenet1_1.random_weights())
    >>> result = sparsify(graph, 0.6, pattern="1x16")
    >>> [round(layer.blocks, 2) for layer in result.layers[:3]]  # the first reads images of 3 channels
    [0.0, 0.59, 0.59]
    """
    share = _share("zeros", zeros)
    for name, value, known in (("pattern", pattern, tuple(PATTERNS)), ("spread", spread, SPREADS)):
        if value not in known:
            raise ArgumentError(f"{name}: expected {', '.join(map(repr, known))}, got {shown(value)}")
    given = graph_of(model)
    taken = None
    if data is not None:
        taken = samples_of(data, given, prepare=prepare, limit=integer("samples", samples, 1))
    graph = folded(given)
    layers = [_Layer(graph, node, PATTERNS[pattern]) for node in layers_of(graph)]
    named = {key: _share(f"layer_zeros[{key!r}]", value) for key, value in (layer_zeros or {}).items()}
    own = _shares_by_layer(layers, named)
    free = [layer for layer in layers if layer.node.name not in own and layer.inputs >= FEW]
    keep = _adaptive(free, share) if spread == "adaptive" else [_largest(y.scores, share) for y in free]
    kept = {layer.node.name: mask for layer, mask in zip(free, keep, strict=True)}
    for layer in layers:
        if layer.node.name in own:
            kept[layer.node.name] = _largest(layer.scores, own[layer.node.name])
    values = {
        layer.node.inputs[1]: layer.masked(kept[layer.node.name])
        for layer in layers
        if layer.node.name in kept
    }
    result = replace(graph, constants={**graph.constants, **values})
    described = tuple(_described(layer, result) for layer in layers)
    return Sparsified(result, described, () if taken is None else agreements(given, result, taken))


class _Layer:
    """A layer's weights, and the mean squares of its blocks: (groups, blocks of outputs, inputs, taps)."""

    def __init__(self, graph: Graph, node: Node, block: int) -> None:
        self.node, self.block = node, block
        self.w = graph.constants[node.inputs[1]]
        if not np.isfinite(self.w).all():
            raise ArgumentError(
                f"model: expected finite weights, got others in node {node.name!r} ({node.op})"
            )
        self.rows = rows_of(node, self.w)
        starts = np.arange(0, self.rows.shape[1], block)
        # A last block may be of fewer output channels.
        self.sizes = np.diff(np.append(starts, self.rows.shape[1]))[None, :, None, None]
        sums = np.add.reduceat(np.square(self.rows, dtype=np.float64), starts, axis=1)
        self.scores = sums / self.sizes

    @property
    def inputs(self) -> int:
        """How many input channels an output channel has."""
        return int(self.rows.shape[2])

    def masked(self, kept: Array) -> Array:
        """Return the weights in their own shape, zeros in the blocks that are not kept."""
        found = self.w.copy()
        rows_of(self.node, found)[np.repeat(~kept, self.sizes.reshape(-1), axis=1)] = 0
        return found


def rows_of(node: Node, w: Array) -> Array:
    """Return a view of a layer's weights as (groups, a group's output channels, its input channels, taps).

    >>> rows_of(Node("Conv", "node", ("x", "w"), ("y",), {"group": 2}), np.zeros((6, 4, 3, 3))).shape
    (2, 3, 4, 9)
    """
    if node.op in ("Conv", "ConvTranspose"):
        groups = node.attrs.get("group", 1)
        rows = w.reshape(groups, w.shape[0] // groups, w.shape[1], -1)
        return rows if node.op == "Conv" else rows.swapaxes(1, 2)
    rows = w.reshape(-1, *w.shape[-2:], 1)
    return rows if node.op == "Gemm" and node.attrs.get("transB") else rows.swapaxes(1, 2)


def _largest(scores: Array, zeros: float) -> Array:
    """Return which blocks are kept; of equals the later ones go first."""
    kept = np.ones(scores.size, bool)
    count = round(zeros * scores.size)
    kept[np.argsort(-scores.reshape(-1), kind="stable")[scores.size - count :]] = False
    return kept.reshape(scores.shape)


def _adaptive(layers: list[_Layer], zeros: float) -> list[Array]:
    """Return which blocks of each layer are kept, so that all layers together have a share of zeros."""
    parts, sizes = [], []
    for layer in layers:
        flat = layer.scores.reshape(-1)
        order = np.argsort(flat, kind="stable")
        # What is left of the layer when all smaller blocks are gone, this one among it.
        left = np.cumsum(flat[order][::-1])[::-1]
        part = np.empty_like(flat)
        part[order] = flat[order] / np.maximum(left, np.finfo(np.float64).tiny)
        parts.append(part)
        sizes.append(np.broadcast_to(layer.sizes, layer.scores.shape).reshape(-1))
    if not parts:
        return []
    order = np.argsort(np.concatenate(parts), kind="stable")
    gone = np.cumsum(np.concatenate(sizes)[order]) <= zeros * sum(int(size.sum()) for size in sizes)
    kept = np.ones(len(order), bool)
    kept[order[gone]] = False
    ends = np.cumsum([part.size for part in parts])[:-1]
    found = zip(layers, np.split(kept, ends), strict=True)
    return [flags.reshape(layer.scores.shape) for layer, flags in found]


def _shares_by_layer(layers: list[_Layer], named: Mapping[str, float]) -> dict[str, float]:
    """Return the shares that were given, by the names of the nodes."""
    by_name = {key: layer.node.name for layer in layers for key in (layer.node.name, *layer.node.outputs)}
    for key in named:
        if key not in by_name:
            raise ArgumentError(f"layer_zeros: expected layers of the network, got {shown(key)}")
    return {by_name[key]: share for key, share in named.items()}


def _described(before: _Layer, graph: Graph) -> SparseLayer:
    after = graph.constants[before.node.inputs[1]]
    rows = rows_of(before.node, after) != 0
    blocks = np.add.reduceat(rows, np.arange(0, rows.shape[1], NARROW), axis=1)
    shares = 1 - float(rows.mean()), 1 - float((blocks > 0).mean())
    node = before.node
    return SparseLayer(node.name, node.op, after.size, *shares, signal_to_noise(before.w, after))


def _share(name: str, value: Any) -> float:
    found = number(name, value)
    if not 0 <= found < 1:
        raise ArgumentError(f"{name}: expected a share from 0 to below 1, got {shown(value)}")
    return found
