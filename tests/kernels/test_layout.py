"""Copies between any two memory orders, exactly; fills."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastconv import _core
from fastconv.testing.guard import guarded, guarded_empty

pytestmark = pytest.mark.usefixtures("tier")


def numbered(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape)


@pytest.mark.parametrize(
    "shape",
    [(2, 3, 5, 7), (1, 3, 33, 31), (2, 40, 9, 11), (1, 64, 14, 14), (3, 1, 4, 5), (2, 17, 1, 1)],
    ids=str,
)
@pytest.mark.usefixtures("num_threads")
def test_copy_between_arrangements(arrangement_pairs, shape):
    x = numbered(*shape)
    for arrange, arrange_out in arrangement_pairs:
        y = arrange_out(np.full(shape, np.nan, np.float32))
        _core.copy(arrange(x), y)
        np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("channels", [*range(1, 35), 64, 65])
def test_transposes_of_every_size_touch_nothing_else(channels):
    for pixels in (1, 2, 7, 8, 9, 16, 33, 50):
        nchw = numbered(1, channels, 1, pixels)
        nhwc = np.ascontiguousarray(nchw.transpose(0, 2, 3, 1))
        for align_end in (True, False):
            y = guarded_empty(nhwc.shape, align_end=align_end)
            _core.copy(guarded(nchw, align_end=align_end), y.transpose(0, 3, 1, 2))
            np.testing.assert_array_equal(y, nhwc)
            z = guarded_empty(nchw.shape, align_end=align_end)
            _core.copy(guarded(nhwc, align_end=align_end).transpose(0, 3, 1, 2), z)
            np.testing.assert_array_equal(z, nchw)


@pytest.mark.parametrize("channels", [2, 3, 5, 16, 17, 40, 70])
def test_planes_that_share_a_set_of_the_cache(channels):
    for pixels in (63, 64, 255, 300, 520, 1024):
        x = numbered(pixels, channels)
        planes = np.full((channels, 1024), -1, np.float32)
        _core.copy(x.T, planes[:, :pixels])
        np.testing.assert_array_equal(planes[:, :pixels], x.T)
        assert np.all(planes[:, pixels:] == -1)


@given(data=st.data())
def test_any_permutation_of_any_shape(data):
    rank = data.draw(st.integers(0, 6))
    shape = tuple(data.draw(st.integers(0, 6)) for _ in range(rank))
    x = numbered(*shape).transpose(data.draw(st.permutations(range(rank))))
    order = data.draw(st.permutations(range(rank)))
    y = np.full([x.shape[i] for i in order], np.nan, np.float32).transpose(np.argsort(order))
    _core.copy(x, y)
    np.testing.assert_array_equal(y, x)


def test_copy_broadcasts():
    row = numbered(5)
    y = np.empty((3, 4, 5), np.float32)
    _core.copy(np.broadcast_to(row, y.shape), y)
    np.testing.assert_array_equal(y, np.broadcast_to(row, y.shape))
    _core.copy(np.broadcast_to(row[:4, None], y.shape), y)
    np.testing.assert_array_equal(y, np.broadcast_to(row[:4, None], y.shape))


def test_large_copy_is_shared_among_threads(same_for_threads):
    x = numbered(2, 48, 60, 61)

    def run() -> np.ndarray:
        y = np.empty((2, 60, 61, 48), np.float32)
        _core.copy(x, y.transpose(0, 3, 1, 2))
        return y

    np.testing.assert_array_equal(same_for_threads(run), x.transpose(0, 2, 3, 1))


@pytest.mark.usefixtures("num_threads")
def test_fill(arrange_out):
    y = arrange_out(np.zeros((2, 3, 50, 201), np.float32))
    _core.fill(y, 2.5)
    assert (y == 2.5).all()


def test_fill_touches_nothing_else():
    y = np.zeros((4, 6), np.float32)
    _core.fill(y[1:3, 1:5], 1.0)
    assert y.sum() == 8
    assert (y[1:3, 1:5] == 1).all()


@pytest.mark.usefixtures("num_threads")
@pytest.mark.parametrize("dtype", ["u1", "u2", "u8"])
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 3, 33, 31), (2, 40, 9, 11), (1, 67, 14, 20)], ids=str)
def test_elements_of_other_sizes_between_arrangements(step, arrangement_pairs, shape, dtype, rng):
    x = rng.integers(0, 1 << 63, shape, np.uint64).astype(dtype)
    for arrange, arrange_out in arrangement_pairs:
        y = step("copy", (arrange(x),), arrange_out(np.zeros(shape, dtype)))
        np.testing.assert_array_equal(y, x)
        step("copy", (np.broadcast_to(x[:1, :1, :1, :1], shape),), y)
        np.testing.assert_array_equal(y, np.full(shape, x[0, 0, 0, 0]))


@pytest.mark.parametrize("channels", [*range(1, 35), 64, 65])
def test_transposes_of_bytes_touch_nothing_else(step, channels, rng):
    for pixels in (1, 2, 7, 15, 16, 17, 33, 64, 70):
        nchw = rng.integers(0, 256, (1, channels, 1, pixels)).astype(np.uint8)
        nhwc = np.ascontiguousarray(nchw.transpose(0, 2, 3, 1))
        for end in (True, False):
            y = guarded_empty(nhwc.shape, np.uint8, align_end=end)
            step("copy", (guarded(nchw, align_end=end),), y.transpose(0, 3, 1, 2))
            np.testing.assert_array_equal(y, nhwc)
            z = guarded_empty(nchw.shape, np.uint8, align_end=end)
            step("copy", (guarded(nhwc, align_end=end).transpose(0, 3, 1, 2),), z)
            np.testing.assert_array_equal(z, nchw)


def test_four_bytes_keep_their_bits(step, same_bits):
    """Signalling NaNs, which arithmetic would change, are four bytes as any other."""
    x = np.uint32([0x7F800001, 0xFFA00000, 0x80000000, 1]).reshape(1, 2, 2, 1).view(np.float32)
    y = step("copy", (x,), np.zeros((1, 2, 1, 2), np.float32).transpose(0, 1, 3, 2))
    same_bits(y, x)
