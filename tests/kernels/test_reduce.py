"""Sums, means and extremes over any set of dimensions; global average pooling."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import fastconv
from fastconv import _core
from fastconv.testing.guard import guarded, guarded_empty

pytestmark = pytest.mark.usefixtures("tier")

OPERATIONS = {"sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min}


def reduce(op: str, x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    y = np.full([1 if i in axes else n for i, n in enumerate(x.shape)], np.nan, np.float32)
    _core.reduce(op, x, y)
    return y


def subsets(rank: int) -> list[tuple[int, ...]]:
    return [axes for n in range(rank + 1) for axes in itertools.combinations(range(rank), n)]


@pytest.mark.parametrize("op", OPERATIONS)
@pytest.mark.usefixtures("num_threads")
def test_integers_are_exact_over_any_axes(arrange, op, rng):
    x = rng.integers(-9, 10, (2, 8, 4, 16)).astype(np.float32)
    for axes in subsets(4):
        exact = OPERATIONS[op](x.astype(np.float64), axis=axes, keepdims=True)
        np.testing.assert_array_equal(reduce(op, arrange(x), axes), exact.astype(np.float32))


@pytest.mark.parametrize("op", OPERATIONS)
def test_every_length_touches_nothing_else(op, rng):
    for n in range(1, 2 * 16 + 2):
        x = rng.integers(-9, 10, (3, n)).astype(np.float32)
        for align_end in (True, False):
            for axis, shape in ((0, (1, n)), (1, (3, 1))):
                y = guarded_empty(shape, align_end=align_end)
                _core.reduce(op, guarded(x, align_end=align_end), y)
                exact = OPERATIONS[op](x.astype(np.float64), axis=axis, keepdims=True)
                np.testing.assert_array_equal(y, exact.astype(np.float32))


@pytest.mark.parametrize("axes", [(2, 3), (1,), (0, 1, 2, 3)], ids=str)
def test_long_sums_stay_accurate(axes, arrange, rng):
    x = (1000 + rng.normal(size=(2, 3, 200, 301))).astype(np.float32)
    exact = x.astype(np.float64).mean(axis=axes, keepdims=True)
    np.testing.assert_allclose(reduce("mean", arrange(x), axes), exact, rtol=1e-6)


def test_nan_and_infinity_come_through(arrange):
    for position in range(40):
        x = np.zeros((1, 5, 2, 20), np.float32)
        x[0, 2].reshape(-1)[position] = np.nan
        for op in OPERATIONS:
            y = reduce(op, arrange(x), (2, 3)).ravel()
            assert np.isnan(y[2])
            assert (np.delete(y, 2) == 0).all()
        x[0, 2].reshape(-1)[position] = np.inf
        assert [reduce(op, arrange(x), (2, 3))[0, 2, 0, 0] for op in OPERATIONS] == [
            np.inf,
            np.inf,
            np.inf,
            0,
        ]


def test_nothing_to_reduce():
    x = np.empty((3, 0), np.float32)
    assert (reduce("sum", x, (1,)) == 0).all()
    assert np.isnan(reduce("mean", x, (1,))).all()
    assert (reduce("max", x, (1,)) == -np.inf).all()
    assert reduce("sum", x, (0,)).shape == (1, 0)


@pytest.mark.parametrize(
    "shape", [(1, 2048, 7, 7), (3, 7, 5, 4), (2, 64, 112, 112), (0, 3, 4, 4), (1, 1, 1, 1)], ids=str
)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_global_avg_pool(layout, shape, same_for_threads, same_bits, rng):
    x = rng.normal(3, 1, shape).astype(np.float32)
    exact = x.astype(np.float64).mean(axis=(2, 3), keepdims=True)
    if layout == "NHWC":
        x, exact = np.ascontiguousarray(np.moveaxis(x, 1, -1)), np.moveaxis(exact, 1, -1)
    y = same_for_threads(lambda: fastconv.global_avg_pool2d(x, layout=layout))
    assert y.shape == exact.shape
    np.testing.assert_allclose(y, exact, rtol=1e-6)
    if shape[0] > 1:
        same_bits(fastconv.global_avg_pool2d(x[1:], layout=layout), y[1:])
    out = np.empty_like(y)
    assert fastconv.global_avg_pool2d(x, layout=layout, out=out) is out
    same_bits(out, y)


def test_global_avg_pool_errors():
    with pytest.raises(fastconv.ShapeError, match="x: expected a height and width of at least 1, got 0 x 3"):
        fastconv.global_avg_pool2d(np.zeros((1, 2, 0, 3), np.float32))
    with pytest.raises(fastconv.ShapeError, match="x: expected 4 dimensions, got 3"):
        fastconv.global_avg_pool2d(np.zeros((1, 2, 3), np.float32))
    with pytest.raises(fastconv.ArgumentError, match="layout: expected 'NCHW' or 'NHWC', got 'CHWN'"):
        fastconv.global_avg_pool2d(np.zeros((1, 2, 3, 4), np.float32), layout="CHWN")
