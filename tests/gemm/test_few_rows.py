"""Products of few rows, matrix-vector products among them: a kernel of their own, which reads B in place."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import fastconv
from fastconv import _core
from fastconv.testing import reference
from fastconv.testing.guard import guarded, guarded_empty

pytestmark = pytest.mark.usefixtures("tier")


def integers(rng, *shape):
    return rng.integers(-4, 5, shape).astype(np.float32)


@pytest.mark.parametrize("m", range(1, 6))
def test_columns_and_depths_around_every_edge(rng, m):
    """Columns around what the sums in L1 hold (4096 / m), depths around the unrolling and a block of K."""
    chunk = 4096 // m
    for n, k in itertools.product((1, 15, 16, 17, chunk - 1, chunk + 1), (0, 1, 7, 9, 1025)):
        a, b, c, bias = integers(rng, m, k), integers(rng, k, n), integers(rng, m, n), integers(rng, n)
        keywords = {"alpha": 2.0, "beta": -1.0, "bias": bias, "activation": "relu"}
        expected = reference.activate(reference.gemm(a, b, c, alpha=2.0, beta=-1.0, bias=bias), "relu")
        np.testing.assert_array_equal(fastconv.gemm(a, b, c, **keywords), expected)
        np.testing.assert_array_equal(fastconv.gemm(np.asfortranarray(a), b, c, **keywords), expected)
        np.testing.assert_array_equal(fastconv.gemm(a, np.asfortranarray(b), c, **keywords), expected)


@pytest.mark.parametrize("k", [40, 700, 3000])
@pytest.mark.parametrize("n", [33, 100, 1000])
def test_a_row_has_the_same_bits_in_every_product(rng, n, k):
    """Alone, among few, among many, with B in place, packed or transposed, on any number of threads."""
    a, b = rng.standard_normal((300, k), np.float32), rng.standard_normal((k, n), np.float32)
    c, bias = rng.standard_normal((300, n), np.float32), rng.standard_normal(n, np.float32)
    keywords = {"alpha": 0.7, "beta": 1.3, "bias": bias, "activation": "silu"}
    whole = fastconv.gemm(a, b, c, **keywords)
    for m, threads in itertools.product((1, 2, 3, 4, 5, 17, 64, 290), (1, 2, 3)):
        with fastconv.threads(threads):
            np.testing.assert_array_equal(fastconv.gemm(a[:m], b, c[:m], **keywords), whole[:m])
            if m > 1:  # one row by columns has an order of its own
                by_columns = fastconv.gemm(a[:m], np.asfortranarray(b), c[:m], **keywords)
                np.testing.assert_array_equal(by_columns, whole[:m])


@pytest.mark.parametrize("k", [1, 7, 40, 700, 3000])
@pytest.mark.parametrize("n", [1, 5, 8, 33, 100, 1000])
def test_one_row_by_columns(rng, n, k):
    """As exact as any sum of so many products, and the same bits on any number of threads."""
    a, b = rng.standard_normal((1, k), np.float32), np.asfortranarray(rng.standard_normal((k, n), np.float32))
    c, bias = rng.standard_normal((1, n), np.float32), rng.standard_normal(n, np.float32)
    first = fastconv.gemm(a, b, c, alpha=0.7, beta=1.3, bias=bias)
    bound = 2.0**-23 * (0.7 * (k + 3) * (np.abs(a) @ np.abs(b)) + 3 * (1.3 * np.abs(c) + np.abs(bias)))
    exact = 0.7 * (a.astype(np.float64) @ b.astype(np.float64)) + 1.3 * c + bias
    assert (np.abs(first - exact) <= bound).all()
    for threads in (2, 3):
        with fastconv.threads(threads):
            np.testing.assert_array_equal(fastconv.gemm(a, b, c, alpha=0.7, beta=1.3, bias=bias), first)
    b[0, n // 2] = np.nan
    assert np.isnan(fastconv.gemm(a, b)[0]).tolist() == [i == n // 2 for i in range(n)]


def test_nothing_beyond_the_operands_is_touched(rng):
    for m, n, align_end in itertools.product((1, 2, 3, 4), (5, 1030, 4097), (True, False)):
        a, b, bias = (guarded(integers(rng, *s), align_end=align_end) for s in ((m, 11), (11, n), (n,)))
        out = guarded_empty((m, n), align_end=align_end)
        np.testing.assert_array_equal(fastconv.gemm(a, b, bias=bias, out=out), a @ b + bias)
        columns = guarded(np.ascontiguousarray(b.T), align_end=align_end)
        out = guarded_empty((m, n), align_end=align_end)
        np.testing.assert_array_equal(
            fastconv.gemm(a, columns, trans_b=True, bias=bias, out=out), a @ b + bias
        )


def test_bounds_overlap():
    x = np.zeros((6, 8), np.float32)
    views = [x, x[:2], x[2:4], x[4:], x[::-1], x[3::-1, ::2], x[:, 3:5], x[5, 7:], x[:0], x[0, :1], x.T[:4]]
    for a, b in itertools.product(views, repeat=2):
        expected = bool(a.size and b.size and np.may_share_memory(a, b))
        assert _core.bounds_overlap(a, b) == expected, (a.strides, a.shape, b.strides, b.shape)


@pytest.mark.parametrize("k", [1, 15, 16, 63, 300, 700])
@pytest.mark.parametrize("order", ["rows", "columns", "neither"])
def test_one_column_has_the_same_bits_whatever_the_rows(rng, k, order):
    """The product is read as one row by the transpose, whose columns are the rows."""
    a = {
        "rows": rng.standard_normal((70, k), np.float32),
        "columns": rng.standard_normal((k, 70), np.float32).T,
        "neither": rng.standard_normal((140, 2 * k), np.float32)[::2, ::2],
    }[order]
    b, bias, c = (rng.standard_normal(shape, np.float32) for shape in ((k, 1), (1,), (70, 1)))
    for column in (b, np.repeat(b, 3, axis=1)[:, 1:2]):
        for more in ({}, {"bias": bias, "activation": "relu"}):
            with fastconv.threads(1):
                whole = fastconv.gemm(a, column, c, beta=0.5, **more)
                parts = [
                    fastconv.gemm(a[i : i + 1], column, c[i : i + 1], beta=0.5, **more) for i in (0, 33, 69)
                ]
            np.testing.assert_array_equal(np.concatenate(parts), whole[[0, 33, 69]])
            with fastconv.threads(3):
                np.testing.assert_array_equal(fastconv.gemm(a, column, c, beta=0.5, **more), whole)
            expected = a.astype(np.float64) @ column + 0.5 * c + more.get("bias", 0)
            expected = np.maximum(expected, 0) if more else expected
            np.testing.assert_allclose(whole, expected, rtol=0, atol=1e-6 * k + 1e-6)


def test_a_plain_product_is_that_of_all_arguments(rng):
    a, b = rng.standard_normal((9, 21), np.float32), rng.standard_normal((21, 35), np.float32)
    expected = fastconv.gemm(a, b, alpha=float("1"), bias=np.zeros(35, np.float32))
    for y in (fastconv.gemm(a, b), fastconv.matmul(a, b), fastconv.gemm(a, b, alpha=1)):
        np.testing.assert_array_equal(y, expected)
    for wrong in (a.astype(np.float64), a[0, 0], a.astype(">f4"), a[:, :5]):
        with pytest.raises((fastconv.DTypeError, fastconv.ShapeError)):
            fastconv.gemm(wrong, b)
