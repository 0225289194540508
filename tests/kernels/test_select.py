"""The first k in order, running sums and sampling at points, beside their definitions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from fastconv import _core
from fastconv.errors import ArgumentError, ShapeError

Array = np.ndarray[Any, Any]


def first_k(row: list[float], k: int, largest: bool) -> list[int]:
    """Sort whole pairs: NaN is above all, and of equal ones the first is first."""

    def key(i: int) -> tuple[bool, float, int]:
        nan, x = math.isnan(row[i]), 0.0 if math.isnan(row[i]) else row[i]
        return (not nan, -x, i) if largest else (nan, x, i)

    return sorted(range(len(row)), key=key)[:k]


def top_k(x: Array, k: int, largest: bool) -> Array:
    """Return the indices, after the values were compared with what is there."""
    found = np.full((len(x), k), -1, np.int64)
    values = np.full((len(x), k), np.nan, np.float32)
    _core.top_k(x, values, found, largest)
    np.testing.assert_array_equal(values.view(np.int32), np.take_along_axis(x, found, 1).view(np.int32))
    return found


SIZES = [
    *((1, 1), (2, 1), (5, 0), (7, 7), (9, 1), (10, 3), (33, 32), (33, 33), (80, 1), (100, 5), (300, 3)),
    *((2000, 1), (2000, 31), (2000, 150), (5000, 4999)),
]


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize(("n", "k"), SIZES)
@pytest.mark.usefixtures("num_threads", "tier")
def test_top_k(n: int, k: int, largest: bool, rng: np.random.Generator) -> None:
    ties = rng.integers(-20, 20, (3, n)).astype(np.float32)
    ties[1] = np.sort(ties[1])
    flat = np.maximum(rng.standard_normal((2, n), np.float32) - 1, 0)  # most are equal, as after a relu
    special = rng.choice(np.float32([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45]), (2, n))
    one_nan = rng.standard_normal((2, n), np.float32)
    one_nan[:, n // 2] = np.nan
    backwards = rng.standard_normal((3, 2 * n), np.float32)[:, ::-2]
    for x in (ties, flat, special, one_nan, np.full((1, n), np.nan, np.float32), backwards):
        assert top_k(x, k, largest).tolist() == [first_k(row, k, largest) for row in x.tolist()]


def test_top_k_of_what_does_not_fit() -> None:
    x, good = np.zeros((2, 5), np.float32), np.zeros((2, 3), np.float32)
    for values, indices in (
        (np.zeros((2, 6), np.float32), np.zeros((2, 6), np.int64)),
        (good, np.zeros((3, 3), np.int64)),
        (good, np.zeros((2, 4), np.int64)),
        (good[0], np.zeros((2, 3), np.int64)),
    ):
        with pytest.raises(
            ShapeError, match=r"values, indices: expected rows of at most 5 for each of \(2, 5\)"
        ):
            _core.top_k(x, values, indices, True)
    with pytest.raises(TypeError, match="indices: expected a int64 array"):
        _core.top_k(x, good, np.zeros((2, 3), np.int32), True)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("shape", [(3, 40, 1), (1, 1, 5), (2, 7, 600), (1, 5000, 3), (4, 3, 257)])
def test_cumulative_sum(
    shape: tuple[int, ...], exclusive: bool, reverse: bool, same_for_threads: Any, rng: np.random.Generator
) -> None:
    def run(x: Array) -> Array:
        y = np.full(x.shape, np.nan, np.float32)
        _core.cumulative_sum(x, y, exclusive, reverse)
        return y

    def by_definition(x: Array) -> Array:
        x = x[:, ::-1] if reverse else x
        y = np.cumsum(x, axis=1, dtype=np.float64)
        if exclusive:
            y = np.concatenate([np.zeros_like(y[:, :1]), y[:, :-1]], axis=1)
        return y[:, ::-1] if reverse else y

    whole = rng.integers(-9, 9, shape).astype(np.float32)
    np.testing.assert_array_equal(same_for_threads(lambda: run(whole)), by_definition(whole))
    x = rng.standard_normal(shape, np.float32)[:, ::-1]
    bound = shape[1] * 2.0**-24 * np.abs(x).sum(axis=1, dtype=np.float64, keepdims=True)
    assert (np.abs(run(x) - by_definition(x)) <= bound).all()


def test_cumulative_sum_of_what_does_not_fit() -> None:
    x = np.zeros((2, 5, 1), np.float32)
    with pytest.raises(ShapeError, match=r"y: expected shape \(2, 5, 1\), got \(2, 5, 2\)"):
        _core.cumulative_sum(x, np.zeros((2, 5, 2), np.float32), False, False)


def reflected(x: float, n: int, aligned: bool) -> float:
    low, high = (0.0, n - 1.0) if aligned else (-0.5, n - 0.5)
    while high > low and not low <= x <= high:
        x = 2 * low - x if x < low else 2 * high - x
    return x if high > low else 0.0


def taps(point: float, n: int, mode: str, padding: str, aligned: bool) -> list[tuple[int | None, float]]:
    """The pixels along an axis that a point sums (None: one that is 0), and their weights."""
    x = (point + 1) / 2 * (n - 1) if aligned else ((point + 1) * n - 1) / 2
    x = float(np.rint(x)) if mode == "nearest" else x
    if padding == "reflection":
        x = reflected(x, n, aligned)
    if padding == "border" and mode != "cubic":
        x = min(max(x, 0), n - 1)
    first = math.floor(x)
    t = x - first
    if mode == "nearest":
        found = [(math.floor(x + 0.5), 1.0)]
    elif mode == "linear":
        found = [(first, 1 - t), (first + 1, t)]
    else:
        found = []
        for i in range(-1, 3):
            d, a = abs(t - i), -0.75
            near = (a + 2) * d**3 - (a + 3) * d**2 + 1
            found.append((first + i, near if d <= 1 else a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a))
    result: list[tuple[int | None, float]] = []
    for place, weight in found:
        if padding == "reflection":
            place = round(reflected(place, n, aligned))
        elif padding == "border":
            place = min(max(place, 0), n - 1)
        inside = 0 <= place < n
        result.append((min(max(place, 0), n - 1) if inside or padding != "zeros" else None, weight))
    return result


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_grid_sample(
    mode: str, padding: str, aligned: bool, arrange: Any, same_for_threads: Any, rng: np.random.Generator
) -> None:
    x = arrange(rng.standard_normal((2, 3, 5, 8)).astype(np.float32))
    grid = rng.uniform(-1.8, 1.8, (2, 9, 13, 2)).astype(np.float32)

    def run() -> Array:
        y = np.full((2, 3, 9, 13), np.nan, np.float32)
        _core.grid_sample(x, grid, y, mode, padding, aligned)
        return y

    y = same_for_threads(run)
    wanted = np.zeros(y.shape)
    for n, i, j in np.ndindex(2, 9, 13):
        columns = taps(float(grid[n, i, j, 0]), 8, mode, padding, aligned)
        for row, by_row in taps(float(grid[n, i, j, 1]), 5, mode, padding, aligned):
            for column, by_column in columns:
                if row is not None and column is not None:
                    wanted[n, :, i, j] += by_row * by_column * x[n, :, row, column].astype(np.float64)
    np.testing.assert_allclose(y, wanted, atol=2e-5)


def test_pixels_outside_are_no_factors_of_0() -> None:
    """Infinity and NaN in the image reach the points that lie on them alone."""
    x = np.full((1, 1, 3, 3), np.inf, np.float32)
    grid = np.float32([[[[5, 5], [np.nan, 0], [0, 0]]]])
    y = np.empty((1, 1, 1, 3), np.float32)
    _core.grid_sample(x, grid, y, "nearest", "zeros", True)
    np.testing.assert_array_equal(y.reshape(-1), [0, 0, np.inf])


def test_grid_sample_of_what_does_not_fit() -> None:
    x, grid, y = (np.zeros(shape, np.float32) for shape in ((1, 2, 3, 3), (1, 4, 4, 2), (1, 2, 4, 4)))
    with pytest.raises(ShapeError, match="y: expected"):
        _core.grid_sample(x, grid, y[:, :1], "linear", "zeros", True)
    with pytest.raises(ShapeError, match="x, grid: expected"):
        _core.grid_sample(x, grid[..., :1], y, "linear", "zeros", True)
    with pytest.raises(ArgumentError, match="mode: expected one of nearest, linear, cubic, got best"):
        _core.grid_sample(x, grid, y, "best", "zeros", True)
