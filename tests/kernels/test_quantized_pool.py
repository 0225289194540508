"""Pooling of 8-bit numbers: exact sums and maxima in numpy, on every tier, in every memory order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastconv import _core
from fastconv.testing.guard import guarded, guarded_empty

pytestmark = pytest.mark.usefixtures("tier")

Array = np.ndarray[Any, Any]
Run = Callable[..., Array]
Pair = tuple[int, int]
# Kernel, stride, dilation, padding before and after, ceil_mode.
GEOMETRIES: list[tuple[Pair, Pair, Pair, Pair, Pair, bool]] = [
    ((3, 3), (2, 2), (1, 1), (1, 1), (1, 1), False),
    ((3, 3), (2, 2), (1, 1), (0, 0), (0, 0), True),
    ((2, 2), (2, 2), (1, 1), (0, 0), (0, 0), False),
    ((1, 4), (2, 1), (1, 1), (0, 2), (0, 1), False),
    ((5, 2), (1, 3), (1, 1), (2, 1), (2, 0), True),
    ((2, 3), (2, 2), (3, 2), (1, 1), (1, 1), False),
    ((13, 18), (1, 1), (1, 1), (0, 0), (0, 0), False),
]


def windows(x: Array, geometry: Any) -> tuple[tuple[Pair, Pair, Pair, Pair, Pair], Any]:
    """Return a geometry as a step takes it, and for each output which elements its window meets."""
    kernel, stride, dilation, before, after, ceil_mode = geometry
    *out, lo, hi = _core.pool_out_shape(
        *x.shape[2:], kernel, stride, dilation, before, after, ceil_mode, "explicit"
    )

    def along(axis: int, o: int) -> tuple[list[int], int]:
        at = [o * stride[axis] - lo[axis] + k * dilation[axis] for k in range(kernel[axis])]
        size = x.shape[2 + axis]
        return [i for i in at if 0 <= i < size], sum(i < size + hi[axis] for i in at)

    taps = [[along(axis, o) for o in range(out[axis])] for axis in (0, 1)]
    return (kernel, stride, dilation, lo, hi), taps


def pooled(x: Array, taps: Any, function: Callable[[Array, int], Array], empty: int) -> Array:
    """Apply a function of a window's elements and of its size with the padding."""
    y = np.full((*x.shape[:2], len(taps[0]), len(taps[1])), empty, x.dtype)
    for i, (rows, height) in enumerate(taps[0]):
        for j, (columns, width) in enumerate(taps[1]):
            if rows and columns:
                window = x[:, :, rows][:, :, :, columns].reshape(*x.shape[:2], -1)
                y[:, :, i, j] = function(window, height * width)
    return y


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.usefixtures("num_threads")
def test_arrangements(step: Run, arrange: Any, geometry: Any, dtype: Any, rng: np.random.Generator) -> None:
    source, target = (0.031, 9), (0.02, -3 if dtype == np.int8 else 3)
    for channels in (1, 7, 40, 150):
        x = rng.integers(0, 256, (2, channels, 13, 18)).astype(np.uint8).view(dtype)
        window, taps = windows(x, geometry)
        expected = pooled(x, taps, lambda w, _: w.max(axis=-1), int(np.iinfo(dtype).min))
        y = step("max_pool2d", (arrange(x),), arrange(np.zeros(expected.shape, dtype)), *window)
        np.testing.assert_array_equal(y, expected)
        for whole in (False, True):

            def mean(w: Array, size: int, whole: bool = whole) -> Array:
                total = (w.astype(np.int64) - source[1]).sum(axis=-1).astype(np.float32)
                average = total * np.float32(source[0]) / np.float32(size if whole else w.shape[-1])
                steps = np.rint(average / np.float32(target[0])) + np.float32(target[1])
                return np.clip(steps, np.iinfo(dtype).min, np.iinfo(dtype).max).astype(dtype)

            expected = pooled(x, taps, mean, target[1])
            y = arrange(np.zeros(expected.shape, dtype))
            step("quantized_avg_pool2d", (arrange(x),), y, *window, whole, source, target)
            np.testing.assert_array_equal(y, expected)


def test_sums_are_exact(step: Run) -> None:
    """The largest bytes of the largest window that there is: 255 * 2^23 is below 2^31."""
    x = np.full((1, 1, 2048, 4096), 255, np.uint8)
    window = ((2048, 4096), (1, 1), (1, 1), (0, 0), (0, 0))
    y = step("quantized_avg_pool2d", (x,), np.zeros((1, 1, 1, 1), "u1"), *window, False, (1, 0), (2, 1))
    assert y.item() == 129  # 127.5 is a tie, and goes to the even 128


@pytest.mark.parametrize("channels", [1, 5, 16, 31, 32, 33, 63, 64, 65, 130])
def test_beside_unmapped_memory(step: Run, channels: int, rng: np.random.Generator) -> None:
    geometry = ((2, 3), (1, 2), (1, 1), (0, 1), (0, 1), False)
    x = rng.integers(0, 256, (1, channels, 5, 6)).astype(np.uint8)
    window, taps = windows(x, geometry)
    expected = pooled(x, taps, lambda w, _: w.max(axis=-1), 0)
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    shape = expected.transpose(0, 2, 3, 1).shape
    for end in (True, False):
        image = guarded(last, align_end=end).transpose(0, 3, 1, 2)
        y = guarded_empty(shape, np.uint8, align_end=end).transpose(0, 3, 1, 2)
        step("max_pool2d", (image,), y, *window)
        np.testing.assert_array_equal(y, expected)
        y = guarded_empty(shape, np.uint8, align_end=end).transpose(0, 3, 1, 2)
        step("quantized_avg_pool2d", (image,), y, *window, False, (1, 0), (1, 0))
        exact = pooled(x, taps, lambda w, _: np.rint(w.astype(np.float64).mean(axis=-1)), 0)
        np.testing.assert_array_equal(y, exact)
