"""Weights of 8 bits: a scale for each output channel, and no pair of neighbours that saturates anywhere.

Processors without VNNI multiply bytes by ``vpmaddubsw``, which adds the products of two neighbours in 16 bits
and saturates there. Our kernels are exact nevertheless; those of other engines are not. With activations up
to 255, two weights that add up to 128 at the most, in either direction, are safe in all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

MOST = 127
SAFE = 128  # of |a + b|: 255 times more is beyond 16 bits
SHRINKS = np.linspace(1.0, 0.6, 17)  # of the scale that holds the largest weight
SMALLEST = 1e-20  # of a scale: channels of zeros have one


@dataclass(frozen=True)
class ByteWeights:
    """Weights as s8 with a scale for each output channel, of a layer's weights in their own shape.

    ``axis`` is that of the output channels, ``unsafe`` how many pairs would saturate without care.
    """

    numbers: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float32]
    axis: int
    unsafe: int = 0

    @property
    def values(self) -> npt.NDArray[np.float32]:
        """What the numbers stand for."""
        shape = [-1 if i == self.axis else 1 for i in range(self.numbers.ndim)]
        return self.numbers.astype(np.float32) * self.scale.reshape(shape)

    @property
    def saturating(self) -> int:
        """How many pairs of the numbers are too large together."""
        rows = np.moveaxis(self.numbers, self.axis, 0).astype(np.float64)
        return unsafe_pairs(rows.reshape(rows.shape[0], rows.shape[1], -1))


def quantize_weights(
    w: Array, axis: int, *, portable: bool, importance: Array | None = None, least: Array | float = SMALLEST
) -> ByteWeights:
    """Return weights as s8.

    Parameters
    ----------
    w : array
        Output channels along ``axis``, input channels along the first of the others.
    axis : int
    portable : bool
        Whether no pair of neighbours may saturate in 16 bits.
    importance : array, optional
        How much an error of each weight costs, in a shape that broadcasts to (outputs, inputs, taps): the
        mean square of what it is multiplied by.
    least : array or float
        The least scale of each output channel, for a bias that is counted in it.
    """
    rows = np.moveaxis(w, axis, 0).astype(np.float64)
    flat = rows.reshape(rows.shape[0], rows.shape[1], -1)  # outputs, inputs, taps
    cost = np.ones((1, 1, 1)) if importance is None else importance
    largest = np.abs(flat).max((1, 2), initial=0.0)
    whole = np.maximum(largest / MOST, np.maximum(least, SMALLEST))
    best, numbers, errors = whole, np.zeros(flat.shape), np.full(len(flat), np.inf)
    for scale in _scales(flat, whole, portable):
        tried = np.clip(np.rint(flat / scale[:, None, None]), -MOST, MOST)
        if portable:
            tried = safe_pairs(tried, flat / scale[:, None, None])
        error = (np.square(tried * scale[:, None, None] - flat) * cost).sum((1, 2))
        better = error < errors
        best, errors = np.where(better, scale, best), np.where(better, error, errors)
        numbers[better] = tried[better]
    plain = np.clip(np.rint(flat / whole[:, None, None]), -MOST, MOST)
    shaped = np.moveaxis(numbers.reshape(rows.shape), 0, axis).astype(np.int8)
    return ByteWeights(np.ascontiguousarray(shaped), best.astype(np.float32), axis, unsafe_pairs(plain))


def _scales(flat: Array, whole: Array, portable: bool) -> list[Array]:
    """Return scales to be tried for each output channel: those that clip a little, and one that need not."""
    scales = [whole * shrink for shrink in SHRINKS]
    if portable:
        pairs = _pairs(flat)
        sums = np.abs(pairs.sum(-1)).max((1, 2), initial=0.0) / SAFE
        wide = np.maximum(sums, whole)
        scales += [whole + (wide - whole) * share for share in (0.25, 0.5, 0.75, 1.0)]
    return scales


def _pairs(flat: Array) -> Array:
    """Return (outputs, pairs, taps, 2): inputs 2 i and 2 i + 1 at the same tap; a last odd one has none.

    With an odd number of inputs, as a first layer's three colours, engines multiply what lies side by side in
    memory, tap after tap: every two neighbours in that order are a pair.
    """
    outputs, inputs, taps = flat.shape
    if inputs == 1:  # depthwise kernels multiply no neighbours
        return np.zeros((outputs, 0, taps, 2))
    if inputs % 2:
        line = np.moveaxis(flat, 1, 2).reshape(outputs, -1)
        return np.stack([line[:, :-1], line[:, 1:]], -1)[:, :, None]
    return np.moveaxis(flat.reshape(outputs, inputs // 2, 2, taps), 2, -1)


def unsafe_pairs(flat: Array) -> int:
    """Count the pairs of whole numbers (outputs, inputs, taps) whose products may be too much for 16 bits."""
    return int(np.count_nonzero(np.abs(_pairs(flat).sum(-1)) > SAFE))


def safe_pairs(numbers: Array, wanted: Array) -> Array:
    """Return whole numbers of which no pair adds up to more than 128, as near to ``wanted`` as that allows.

    What a pair has too much is taken from both alike, or from the one that was rounded away from zero.
    """
    numbers = numbers.copy()
    outputs, inputs, taps = numbers.shape
    if inputs == 1:
        return numbers
    if inputs % 2:  # each number is in two pairs: the first is made safe before the second is looked at
        line, goal = (np.moveaxis(a, 1, 2).reshape(outputs, -1) for a in (numbers, wanted))
        for i in range(line.shape[1] - 1):
            _make_safe(line[:, i : i + 2], goal[:, i : i + 2])
        return np.moveaxis(line.reshape(outputs, taps, inputs), 2, 1)
    pairs = np.moveaxis(numbers.reshape(outputs, inputs // 2, 2, taps), 2, -1).reshape(-1, 2)
    goals = np.moveaxis(wanted.reshape(outputs, inputs // 2, 2, taps), 2, -1).reshape(-1, 2)
    _make_safe(pairs, goals)
    return np.moveaxis(pairs.reshape(outputs, inputs // 2, taps, 2), -1, 2).reshape(numbers.shape)


def _make_safe(pairs: Array, wanted: Array) -> None:
    """Make pairs of whole numbers (n, 2) safe in place."""
    excess = np.abs(pairs.sum(1)) - SAFE
    at = np.flatnonzero(excess > 0)
    if not at.size:
        return
    sign = np.sign(pairs[at].sum(1))
    numbers, goal = pairs[at] * sign[:, None], wanted[at] * sign[:, None]
    # The nearest point of the line a + b = 128 to what is wanted; neither grows, for its other pair.
    a = np.clip(np.rint((goal[:, 0] - goal[:, 1] + SAFE) / 2), 1, numbers[:, 0])
    numbers[:, 0], numbers[:, 1] = a, np.minimum(SAFE - a, numbers[:, 1])
    pairs[at] = numbers * sign[:, None]
