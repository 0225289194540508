"""Ranges of activations: what the 256 bytes stand for, chosen by what rounding and clipping cost.

A tensor has one scale and one zero point, and zero is always exact: padding and what ReLU cuts off are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fastconv.compress.observer import Histogram, Statistics

Array = npt.NDArray[Any]

LEVELS = 255  # steps of a byte
PERCENTILES = (99.9, 99.99, 99.999)
SHRINKS = np.concatenate(
    [np.linspace(0.3, 0.95, 27), [0.98, 1.0]]
)  # of an end of the range, for least squares
RANGES = ("minmax", "percentile", "mse")
SMALLEST = 1e-30  # a scale below has no reciprocal in f32


@dataclass(frozen=True)
class Range:
    """How the bytes of a tensor stand for numbers: (byte - zero) * scale.

    ``method`` says which rule found it, ``error`` the mean squared error that it leaves on what was observed.
    """

    scale: float
    zero: int
    method: str = "minmax"
    error: float = 0.0

    @property
    def low(self) -> float:
        """What byte 0 stands for."""
        return -self.zero * self.scale

    @property
    def high(self) -> float:
        """What byte 255 stands for."""
        return (LEVELS - self.zero) * self.scale

    def rounded(self, x: Array) -> npt.NDArray[np.float32]:
        """Return what is left of numbers when they have been bytes."""
        scale, zero = np.float32(self.scale), np.float32(self.zero)
        y = np.divide(x, scale, dtype=np.float32)
        np.rint(y, out=y)
        np.clip(y, -zero, LEVELS - zero, out=y)
        return np.multiply(y, scale, out=y)


def range_of(low: float, high: float, method: str = "minmax") -> Range:
    """Return the range of the bytes that holds two numbers and zero; a byte for zero is exactly zero."""
    low, high = min(low, 0.0), max(high, 0.0)
    if high - low < SMALLEST:  # nothing but zeros was seen, or next to nothing
        return Range(1.0, 0, method)
    scale = float(np.float32((high - low) / LEVELS))
    zero = min(LEVELS, max(0, round(-low / scale)))
    return Range(scale, zero, method)


def error_of(histogram: Histogram, found: Range) -> float:
    """Return the mean squared error of what was counted, rounded and clipped; zeros have none."""
    total = int(histogram.counts.sum()) + histogram.zeros
    if not total:
        return 0.0
    centres = histogram.centres
    inside = np.clip(centres, found.low - found.scale / 2, found.high + found.scale / 2)
    outside = np.abs(centres - np.clip(centres, found.low, found.high))
    error = np.where(centres == inside, found.scale**2 / 12, outside**2)
    # A bin wider than a step holds all remainders of it, a finer one its own.
    if histogram.width < found.scale / 4:
        rounded = np.clip(np.rint(centres / found.scale), -found.zero, LEVELS - found.zero) * found.scale
        error = (centres - rounded) ** 2
    return float(error @ histogram.counts / total)


def choose_range(statistics: Statistics, methods: tuple[str, ...] = RANGES) -> Range:
    """Return the range, of those that some rules propose, that leaves the least squared error."""
    best: Range | None = None
    for candidate in _candidates(statistics, methods):
        error = error_of(statistics.histogram, candidate)
        if best is None or error < best.error:
            best = Range(candidate.scale, candidate.zero, candidate.method, error)
    assert best is not None
    return best


def _candidates(statistics: Statistics, methods: tuple[str, ...]) -> Iterator[Range]:
    low, high = min(statistics.low, 0.0), max(statistics.high, 0.0)
    if "minmax" in methods:
        yield range_of(low, high, "minmax")
    if "percentile" in methods:
        for q in PERCENTILES:
            ends = statistics.percentile(100 - q), statistics.percentile(q)
            yield range_of(max(low, min(ends[0], 0.0)), min(high, max(ends[1], 0.0)), "percentile")
    if "mse" in methods:
        yield _least_squares(statistics, low, high)


def _least_squares(statistics: Statistics, low: float, high: float) -> Range:
    """Return the range of least squared error: one end after the other is moved inwards, twice."""
    ends = [low, high]
    best = range_of(low, high, "mse")
    least = error_of(statistics.histogram, best)
    for end in (1, 0, 1, 0):
        whole = (low, high)[end]
        if whole == 0 or math.isinf(whole):
            continue
        for shrink in SHRINKS:
            tried = list(ends)
            tried[end] = whole * float(shrink)
            candidate = range_of(tried[0], tried[1], "mse")
            error = error_of(statistics.histogram, candidate)
            if error < least:
                best, least, ends = candidate, error, tried
    return best
