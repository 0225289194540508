"""Weights that are signs times a scale, and layers that read signs: binary networks."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastconv._arguments import flag, integer
from fastconv._progress import track
from fastconv._table import Table
from fastconv.compress.agreement import Agreement, signal_to_noise
from fastconv.compress.insert import insert_weights
from fastconv.compress.prepare import folded, graph_of, with_channel_scales
from fastconv.compress.result import BATCH, CodedResult, agreements, said
from fastconv.compress.samples import SAMPLES, Prepare, Samples, samples_of
from fastconv.compress.scheme import Product, Scheme, product_of
from fastconv.compress.sharing import check_keys, keys_of, layers_of
from fastconv.compress.weights import ByteWeights
from fastconv.errors import ArgumentError
from fastconv.graph.coding import encode
from fastconv.graph.ir import Graph, Node
from fastconv.graph.model import Model
from fastconv.graph.passes.editor import Editor

Array = npt.NDArray[Any]

ENDS = ("first", "last")  # layers that stay in floats
FEW = 8  # channels that a filter reads: of fewer, as in depthwise layers, too little would be left


@dataclass(frozen=True)
class BinaryLayer:
    """One layer: how many weights, why they stay floats, their bytes in floats and coded, and the SNR in dB.

    ``kept`` is empty where the weights are signs. The signal-to-noise is that of the weights.
    """

    name: str
    op: str
    weights: int
    kept: str
    before: int
    after: int
    snr: float

    def cells(self) -> tuple[str, ...]:
        """Return the layer's line of the table."""
        sizes = str(self.before), str(self.after), f"{self.before / self.after:.1f}"
        form = f"floats: {self.kept}" if self.kept else "signs"
        return self.name, self.op, str(self.weights), *sizes, f"{self.snr:.1f}", form


@dataclass(frozen=True)
class Binarized(CodedResult):
    """A network of binary weights.

    Attributes
    ----------
    graph : Graph
        In ONNX's words, its weights written as signs of 8 bits and a scale for each filter: any runtime can
        run it.
    layers : tuple of BinaryLayer
        What became of each.
    outputs : tuple of Agreement
        How far the results agree with those in floats, where there are data.
    """

    layers: tuple[BinaryLayer, ...]
    outputs: tuple[Agreement, ...]
    _facts: ClassVar[dict[str, str]] = {"fastconv.binarized": "weights of 1 bit, a scale for each filter"}

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "layers": [asdict(layer) for layer in self.layers],
            "outputs": [asdict(output) for output in self.outputs],
        }

    def lines(self) -> list[str]:
        """Return the layers as a text table, and the agreement, line by line."""
        table = Table(
            *(("layer", "<"), ("operator", "<"), ("weights", ">"), ("bytes", ">"), ("coded", ">")),
            *(("times", ">"), ("SNR dB", ">"), ("weights are", "<")),
        )
        return [*table.lines([layer.cells() for layer in self.layers]), *map(said, self.outputs)]


def binarize(
    model: Any,
    *,
    inputs: bool = False,
    exclude: Collection[str] = ENDS,
    data: Any = None,
    prepare: Prepare | None = None,
    samples: int = SAMPLES,
) -> Binarized:
    """Make the weights of a network signs times a scale.

    The weights of a filter become their signs, times the mean of their magnitudes, which is the scale of the
    least squared error (BWN in Rastegari et al., XNOR-Net, 2016). With ``inputs`` the layers read the signs
    of their inputs too (XNOR-Net there), and are products of bits where fastconv runs them. A network must be
    trained for either: of one that was not, what is left is in the report. Normalisations are folded into the
    weights first.

    The first and the last layer stay in floats, as in the literature: they have few of the weights, and lose
    the most. So do layers whose filters read fewer than 8 channels, as depthwise ones, and transposed
    convolutions.

    Parameters
    ----------
    model : Model, Graph or path
        A network of floats, or an ``.onnx`` file.
    inputs : bool
        Whether a ``Sign`` is put before each of these layers that has none yet. The sign of 0 is 0, as
        ONNX has it. With ``data`` scales are multiplied by the mean magnitude of the layer's input on them, a
        constant in the place of the paper's map; without, by nothing.
    exclude : collection of str
        Layers that stay in floats: by their name or that of their result, by ``"first"`` or ``"last"``, or by
        operator (``"Gemm"``).
    data, prepare, samples
        As for :func:`fastconv.quantize`: the report then says how far the results agree.

    Returns
    -------
    Binarized
        With its ``graph``, ``model()``, ``save(path)``, ``layers`` and ``outputs``. An ``.fcz`` file has a
        bit for each of these weights, an ``.onnx`` file a byte.

    Raises
    ------
    ArgumentError
        Where a layer is not in the network, or weights are not finite.

    Examples
    --------
    >>> from fastconv.models import squeezenet1_1
    >>> graph = squeezenet1_1.graph(squeezenet1_1.random_weights())
    >>> result = binarize(graph)
    >>> [(layer.kept, layer.after < layer.before / 10) for layer in result.layers[:3]]
    [('excluded', False), ('', True), ('', True)]
    """
    signed = flag("inputs", inputs)
    given = graph_of(model)
    taken = None
    if data is not None:
        taken = samples_of(data, given, prepare=prepare, limit=integer("samples", samples, 1))
    graph = folded(with_channel_scales(given))
    nodes = layers_of(graph)
    check_keys("exclude", exclude, nodes)
    kept, products = _chosen(graph, nodes, exclude)
    sizes = _mean_magnitudes(graph, products.values(), taken) if signed and taken is not None else {}
    weights = {
        name: _signs(graph, product, sizes.get(product.input, 1.0))
        for name, product in track(list(products.items()), "binarizing")
    }
    biases = {name: _bias_of(graph, product) for name, product in products.items()}
    result = insert_weights(graph, Scheme(products, (), {}), weights, biases)
    result = _reading_signs(result, products) if signed else result
    layers = tuple(
        _described(graph, node, kept.get(node.outputs[0], ""), weights.get(node.outputs[0])) for node in nodes
    )
    return Binarized(result, layers, () if taken is None else agreements(given, result, taken))


def _chosen(
    graph: Graph, nodes: list[Node], exclude: Collection[str]
) -> tuple[dict[str, str], dict[str, Product]]:
    """Return why layers stay in floats, and the others, with all nodes that read their weights."""
    edit = Editor(graph)
    kept: dict[str, str] = {}
    products: dict[str, Product] = {}
    for i, node in enumerate(nodes):
        w = graph.constants[node.inputs[1]]
        if not np.isfinite(w).all():
            raise ArgumentError(
                f"model: expected finite weights, got others in node {node.name!r} ({node.op})"
            )
        readers = [edit.nodes[at] for at in sorted(edit.readers[node.inputs[1]])]
        found = [product_of(edit, reader) for reader in readers if reader is not None and _multiplies(reader)]
        alike = [one for one in found if isinstance(one, Product) and one.weights == node.inputs[1]]
        reason = next((one for one in found if isinstance(one, str)), "")
        if {*exclude} & {*keys_of(node, i == 0, i == len(nodes) - 1)}:
            reason = "excluded"
        elif len(alike) != len(readers) or len({one.axis for one in alike}) != 1:
            reason = reason or "others read its weights, or it is transposed"
        elif (w.shape[1] if node.op == "Conv" else w.size // alike[0].channels) < FEW:
            reason = f"its filters read fewer than {FEW} channels"
        if reason:
            kept[node.outputs[0]] = reason
        else:
            products |= {one.output: one for one in alike}
    return kept, products


def _multiplies(node: Node) -> bool:
    return not node.domain and node.op in ("Conv", "Gemm", "MatMul")


def _signs(graph: Graph, product: Product, factor: float) -> ByteWeights:
    """Return weights as signs and scales; the sign of 0 is 1."""
    w = graph.constants[product.weights]
    rows = np.moveaxis(w, product.axis, 0).reshape(product.channels, -1)
    scale = np.abs(rows).mean(1, dtype=np.float64) * factor
    return ByteWeights(np.where(w < 0, -1, 1).astype(np.int8), scale.astype(np.float32), product.axis)


def _bias_of(graph: Graph, product: Product) -> Array:
    zeros = np.zeros(product.channels, np.float32)
    return graph.constants[product.bias] if product.bias else zeros


def _mean_magnitudes(graph: Graph, products: Iterable[Product], samples: Samples) -> dict[str, float]:
    """Return the mean magnitude of what each layer reads on samples; 1 of what is a sign already."""
    names = list(dict.fromkeys(product.input for product in products))
    model = Model(graph)
    sums, counts = np.zeros((2, len(names)))
    for feeds in samples.batches(BATCH):
        values = model.run(names, feeds)
        sums += [np.abs(x).sum(dtype=np.float64) for x in values]
        counts += [x.size for x in values]
    edit = Editor(graph)
    found = dict(zip(names, (sums / np.maximum(counts, 1)).tolist(), strict=True))
    return {name: size for name, size in found.items() if not _is_sign(edit.producer(name))}


def _is_sign(node: Node | None) -> bool:
    return node is not None and (node.domain, node.op) == ("", "Sign")


def _reading_signs(graph: Graph, products: Collection[str]) -> Graph:
    """Return a graph whose binary layers read signs, each value's by one node."""
    edit = Editor(graph)
    taken = {name for node in graph.nodes for name in (node.name, *node.inputs, *node.outputs)}
    signs: dict[str, str] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        x = node.inputs[0] if node.inputs else ""
        if node.outputs[0] not in products or _is_sign(edit.producer(x)):
            nodes.append(node)
            continue
        if x not in signs:
            signs[x] = f"{x}/sign"
            while signs[x] in taken:
                signs[x] += "_"
            nodes.append(Node("Sign", signs[x], (x,), (signs[x],), {}, node.opset))
        nodes.append(replace(node, inputs=(signs[x], *node.inputs[1:])))
    return replace(graph, nodes=tuple(nodes))


def _described(graph: Graph, node: Node, kept: str, signs: ByteWeights | None) -> BinaryLayer:
    w = graph.constants[node.inputs[1]]
    arrays: tuple[Array, ...] = (w,) if signs is None else (signs.numbers, signs.scale)
    coded = [encode(array) for array in arrays]
    after = sum(a.nbytes if code is None else code.data.size for a, code in zip(arrays, coded, strict=True))
    snr = signal_to_noise(w, w if signs is None else signs.values)
    return BinaryLayer(node.name, node.op, w.size, kept, w.nbytes, after, snr)
