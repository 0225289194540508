"""How coarsely each layer's weights are rounded: the fewest bytes with which results keep their signal.

Weights become whole numbers of a step, which entropy codes write in few bits. Where steps are fine, a bit
more for each weight of a layer leaves a quarter of the layer's noise. So bytes are fewest where the noise of
each layer is in proportion to the number of its weights, and one number is left to be found for the network.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv._progress import track
from fastconv.compress.correct import Rounded, corrected
from fastconv.compress.insert import insert_weights
from fastconv.compress.samples import Samples
from fastconv.compress.scheme import Product, Scheme, scheme_of
from fastconv.compress.sensitivity import output_snr
from fastconv.compress.weights import MOST, ByteWeights
from fastconv.errors import ArgumentError
from fastconv.graph.ir import Graph

Array = npt.NDArray[Any]

EXPONENTS = (0.0, 0.5, 1.0)  # how far a channel's step follows the size of its weights
FINER = 4  # steps of channels differ by this many a factor of two: few numbers are coded well
SMALLEST = 1e-4  # of a layer's typical channel: smaller ones have the step of one of this size
PROBE = 8  # steps in the root mean square of a layer's weights, where its noise is measured
PROBED = 8  # samples that it is measured on
FITTED = 64  # that weights and biases are fitted to
GAIN = 6.0  # decibels that compensated weights and corrected biases are first taken to win
NEAR = 0.3  # decibels above what is asked for that are near enough
ROUNDS = 8


@dataclass(frozen=True)
class _Layer:
    """A layer: how far its channels' steps follow their weights, and its noise for a squared step of one."""

    product: Product
    weights: Array
    exponent: float
    noise: float


def allocate(
    graph: Graph, weights: Collection[str], samples: Samples, min_snr: float
) -> tuple[Graph, dict[str, ByteWeights]]:
    """Return a graph whose weights are rounded, and these by the name of the constant that they were.

    Parameters
    ----------
    graph : Graph
        As :func:`fastconv.compress.prepare.prepared` gives it.
    weights : collection of str
        The constants that may be rounded; those of layers that have no bytes in ONNX stay.
    samples : Samples
    min_snr : float
        The signal-to-noise that the results on the samples must have, in decibels; ArgumentError where
        weights of 8 bits do not reach it.
    """
    scheme = scheme_of(graph)
    products = {name: p for name, p in scheme.products.items() if p.weights in weights}
    scheme = Scheme(products, (), {})
    some = samples.first(FITTED)
    probes = samples.first(PROBED)
    layers = [_measured(graph, product, probes) for product in track(list(products.values()), "measuring")]
    budget = 10 ** ((GAIN - min_snr) / 10)
    best: tuple[float, Graph, Rounded] | None = None
    for _ in range(ROUNDS):
        rounded = corrected(
            graph, _rounded(graph, scheme, layers, budget), some,
            weights=True, biases=True, portable=False, factors=(1.0,),
        )  # fmt: skip
        result = insert_weights(graph, scheme, rounded.weights, rounded.biases)
        reached = output_snr(graph, result, some)
        if best is None or best[0] < min_snr or min_snr <= reached < best[0]:
            best = reached, result, rounded
        if min_snr <= reached < min_snr + NEAR or not layers or reached == math.inf:
            break
        aim = NEAR if reached < min_snr else NEAR / 2
        budget *= 10 ** ((reached - min_snr - aim) / 10)
    assert best is not None
    reached, result, rounded = best
    if reached < min_snr:
        raise ArgumentError(
            f"min_snr: expected at most the {reached:.1f} dB that weights of 8 bits reach, got {min_snr:g};"
            " layer_bits of 0 leave the weights of a layer as they are"
        )
    return result, {p.weights: rounded.weights[name] for name, p in products.items()}


def _measured(graph: Graph, product: Product, samples: Samples) -> _Layer:
    """Find out how the steps of a layer's channels are best, and what noise they leave in the results."""
    w = graph.constants[product.weights]
    step = math.sqrt(float(np.square(w, dtype=np.float64).mean())) / PROBE or 1.0
    found = []
    for exponent in EXPONENTS:
        tried = _in_steps(w, product.axis, step, exponent)
        constants = {**graph.constants, product.weights: tried.values}
        snr = output_snr(graph, replace(graph, constants=constants), samples)
        noise = 0.0 if snr == math.inf else 10 ** (-snr / 10)
        at_equal_bits = noise * 4 ** entropy(tried.numbers)
        found.append((at_equal_bits, _Layer(product, w, exponent, noise / step**2)))
    return min(found, key=lambda pair: pair[0])[1]


def _rounded(graph: Graph, scheme: Scheme, layers: list[_Layer], budget: float) -> Rounded:
    """Return weights rounded one by one, with a noise of ``budget`` in all of the results."""
    total = sum(layer.weights.size for layer in layers)
    weights: dict[str, ByteWeights] = {}
    biases: dict[str, Array] = {}
    for layer in layers:
        w, product = layer.weights, layer.product
        share = budget * w.size / total
        largest = float(np.abs(w).max(initial=0.0)) or 1.0
        step = min(math.sqrt(share / layer.noise), largest) if layer.noise > 0 else largest
        weights[product.output] = _in_steps(w, product.axis, step, layer.exponent)
        zeros = np.zeros(product.channels, np.float32)
        biases[product.output] = graph.constants[product.bias] if product.bias else zeros
    return Rounded(scheme, {}, weights, biases)


def _in_steps(w: Array, axis: int, step: float, exponent: float) -> ByteWeights:
    """Return weights as whole numbers of steps, those of a channel in proportion to a power of its size."""
    rows = np.moveaxis(w, axis, 0).astype(np.float64)
    flat = rows.reshape(len(rows), -1)
    size = np.sqrt(np.square(flat).mean(1))
    typical = math.sqrt(float(np.square(size).mean())) or 1.0
    wanted = np.log2(np.maximum(size / typical, SMALLEST)) * exponent
    least = np.log2(np.maximum(np.abs(flat).max(1) / (MOST * step), SMALLEST))
    scale = step * np.exp2(np.maximum(np.rint(FINER * wanted), np.ceil(FINER * least)) / FINER)
    numbers = np.rint(flat / scale[:, None]).astype(np.int8).reshape(rows.shape)
    return ByteWeights(np.ascontiguousarray(np.moveaxis(numbers, 0, axis)), scale.astype(np.float32), axis)


def entropy(numbers: Array) -> float:
    """Return the bits that each of some numbers takes in codes of their own.

    >>> entropy(np.array([0, 0, 1, 2]))
    1.5
    """
    _, counts = np.unique(numbers, return_counts=True)
    p = counts / numbers.size
    return float(-(p * np.log2(p)).sum())
