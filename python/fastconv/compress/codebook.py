"""Few values in the place of many: k-means of numbers, and magnitude pruning."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

AIMS = ("error", "entropy", "relative")
POINTS = 1 << 16  # that stand for more numbers than these
SMALLEST = 1e-4  # of the largest magnitude: what is below it needs no value of its own
ROUNDS = 200  # of k-means at most; it ends when nothing moves
# The slope of error against bits where steps are fine: 2 ln 2 / 12 squared steps a bit.
SLOPE = 2 * np.log(2) / 12


def pruned(w: Array, share: float) -> Array:
    """Return an array whose ``share`` of smallest magnitudes is zeros; of equals the later ones go first.

    >>> pruned(np.float32([3, -1, 2, -4]), 0.5).tolist()
    [3.0, 0.0, 0.0, -4.0]
    """
    count = round(share * w.size)
    if not count:
        return w
    flat = w.reshape(-1).copy()
    flat[np.argsort(-np.abs(flat), kind="stable")[flat.size - count :]] = 0
    return flat.reshape(w.shape)


def codebook(values: Array, levels: int, aim: str = "error") -> Array:
    """Return the few values, in order, that stand for many.

    Lloyd's k-means from a linear start, which serves the few large weights better than one by density (Han,
    Mao and Dally, Deep Compression, 2015). Nothing is drawn at random: equal values give equal codebooks.

    Parameters
    ----------
    values : float array, not empty
    levels : int
        How many at the most.
    aim : {"error", "entropy", "relative"}
        What is least: the squared error of so many values; the error for the bits that the values will take
        in Huffman codes (Chou, Lookabaugh and Gray, Entropy-constrained vector quantization, 1989), for which
        values stay about as far apart as they start, and those that are rarely used go; or the error of each
        value in proportion to it, for layers whose channels have weights of different magnitudes.

    Examples
    --------
    >>> codebook(np.float32([1, 1, 7, 9]), 2).tolist()
    [1.0, 8.0]
    >>> codebook(np.float32([0.01, 0.01, 1, 1, -10]), 6, "relative").round(3)
    array([-10.  ,   0.01,   1.  ], dtype=float32)
    """
    if aim != "relative":
        return _k_means(values, levels, weighs_bits=aim == "entropy")
    size = np.abs(values.reshape(-1))
    logs = np.log(np.maximum(size, max(float(size.max()) * SMALLEST, 1e-37)))
    signs = [np.signbit(values.reshape(-1)) == negative for negative in (False, True)]
    ends = [
        np.exp(_k_means(logs[own], max(levels // 2, 1), False)) if own.any() else logs[:0] for own in signs
    ]
    return np.unique(np.concatenate([ends[0], -ends[1]]).astype(np.float32))


def _k_means(values: Array, levels: int, weighs_bits: bool) -> Array:
    x, n = _points(values)
    sums, counts = (np.concatenate([[0.0], np.cumsum(part)]) for part in (x * n, n))
    centres = np.linspace(x[0], x[-1], levels)
    penalty = SLOPE * ((x[-1] - x[0]) / max(levels - 1, 1)) ** 2 if weighs_bits else 0.0
    bits = np.zeros(levels)
    for _ in range(ROUNDS):
        edges = np.searchsorted(x, _boundaries(centres, penalty * bits))
        edges = np.concatenate([[0], np.maximum.accumulate(edges), [x.size]])
        inside = np.diff(counts[edges])
        used = inside > 0
        moved = np.diff(sums[edges])[used] / inside[used]
        bits = -np.log2(inside[used] / counts[-1])
        if moved.size == centres.size and np.array_equal(moved, centres):
            break
        centres = moved
    return np.unique(centres.astype(np.float32))


def nearest(values: Array, centres: Array) -> Array:
    """Return for each value the index of the nearest of some ordered centres."""
    boundaries = _boundaries(centres.astype(np.float64), np.zeros(centres.size))
    return np.asarray(np.searchsorted(boundaries, values))


def _boundaries(centres: Array, cost: Array) -> Array:
    """Return where the cost of a value and its square distance are the same for neighbouring centres."""
    apart = np.maximum(np.diff(centres), 1e-300)
    return np.asarray((centres[1:] + centres[:-1]) / 2 + np.diff(cost) / (2 * apart))


def _points(values: Array) -> tuple[Array, Array]:
    """Return ordered points and how often each counts: the values, or the middles of bins of very many."""
    flat = values.reshape(-1)
    if flat.size <= POINTS or flat.min() == flat.max():
        return np.sort(flat).astype(np.float64), np.ones(flat.size)
    n, edges = np.histogram(flat, POINTS)
    middles = (edges[1:].astype(np.float64) + edges[:-1]) / 2
    return middles[n > 0], n[n > 0].astype(np.float64)
