"""Rounding layer by layer: each sees what those before it have left, and makes good what it can of it.

The layers are walked in order, on values that are rounded as they will be. A layer's weights are rounded one
after another (:mod:`fastconv.compress.compensate`), and its bias takes back what the mean of each channel has
been shifted by, once, where it arises.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv._progress import track
from fastconv.compress.compensate import FACTORS, compensated, input_rows
from fastconv.compress.ranges import Range
from fastconv.compress.samples import Samples
from fastconv.compress.scheme import Product, Scheme
from fastconv.compress.weights import ByteWeights
from fastconv.graph.budget import Budget
from fastconv.graph.compile import evaluate
from fastconv.graph.ir import Graph, Node
from fastconv.graph.model import Model

Array = npt.NDArray[Any]

BATCH = 4


@dataclass(frozen=True)
class Rounded:
    """How values, weights and biases are rounded."""

    scheme: Scheme
    ranges: Mapping[str, Range]
    weights: Mapping[str, ByteWeights]
    biases: Mapping[str, Array]


def corrected(
    graph: Graph,
    rounded: Rounded,
    samples: Samples,
    *,
    weights: bool,
    biases: bool,
    portable: bool,
    factors: Sequence[float] = FACTORS,
) -> Rounded:
    """Return how a network is to be rounded so that less is lost.

    Parameters
    ----------
    graph : Graph
    rounded : Rounded
        Where weights are rounded one by one.
    samples : Samples
        Whose values all are in memory at once, those of a few layers at a time.
    weights : bool
        Whether weights are rounded with their errors made good.
    biases : bool
        Whether each channel gets the mean that it has in floats.
    portable : bool
        Whether pairs of weights may not saturate.
    factors : sequence of float
        Of the scales of weights that are tried.

    Notes
    -----
    From a node on that cannot be computed alone (one that runs other graphs) all stays as it is.
    """
    products = rounded.scheme.products
    expected = _means(graph, samples, [p.output for p in products.values() if p.node.op != "MatMul"])
    # In pieces, of which a run takes one: all samples, or as many as the network is written for.
    runs = samples.batches(len(samples))
    values = {
        info.name: [_bytes_of(rounded, info.name, feeds[info.name]) for feeds in runs]
        for info in graph.inputs
    }
    left = Counter(name for node in graph.nodes for name in node.inputs)
    left.update(info.name for info in graph.outputs)
    for node in track(graph.nodes, "rounding layers"):
        product = products.get(node.outputs[0])
        if product is not None and weights:
            options = {"portable": portable, "centred": biases, "factors": factors}
            rounded = _with_weights(graph, rounded, product, values, options)
        results = [_run(node, graph, rounded, values, i) for i in range(len(runs))]
        if any(result is None for result in results):
            return rounded
        for name, *pieces in zip((n for n in node.outputs if n), *(r for r in results if r), strict=False):
            if biases and name in expected:
                axes = (0, *range(2, pieces[0].ndim))
                shift = expected[name] - np.mean([piece.mean(axes, np.float64) for piece in pieces], 0)
                bias = (rounded.biases[name] + shift).astype(np.float32)
                rounded = replace(rounded, biases={**rounded.biases, name: bias})
                added = shift.astype(np.float32).reshape(-1, *[1] * (pieces[0].ndim - 2))
                pieces = [piece + added for piece in pieces]
            values[name] = [_bytes_of(rounded, name, piece) for piece in pieces]
        for name in node.inputs:
            left[name] -= 1
            if not left[name]:
                values.pop(name, None)
    return rounded


def _with_weights(
    graph: Graph,
    rounded: Rounded,
    product: Product,
    values: Mapping[str, list[Array]],
    options: Mapping[str, Any],
) -> Rounded:
    """Round the weights of a layer for the inputs that it gets."""
    pieces, w = values.get(product.input), graph.constants[product.weights]
    x = np.concatenate(pieces) if pieces is not None else None
    if x is None or (x.ndim != 2 and product.node.op != "Conv"):
        return rounded
    known = rounded.weights[product.output]
    if product.node.op == "Conv":
        groups = product.node.attrs.get("group", 1)
        rows = input_rows(x, product.node, w)
        flat = np.moveaxis(w, 1, -1).reshape(len(w), -1)  # tap after tap, and of each its inputs
        inputs = w.shape[1]
    else:
        groups, rows = 1, x[None]
        flat = w if product.axis == 0 else w.T
        inputs = flat.shape[1]
    given = flat.reshape(groups, -1, flat.shape[1]), known.scale.reshape(groups, -1)
    numbers, scale = compensated(*given, rows, inputs=inputs, **options)
    numbers = numbers.reshape(flat.shape)
    if product.node.op == "Conv":
        shaped = np.moveaxis(numbers.reshape(len(w), *w.shape[2:], w.shape[1]), -1, 1)
    else:
        shaped = numbers if product.axis == 0 else numbers.T
    changed = replace(
        known, numbers=np.ascontiguousarray(shaped, np.int8), scale=scale.reshape(-1).astype(np.float32)
    )
    return replace(rounded, weights={**rounded.weights, product.output: changed})


def _means(graph: Graph, samples: Samples, names: list[str]) -> dict[str, Array]:
    """Return the mean of each channel of some values in floats."""
    if not names:
        return {}
    model, sums = Model(graph), dict.fromkeys(names, np.zeros(()))
    for feeds in samples.batches(BATCH):
        for name, array in zip(names, model.run(names, feeds), strict=True):
            axes = tuple(range(2, array.ndim))
            sums[name] = sums[name] + array.mean(axes, np.float64).sum(0)
    return {name: np.asarray(total) / len(samples) for name, total in sums.items()}


def _bytes_of(rounded: Rounded, name: str, array: Array) -> Array:
    """Return what readers of a value read: the nearest that bytes stand for, where it is one of bytes."""
    if name not in rounded.scheme.values:
        return array
    return rounded.ranges[rounded.scheme.source(name)].rounded(array)


def _run(
    node: Node, graph: Graph, rounded: Rounded, values: Mapping[str, list[Array]], piece: int
) -> list[Array] | None:
    """Compute a node on the values of a run; None where it cannot be computed alone."""
    product = rounded.scheme.products.get(node.outputs[0])
    known = {
        name: values[name][piece] if name in values else graph.constants[name] for name in node.inputs if name
    }
    if product is not None:
        known[product.weights] = rounded.weights[product.output].values
        if product.bias:
            known[product.bias] = rounded.biases[product.output]
    return evaluate(node, known, Budget())
