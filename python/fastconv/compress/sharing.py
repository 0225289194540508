"""Weights that share few values, and many zeros: Deep Compression of a network, without its training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastconv._arguments import integer, number, shown
from fastconv._progress import track
from fastconv._table import Table
from fastconv.compress.agreement import signal_to_noise
from fastconv.compress.allocate import allocate
from fastconv.compress.codebook import AIMS, codebook, nearest, pruned
from fastconv.compress.prepare import folded, graph_of, prepared
from fastconv.compress.result import CodedResult
from fastconv.compress.samples import Prepare, samples_of
from fastconv.compress.scheme import scheme_of
from fastconv.compress.weights import ByteWeights
from fastconv.errors import ArgumentError
from fastconv.graph.coding import encode
from fastconv.graph.ir import Graph, Node

Array = npt.NDArray[Any]

MANY = 0.99  # a share of weights that are not zero with which a layer counts as not pruned
MAX_BITS = 8  # of an index into a codebook
OPERATORS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class SharedLayer:
    """One layer: of its weights, how many, the share that is not zero, their distinct values and bytes.

    ``before`` and ``after`` are the bytes of its weights in floats and coded, and ``snr`` the signal-to-noise
    of the weights in decibels.
    """

    name: str
    op: str
    weights: int
    kept: float
    values: int
    before: int
    after: int
    snr: float

    def cells(self) -> tuple[str, ...]:
        """Return the layer's line of the table."""
        sizes = str(self.before), str(self.after), f"{self.before / self.after:.1f}"
        return (
            self.name,
            self.op,
            str(self.weights),
            f"{self.kept:.1%}",
            str(self.values),
            *sizes,
            f"{self.snr:.1f}",
        )


@dataclass(frozen=True)
class Shared(CodedResult):
    """A network whose weights share values.

    Attributes
    ----------
    graph : Graph
        In ONNX's words, its weights written as the values that they share: any runtime can run it.
    layers : tuple of SharedLayer
        What became of each.
    """

    layers: tuple[SharedLayer, ...]
    _facts: ClassVar[dict[str, str]] = {"fastconv.shared": "weights of few values"}

    def as_dict(self) -> dict[str, Any]:
        """Return the layers as plain values, for JSON."""
        return {"layers": [asdict(layer) for layer in self.layers]}

    def lines(self) -> list[str]:
        """Return the layers as a text table, line by line."""
        table = Table(
            *(("layer", "<"), ("operator", "<"), ("weights", ">"), ("kept", ">"), ("values", ">")),
            *(("bytes", ">"), ("coded", ">"), ("times", ">"), ("SNR dB", ">")),
        )
        return table.lines([layer.cells() for layer in self.layers])


def share(
    model: Any,
    bits: int = 5,
    prune: float = 0.0,
    *,
    layer_bits: Mapping[str, int] | None = None,
    layer_prune: Mapping[str, float] | None = None,
    aim: str = "error",
    min_snr: float | None = None,
    data: Any = None,
    prepare: Prepare | None = None,
) -> Shared:
    """Give the weights of each layer few values to share, and make the smallest of them zeros.

    Magnitude pruning and weight sharing of Deep Compression (Han, Mao and Dally, 2015): of each layer the
    smallest weights become zeros, and the others the nearest value of a codebook, found by k-means. Biases
    stay as they are. Normalisations are folded into the weights first.

    Parameters
    ----------
    model : Model, Graph or path
        A network of floats: of :mod:`fastconv.models`, :func:`fastconv.load`, or an ``.onnx`` file.
    bits : int
        Of an index into a codebook, 1 to 8: a layer's weights have ``2 ** bits`` values, zero among them
        where it is pruned. 0 leaves the weights as they are.
    prune : float
        The share of each layer's weights that becomes zeros, from 0 to below 1.
    layer_bits, layer_prune : mapping, optional
        Others for some layers, by their name or that of their result, by ``"first"`` or ``"last"``, or by
        operator (``"Conv"``); a name counts before ``first`` and ``last``, these before an operator.
    aim : {"error", "entropy", "relative"}
        What codebooks are chosen for: the least error, the fewest bits in Huffman codes, or an error of each
        weight in proportion to it; see :func:`fastconv.compress.codebook.codebook`.
    min_snr : float, optional
        The signal-to-noise that the network's results on ``data`` must have, in decibels. In the place of
        ``bits`` and ``aim``: weights become whole numbers, of 8 bits at the most, of a step that each channel
        has its own of. Steps are chosen so that all layers together take the fewest bytes, weights are
        rounded one after another so that errors make each other good, and biases take back what is left in
        the mean, as in :func:`fastconv.quantize`. Layers named in ``layer_bits`` keep theirs, and those that
        have no such form have codebooks of 8 bits. Pruning is taken as it is, and is no part of the noise.
    data, prepare
        As for :func:`fastconv.quantize`; 64 samples do.

    Returns
    -------
    Shared
        With its ``graph``, ``model()``, ``save(path)`` and ``layers``.

    Raises
    ------
    ArgumentError
        Where a number is out of its range, a layer is not in the network, weights are not finite, or whole
        numbers of 8 bits do not reach ``min_snr``.

    Examples
    --------
    >>> from fastconv.models import squeezenet1_1
    >>> model = squeezenet1_1(squeezenet1_1.random_weights())
    >>> result = share(model, bits=4, prune=0.5, layer_bits={"first": 8}, layer_prune={"first": 0})
    >>> [(layer.values <= 256, round(layer.kept, 2)) for layer in result.layers[:2]]
    [(True, 1.0), (True, 0.5)]
    """
    usual = _bits("bits", bits), _share("prune", prune)
    if aim not in AIMS:
        raise ArgumentError(f"aim: expected {', '.join(map(repr, AIMS))}, got {shown(aim)}")
    if (min_snr is None) != (data is None):
        raise ArgumentError("min_snr, data: expected both or neither, got one")
    given = graph_of(model)
    if data is None:
        graph = folded(given)
    else:
        least, taken = number("min_snr", min_snr), samples_of(data, given, prepare=prepare)
        graph = prepared(given, taken)
    nodes = layers_of(graph)
    bits_of = {key: _bits(f"layer_bits[{key!r}]", n) for key, n in (layer_bits or {}).items()}
    prune_of = {key: _share(f"layer_prune[{key!r}]", n) for key, n in (layer_prune or {}).items()}
    for name, others in (("layer_bits", bits_of), ("layer_prune", prune_of)):
        check_keys(name, others, nodes)
    values: dict[str, Array] = {}
    whole = {product.weights for product in scheme_of(graph).products.values()}
    free: list[str] = []
    for i, node in enumerate(track(nodes, "sharing weights")):
        keys = list(keys_of(node, i == 0, i == len(nodes) - 1))
        w = graph.constants[node.inputs[1]]
        if not np.isfinite(w).all():
            raise ArgumentError(
                f"model: expected finite weights, got others in node {node.name!r} ({node.op})"
            )
        part = next((prune_of[key] for key in keys if key in prune_of), usual[1])
        named = [bits_of[key] for key in keys if key in bits_of]
        if named or data is None:
            values[node.inputs[1]] = shared_values(w, named[0] if named else usual[0], part, aim)
        elif node.inputs[1] in whole:
            values[node.inputs[1]] = pruned(w, part)
            free.append(node.inputs[1])
        else:
            values[node.inputs[1]] = shared_values(w, MAX_BITS, part, "relative")
    result = replace(graph, constants={**graph.constants, **values})
    steps: dict[str, ByteWeights] = {}
    if data is not None:
        result, steps = allocate(result, free, taken, least)
    layers = []
    for node in nodes:
        name = node.inputs[1]
        stored = steps[name].numbers if name in steps else values[name]
        meant = steps[name].values if name in steps else values[name]
        scales = (steps[name].scale,) if name in steps else ()
        layers.append(_described(node, graph.constants[name], meant, stored, *scales))
    return Shared(result, tuple(layers))


def shared_values(w: Array, bits: int, prune: float, aim: str = "error") -> Array:
    """Return a layer's weights pruned, each by the value that it shares; see :func:`share`."""
    return _codebook_values(pruned(w, prune), bits, aim)


def _codebook_values(values: Array, bits: int, aim: str) -> Array:
    """Return weights by the values that they share; zeros stay zeros where there are many."""
    if not bits or not values.any():
        return values
    levels = 1 << bits
    if np.count_nonzero(values) > values.size * MANY:
        centres = codebook(values, levels, aim)
        return centres[nearest(values, centres)]
    left = values != 0
    centres = codebook(values[left], levels - 1, aim)
    found = values.copy()
    found[left] = centres[nearest(values[left], centres)]
    return found


def layers_of(graph: Graph) -> list[Node]:
    """Return the nodes with weights to share in order, one for each array of weights."""
    found: dict[str, Node] = {}
    for node in graph.nodes:
        name = node.inputs[1] if node.op in OPERATORS and not node.domain else ""
        w = graph.constants.get(name)
        if w is not None and w.dtype == np.float32 and w.ndim >= 2 and w.size:
            found.setdefault(name, node)
    return list(found.values())


def _described(node: Node, w: Array, values: Array, *stored: Array) -> SharedLayer:
    """Describe a layer whose weights are of some values and written as some arrays, numbers first."""
    coded = [encode(array) for array in stored]
    after = sum(
        array.nbytes if code is None else code.data.size for array, code in zip(stored, coded, strict=True)
    )
    kept = float(np.count_nonzero(values) / values.size)
    distinct = np.unique(stored[0]).size
    return SharedLayer(
        node.name, node.op, w.size, kept, distinct, w.nbytes, after, signal_to_noise(w, values)
    )


def keys_of(node: Node, first: bool, last: bool) -> Iterator[str]:
    """Yield the names under which a layer may be meant, from its own on."""
    yield from (node.name, *node.outputs)
    if first:
        yield "first"
    if last:
        yield "last"
    yield node.op


def check_keys(name: str, given: Iterable[str], nodes: list[Node]) -> None:
    """Refuse keys under which no layer can be meant."""
    known = {"first", "last", *OPERATORS, *(key for node in nodes for key in (node.name, *node.outputs))}
    for key in given:
        if key not in known:
            raise ArgumentError(
                f"{name}: expected layers by name, 'first', 'last', or operators among"
                f" {', '.join(OPERATORS)}, got {shown(key)}"
            )


def _bits(name: str, value: Any) -> int:
    found = integer(name, value, 0)
    if found > MAX_BITS:
        raise ArgumentError(f"{name}: expected 1 to {MAX_BITS}, or 0 for weights as they are, got {found}")
    return found


def _share(name: str, value: Any) -> float:
    found = number(name, value)
    if not 0 <= found < 1:
        raise ArgumentError(f"{name}: expected a share from 0 to below 1, got {found}")
    return found
