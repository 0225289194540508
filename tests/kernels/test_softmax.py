"""Softmax along any axis of any memory order."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv
from fastconv import _core
from fastconv.testing import reference
from fastconv.testing.guard import guarded, guarded_empty

pytestmark = pytest.mark.usefixtures("tier")


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1])
@pytest.mark.usefixtures("num_threads")
def test_against_reference(arrangement_pairs, axis, rng):
    x = rng.normal(0, 4, (3, 21, 17, 10)).astype(np.float32)
    exact = reference.softmax(x, axis)
    for arrange, arrange_out in arrangement_pairs:
        y = arrange_out(np.full(x.shape, np.nan, np.float32))
        assert fastconv.softmax(arrange(x), axis, out=y) is y
        np.testing.assert_allclose(y, exact, rtol=2e-6)


def test_in_place(arrange, rng):
    x = rng.normal(0, 4, (2, 5, 6, 7)).astype(np.float32)
    for axis in range(4):
        y = arrange(x)
        fastconv.softmax(y, axis, out=y)
        np.testing.assert_allclose(y, reference.softmax(x, axis), rtol=2e-6)


def test_every_length_touches_nothing_else(rng):
    for n in range(1, 2 * 16 + 2):
        x = rng.normal(0, 4, (3, n)).astype(np.float32)
        for align_end in (True, False):
            for axis, a in ((1, x), (0, np.ascontiguousarray(x.T))):
                y = guarded_empty(a.shape, align_end=align_end)
                _core.softmax(guarded(a, align_end=align_end), y, axis)
                np.testing.assert_allclose(y, reference.softmax(a, axis), rtol=2e-6)


def test_extremes():
    big = np.float32([[3e38, -3e38, 3e38], [-400, -100, -300]])
    np.testing.assert_array_equal(fastconv.softmax(big), [[0.5, 0, 0.5], [0, 1, 0]])
    inf = np.inf
    for row in ([1, np.nan, 2], [inf, 1, 2], [-inf, -inf, -inf], [inf, inf, 0]):
        assert np.isnan(fastconv.softmax(np.float32(row))).all()
    np.testing.assert_array_equal(fastconv.softmax(np.float32([-inf, 0, 0])), [0, 0.5, 0.5])


def test_results_do_not_depend_on_threads_or_batch(same_for_threads, same_bits, rng):
    x = rng.normal(size=(64, 1000)).astype(np.float32)
    y = same_for_threads(lambda: fastconv.softmax(x))
    same_bits(fastconv.softmax(x[5:6]), y[5:6])
    image = rng.normal(size=(2, 21, 90, 91)).astype(np.float32)
    y = same_for_threads(lambda: fastconv.softmax(image, 1))
    same_bits(fastconv.softmax(image[1:], 1), y[1:])


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0,)])
def test_empty(shape):
    assert fastconv.softmax(np.empty(shape, np.float32)).shape == shape


def test_errors():
    x = np.zeros((2, 3), np.float32)
    for axis in (2, -3):
        with pytest.raises(fastconv.ArgumentError, match="axis: expected"):
            fastconv.softmax(x, axis)
    for axis in (1.0, None, True, "1"):
        with pytest.raises(fastconv.DTypeError, match="axis: expected an integer"):
            fastconv.softmax(x, axis)
    with pytest.raises(fastconv.ShapeError, match="x: expected at least 1 dimension"):
        fastconv.softmax(np.array(1, np.float32))


@pytest.mark.torch
def test_means_what_torch_means(rng):
    torch = pytest.importorskip("torch")
    x = rng.normal(size=(4, 5, 6)).astype(np.float32)
    for axis in range(3):
        np.testing.assert_allclose(
            fastconv.softmax(x, axis), torch.softmax(torch.from_numpy(x), axis).numpy(), rtol=1e-5
        )
