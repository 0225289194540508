"""matmul: numpy.matmul's rules for vectors, matrices and stacks."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv

every_tier = pytest.mark.usefixtures("tier")

SHAPES = [
    ((3,), (3,)),
    ((3,), (3, 5)),
    ((4, 3), (3,)),
    ((4, 3), (3, 5)),
    ((2, 4, 3), (3, 5)),
    ((2, 4, 3), (3,)),
    ((3,), (2, 3, 5)),
    ((4, 3), (2, 3, 5)),
    ((2, 4, 3), (2, 3, 5)),
    ((1, 4, 3), (6, 3, 5)),
    ((6, 4, 3), (1, 3, 5)),
    ((2, 1, 4, 3), (1, 6, 3, 5)),
    ((2, 6, 4, 3), (6, 3, 5)),
    ((2, 3, 1, 1, 4, 3), (3, 5)),
    ((0, 4, 3), (3, 5)),
    ((2, 0, 3), (3, 5)),
    ((2, 4, 0), (0, 5)),
    ((4, 0), (0, 5)),
    ((0,), (0,)),
    ((0,), (0, 5)),
    ((2, 4, 3), (3, 0)),
    ((0, 3), (3, 0)),
]


def integers(*shape):
    return np.random.default_rng(0).integers(-4, 5, shape).astype(np.float32)


@every_tier
@pytest.mark.parametrize(("a_shape", "b_shape"), SHAPES)
def test_shapes(a_shape, b_shape):
    a, b = integers(*a_shape), integers(*b_shape)
    expected = np.matmul(a, b)
    y = fastconv.matmul(a, b)
    assert isinstance(y, np.ndarray)
    assert y.shape == expected.shape
    np.testing.assert_array_equal(y, expected)
    out = np.full_like(expected, np.nan)
    assert fastconv.matmul(a, b, out=out) is out
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(("a_shape", "b_shape"), SHAPES)
def test_strided(a_shape, b_shape):
    a, b = integers(*(2 * s for s in a_shape)), integers(*(3 * s for s in b_shape))
    a = a[tuple(slice(None, None, -2) for _ in a_shape)]
    b = b[tuple(slice(None, None, 3) for _ in b_shape)]
    expected = np.matmul(a, b)
    np.testing.assert_array_equal(fastconv.matmul(a, b), expected)
    out = np.empty((*expected.shape[::-1],), np.float32).T
    np.testing.assert_array_equal(fastconv.matmul(a, b, out=out), expected)


def test_broadcast_stacks():
    a = np.broadcast_to(integers(4, 3), (5, 4, 3))
    b = integers(5, 3, 2)
    np.testing.assert_array_equal(fastconv.matmul(a, b), a @ b)
    np.testing.assert_array_equal(fastconv.matmul(a, b[0]), a @ b[0])
    np.testing.assert_array_equal(fastconv.matmul(a.swapaxes(1, 2), a), a.swapaxes(1, 2) @ a)
