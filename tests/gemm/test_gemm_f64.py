"""Products of f64 matrices: exact on whole numbers, each sum in one order, on any threads and strides."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv import _core
from fastconv.graph.ops.products import EXACT_DEPTH, exact_product, product
from fastconv.testing.guard import guarded, guarded_empty

F64 = np.float64
SIZES = [(1, 1, 1), (4, 4, 4), (5, 3, 7), (3, 2000, 5), (130, 9, 33), (257, 1025, 6), (2, 0, 3), (1, 40, 1)]


def multiplied(a: Any, b: Any) -> Any:
    y = np.full((a.shape[0], b.shape[1]), np.nan)
    _core.gemm_f64(a, b, y)
    return y


def whole(rng: np.random.Generator, *shape: int) -> Any:
    return rng.integers(-1000, 1001, shape).astype(F64)


@pytest.mark.parametrize(("m", "k", "n"), SIZES)
def test_whole_numbers_are_exact(m: int, k: int, n: int, rng: np.random.Generator) -> None:
    a, b = whole(rng, m, k), whole(rng, k, n)
    expected = np.zeros((m, n), np.int64)  # of numpy's loops over integers
    for i in range(k):
        expected += np.multiply.outer(a[:, i].astype(np.int64), b[i].astype(np.int64))
    np.testing.assert_array_equal(multiplied(a, b), expected)


def test_sums_are_as_exact_as_f64(rng: np.random.Generator) -> None:
    a, b = rng.standard_normal((7, 300)), rng.standard_normal((300, 9))
    y = multiplied(a, b)
    for i, j in np.ndindex(*y.shape):
        exact = math.fsum(a[i] * b[:, j])
        assert abs(y[i, j] - exact) <= 300 * np.finfo(F64).eps * np.abs(a[i] * b[:, j]).sum()


def test_a_sum_has_one_order(rng: np.random.Generator) -> None:
    """Whatever the threads, and wherever in the matrix its row and column are."""
    a, b = rng.standard_normal((300, 1500)), rng.standard_normal((1500, 50))
    with fastconv.threads(1):
        expected = multiplied(a, b)
    for threads in (2, 3, 8):
        with fastconv.threads(threads):
            np.testing.assert_array_equal(multiplied(a, b), expected)
    np.testing.assert_array_equal(multiplied(a[137:138], b), expected[137:138])
    np.testing.assert_array_equal(multiplied(a, b[:, 17:18]), expected[:, 17:18])


def test_any_strides(rng: np.random.Generator) -> None:
    a, b = whole(rng, 9, 14), whole(rng, 14, 11)
    expected = (a.astype(np.int64)[:, :, None] * b.astype(np.int64)[None]).sum(axis=1)
    wide = np.full((18, 28), np.nan)
    wide[::2, ::2] = a
    forms = (a, np.asfortranarray(a), wide[::2, ::2], a[::-1][::-1], a[:, ::-1][:, ::-1])
    for left in forms:
        for right in (b, np.asfortranarray(b), b[::-1][::-1]):
            np.testing.assert_array_equal(multiplied(left, right), expected)
    np.testing.assert_array_equal(multiplied(a[::-1], b), expected[::-1])
    np.testing.assert_array_equal(
        multiplied(np.broadcast_to(a[:1], a.shape), b), np.repeat(expected[:1], 9, axis=0)
    )
    rows = np.full((9, 20), 7.0)
    _core.gemm_f64(a, b, rows[:, 3:14])
    np.testing.assert_array_equal(rows[:, 3:14], expected)
    assert (rows[:, :3] == 7).all()
    assert (rows[:, 14:] == 7).all()


@pytest.mark.parametrize("align_end", [True, False])
def test_no_byte_beyond_the_arrays(align_end: bool, rng: np.random.Generator) -> None:
    for m, k, n in ((4, 4, 4), (7, 5, 6), (131, 3, 9)):
        a, b = whole(rng, m, k), whole(rng, k, n)
        y = guarded_empty((m, 2 * n), align_end=align_end).view(F64)  # floats, two for each number
        _core.gemm_f64(
            guarded(a.view(np.float32), align_end=align_end).view(F64),
            guarded(b.view(np.float32), align_end=align_end).view(F64),
            y,
        )
        np.testing.assert_array_equal(y, (a[:, :, None] * b[None]).sum(axis=1))


def test_infinities_and_nan() -> None:
    a = np.array([[1, np.inf, 0], [np.nan, 1, 1], [1, 2, 3]])
    np.testing.assert_array_equal(
        multiplied(a, np.array([[1.0, 0], [1, 0], [1, -1]])), [[np.inf, np.nan], [np.nan, np.nan], [6, -3]]
    )


@pytest.mark.parametrize(
    ("a", "b", "out", "message"),
    [
        (np.ones(3), np.ones((3, 2)), np.ones((1, 2)), "a: expected 2 dimensions, got 1"),
        (np.ones((2, 3)), np.ones((4, 2)), np.ones((2, 2)), "b: expected 3 rows"),
        (np.ones((2, 3)), np.ones((3, 2)), np.ones((2, 3)), "out: expected"),
        (np.ones((2, 3)), np.ones((3, 2)), np.ones((2, 4))[:, ::2], "out: expected"),
        (np.ones((2, 3)), np.ones((3, 2)), np.broadcast_to(1.0, (2, 2)), "out: expected"),
    ],
)
def test_what_does_not_fit_is_refused(a: Any, b: Any, out: Any, message: str) -> None:
    with pytest.raises(fastconv.FastconvError, match=message):
        _core.gemm_f64(a, b, out)
    with pytest.raises(TypeError):
        _core.gemm_f64(a.astype(np.float32), b, out)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint8])
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((3, 4), (4, 5)),
        ((2, 3, 4), (4, 5)),
        ((3, 4), (2, 4, 5)),
        ((2, 1, 3, 4), (6, 4, 5)),
        ((0, 3, 4), (4, 5)),
    ],
)
def test_stacks(dtype: Any, left: tuple[int, ...], right: tuple[int, ...], rng: np.random.Generator) -> None:
    a, b = rng.integers(0, 5, left).astype(dtype), rng.integers(0, 5, right).astype(dtype)
    y = product(a, b)
    assert y.dtype == dtype
    wide = (a.astype(np.int64)[..., :, :, None] * b.astype(np.int64)[..., None, :, :]).sum(axis=-2)
    np.testing.assert_array_equal(y, wide)


@pytest.mark.parametrize("depth", [0, 1, EXACT_DEPTH - 1, EXACT_DEPTH, EXACT_DEPTH + 1, 5000])
def test_sums_of_bytes_are_exact(depth: int, rng: np.random.Generator) -> None:
    """Those of the largest numbers too, which f32 alone would round from 2^24 on."""
    a, b = rng.integers(-255, 256, (3, depth)), rng.integers(-255, 256, (depth, 4))
    a[0], b[:, 0] = 255, -255
    y = exact_product(a.astype(np.float32), b.astype(np.float32))
    assert y.dtype == F64
    np.testing.assert_array_equal(y, (a[:, :, None] * b[None]).sum(axis=1))
    assert y[0, 0] == -(255**2) * depth
