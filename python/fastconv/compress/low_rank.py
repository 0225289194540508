"""Layers as two thinner ones, where their weights are nearly of low rank and two layers are faster.

The weights of a layer are a matrix, and the nearest one of lower rank is a product of two (Eckart and Young,
1936). A convolution is such a matrix in two ways, and has two forms:

- *channels*: the k x k taps write few channels, and 1 x 1 makes all of these (Denton et al. 2014,
  arXiv:1404.0736; Zhang et al. 2015, arXiv:1505.06798);
- *spatial*: k x 1 writes few channels, and 1 x k makes all of these (Jaderberg et al. 2014, arXiv:1405.3866).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv._arguments import integer, number, shown
from fastconv._progress import track
from fastconv._table import Table
from fastconv.compress.agreement import Agreement
from fastconv.compress.channels import traced
from fastconv.compress.layers import Layer
from fastconv.compress.prepare import folded, graph_of
from fastconv.compress.result import Result, agreements, said
from fastconv.compress.samples import SAMPLES, Prepare, samples_of
from fastconv.compress.shrink import concrete_shapes
from fastconv.compress.times import in_turns
from fastconv.errors import ArgumentError
from fastconv.graph.ir import Graph, Node, TensorInfo
from fastconv.graph.model import Model
from fastconv.graph.passes.editor import Editor
from fastconv.graph.value import F32

Array = npt.NDArray[Any]

FORMS = ("channels", "spatial")
FASTER = 0.97  # of a layer's time: two that take more are not worth it


@dataclass(frozen=True)
class SplitLayer:
    """A layer, and the two that it could be.

    ``form`` is ``"channels"`` or ``"spatial"``, ``rank`` how many channels lie between the two, ``error`` the
    root mean square of what the weights lose as a share of their own. ``macs`` and ``ms`` are
    multiply-accumulates and milliseconds for a sample before and after; of a layer that stays those of its
    best form, or of none.
    """

    name: str
    op: str
    split: bool
    form: str
    rank: int
    error: float
    macs: tuple[int, int]
    ms: tuple[float, float]

    def cells(self) -> tuple[str, ...]:
        """Return the layer's line of the table."""
        if not self.form:
            return self.name, self.op, "no", "", "", "", f"{self.macs[0] / 1e6:.2f}", ""
        macs, ms = (f"{a:.2f} > {b:.2f}" for a, b in (np.divide(self.macs, 1e6), self.ms))
        known = self.form, str(self.rank), f"{self.error:.1%}"
        return self.name, self.op, "yes" if self.split else "no", *known, macs, ms


@dataclass(frozen=True)
class LowRank(Result):
    """A network some of whose layers are two: its ``graph``, in ONNX's words.

    Attributes
    ----------
    layers : tuple of SplitLayer
        Each that could be split.
    outputs : tuple of Agreement
        How far the results agree on the data, if there are any.
    """

    layers: tuple[SplitLayer, ...]
    outputs: tuple[Agreement, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {"layers": [asdict(y) for y in self.layers], "outputs": [asdict(y) for y in self.outputs]}

    def lines(self) -> list[str]:
        """Return the layers as a text table, line by line, and what the results have in common."""
        table = Table(
            *(("layer", "<"), ("operator", "<"), ("split", "<"), ("form", "<"), ("rank", ">")),
            *(("error", ">"), ("million MACs", ">"), ("ms", ">")),
        )
        rows = [layer.cells() for layer in self.layers]
        return [*table.lines(rows), *map(said, self.outputs)]


@dataclass(frozen=True)
class _Offer:
    """Two layers in the place of one: their weights as (outputs, inputs, taps...) of a convolution."""

    form: str
    first: Array
    second: Array
    error: float
    macs: int

    @property
    def rank(self) -> int:
        return len(self.first)


def low_rank(
    model: Any,
    *,
    error: float | None = None,
    rank: int | None = None,
    forms: Sequence[str] = FORMS,
    data: Any = None,
    prepare: Prepare | None = None,
    samples: int = SAMPLES,
    shapes: Sequence[Sequence[int]] | None = None,
) -> LowRank:
    """Split the layers of a network into two thinner ones where that is faster by the clock.

    Parameters
    ----------
    model : Model, Graph or path
        A network, or an ``.onnx`` file.
    error : float, optional
        How much the weights of a layer may lose, as a share of their root mean square, above 0 and below 1:
        the rank of each layer is the least with which they lose no more.
    rank : int, optional
        In its place: how many channels lie between the two layers, at the most.
    forms : sequence of {"channels", "spatial"}
        Those that are tried: 1 x 1 after k x k, and 1 x k after k x 1. Products and convolutions of single
        pixels have the first alone.
    data : path, array, or iterable, optional
        Samples as for :func:`fastconv.quantize`, on which the results are compared.
    prepare : callable, optional
        Makes the input of a photo's path.
    samples : int
        How many samples are taken at the most.
    shapes : sequence of sequence of int, optional
        Of the inputs, where the network does not say them: layers are timed at these sizes.

    Returns
    -------
    LowRank
        With its ``graph``, ``model()``, ``save(path)`` and ``layers``. Most networks must be trained further
        to be as good as before.

    Raises
    ------
    ArgumentError, ShapeError, DTypeError
        Where an argument is none of these, or data do not fit the network.
    UnsupportedOpError
        Where shapes within it depend on values.

    Notes
    -----
    Each form with fewer multiplications is timed beside the layer as it is, alone, with the threads that are
    set. With ``error`` the fastest is taken, with ``rank`` of those that are faster the one that loses least.

    Examples
    --------
    >>> from fastconv.graph.ir import GraphBuilder
    >>> rng = np.random.default_rng(0)
    >>> w = rng.standard_normal((256, 8)) @ rng.standard_normal((8, 256 * 9)) / 500
    >>> b = GraphBuilder("net", {"w": w.reshape(256, 256, 3, 3).astype(np.float32)})
    >>> x = b.input("x", (1, 256, 28, 28))
    >>> b.output(b.add("Conv", x, "w", name="wide", pads=[1, 1, 1, 1]), shape=(1, 256, 28, 28))
    >>> (layer,) = low_rank(b.build(), error=0.01).layers
    >>> layer.split, layer.form, layer.rank
    (True, 'channels', 8)
    """
    if (error is None) == (rank is None):
        raise ArgumentError("error, rank: expected one of them, got both or neither")
    most = None if error is None else number("error", error)
    if most is not None and not 0 < most < 1:
        raise ArgumentError(f"error: expected a share above 0 and below 1, got {shown(error)}")
    limit = None if rank is None else integer("rank", rank, 1)
    if not forms or any(form not in FORMS for form in forms):
        raise ArgumentError(f"forms: expected some of {', '.join(map(repr, FORMS))}, got {shown(forms)}")
    given = graph_of(model)
    taken = None
    if data is not None:
        taken = samples_of(data, given, prepare=prepare, limit=integer("samples", samples, 1))
    graph = folded(given)
    trace = traced(graph, concrete_shapes(graph, shapes))
    edit = Editor(graph)
    nodes: list[Node] = []
    found: list[SplitLayer] = []
    layers = {layer.node.name: layer for layer in trace.layers.values()}
    for node in track(graph.nodes, "splitting"):
        layer = layers.get(node.name)
        if layer is None or layer.groups > 1 or node.op == "ConvTranspose":
            nodes.append(node)
            continue
        offers = [_offer(layer, form, most, limit) for form in forms if form in _forms_of(layer)]
        x = trace.values[node.inputs[0]].shape
        split, chosen = _chosen(
            layer, x, [y for y in offers if y.macs < layer.macs], by_error=limit is not None
        )
        nodes += _written(edit, layer, chosen) if split.split and chosen is not None else [node]
        found.append(split)
    result = Editor(replace(graph, nodes=tuple(nodes), constants=edit.constants)).build()
    outputs = () if taken is None else agreements(given, result, taken)
    return LowRank(result, tuple(found), outputs)


def _forms_of(layer: Layer) -> tuple[str, ...]:
    return FORMS if len(layer.kernel) == 2 and min(layer.kernel) > 1 else FORMS[:1]


def _offer(layer: Layer, form: str, error: float | None, rank: int | None) -> _Offer:
    """Return the two layers of the least rank that loses no more than an error, or of a rank."""
    w = layer.weights.astype(np.float64)
    outputs, inputs, _ = w.shape
    if form == "spatial":
        height, width = layer.kernel
        w = w.reshape(outputs, inputs, height, width).transpose(0, 3, 1, 2)
    rows = w.reshape(outputs * (layer.kernel[1] if form == "spatial" else 1), -1)
    left, right, lost = factors(rows, error, rank)
    between = len(right)
    if form == "spatial":
        first = right.reshape(between, inputs, height, 1)
        second = left.reshape(outputs, width, between).transpose(0, 2, 1)[:, :, None]
    else:
        first = right.reshape(between, inputs, *layer.kernel)
        second = left.reshape(outputs, between, *[1] * len(layer.kernel))
    return _Offer(form, first, second, lost, layer.positions * (first.size + second.size))


def factors(w: Array, error: float | None = None, rank: int | None = None) -> tuple[Array, Array, float]:
    """Return two matrices whose product is nearest to one, and how much it differs, as a share of its size.

    The rank is the least with which they lose no more than ``error``, and no more than ``rank``.

    >>> left, right, lost = factors(np.outer([1.0, 2.0], [3.0, 4.0, 5.0]), error=0.01)
    >>> left.shape, right.shape, np.allclose(left @ right, [[3, 4, 5], [6, 8, 10]])
    ((2, 1), (1, 3), True)
    """
    if len(w) > w.shape[1]:
        left, right, loss = factors(w.T, error, rank)
        return right.T, left.T, loss
    sizes, vectors = np.linalg.eigh(w @ w.T)  # the squares of the singular values, the least first
    energy = np.concatenate([[0.0], np.cumsum(np.maximum(sizes, 0))])[::-1]  # that each rank loses
    lost = np.sqrt(energy / (energy[0] or 1.0))
    count = len(sizes) if error is None else int(np.argmax(lost <= error))
    count = max(1, count if rank is None else min(count, rank))
    left = vectors[:, ::-1][:, :count]
    return left, left.T @ w, float(lost[count])


def _chosen(
    layer: Layer, x: Sequence[int], offers: Sequence[_Offer], *, by_error: bool
) -> tuple[SplitLayer, _Offer | None]:
    """Time a layer and what it could be, and say which it will be."""
    node, macs = layer.node, layer.macs
    if not offers:
        return SplitLayer(node.name, node.op, False, "", 0, 0.0, (macs, macs), (0.0, 0.0)), None
    alone = [_alone(layer, x, offer) for offer in (None, *offers)]
    feeds = {"x": np.random.default_rng(0).standard_normal(x).astype(F32)}
    before, *after = in_turns(alone, feeds)
    faster = [i for i, ms in enumerate(after) if ms < FASTER * before]
    at = (
        min(faster, key=lambda i: offers[i].error if by_error else after[i])
        if faster
        else int(np.argmin(after))
    )
    best = offers[at]
    known = best.form, best.rank, best.error, (macs, best.macs), (before, after[at])
    return SplitLayer(node.name, node.op, bool(faster), *known), best


def _alone(layer: Layer, x: Sequence[int], offer: _Offer | None) -> Model:
    """Return a network of one layer, or of the two in its place."""
    node = replace(layer.node, inputs=("x", *layer.node.inputs[1:]), outputs=("y",))
    names = node.inputs[1:]
    own, bias, _ = layer.rewritten(layer.weights, layer.bias, 1)
    constants = dict(zip(names, (own.astype(F32), bias.astype(F32)), strict=False))
    infos = TensorInfo("x", tuple(x), F32), TensorInfo("y", (None,) * len(x), F32)
    graph = Graph("layer", (node,), infos[:1], infos[1:], constants)
    if offer is not None:
        edit = Editor(graph)
        nodes = _written(edit, replace(layer, node=node), offer)
        graph = Editor(replace(graph, nodes=tuple(nodes), constants=edit.constants)).build()
    return Model(graph)


def _written(edit: Editor, layer: Layer, offer: _Offer) -> list[Node]:
    """Return the two nodes that take a layer's place."""
    node, between = layer.node, f"{layer.node.outputs[0]}/between"
    given, name, *bias = node.inputs
    names = [edit.constant(name, _own(node, w)) for w in (offer.first, offer.second)]
    attributes: tuple[dict[str, Any], dict[str, Any]] = dict(node.attrs), dict(node.attrs)
    if node.op == "Conv":
        attributes = _of_convolutions(layer, offer.form)
    elif node.op == "Gemm":  # the weights have its factor
        attributes = {"transB": 1}, {**node.attrs, "transB": 1, "alpha": 1.0}
    first, second = attributes
    return [
        replace(node, name=f"{node.name}/first", inputs=(given, names[0]), outputs=(between,), attrs=first),
        replace(node, name=f"{node.name}/second", inputs=(between, names[1], *bias), attrs=second),
    ]


def _own(node: Node, w: Array) -> Array:
    """Return weights (outputs, inputs, taps...) as an operator has them; products have both the same way."""
    if node.op == "Conv":
        return w
    flat = w.reshape(w.shape[:2])
    return flat.T if node.op == "MatMul" else flat


def _of_convolutions(layer: Layer, form: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the attributes of two convolutions: of each axis those of the one whose taps lie along it."""
    attrs, rank = dict(layer.node.attrs), len(layer.kernel)
    given = {"strides": [1] * rank, "dilations": [1] * rank, "pads": [0] * 2 * rank, **attrs}
    own = (0,) if form == "spatial" else tuple(range(rank))  # the axes of the first
    found = []
    for mine in (own, tuple(i for i in range(rank) if i not in own)):
        one = {"kernel_shape": [n if i in mine else 1 for i, n in enumerate(layer.kernel)]}
        one |= {
            key: [n if i in mine else 1 for i, n in enumerate(given[key])] for key in ("strides", "dilations")
        }
        if attrs.get("auto_pad", "NOTSET") == "NOTSET":
            one["pads"] = [n if i % rank in mine else 0 for i, n in enumerate(given["pads"])]
        found.append({**attrs, **one})
    return found[0], found[1]
