"""Views: what numpy does with strides, computed without data."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided

from fastconv.graph.value import Tensor, dense_strides, reshape_strides

SIZES = st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=5)


def read(
    memory: np.ndarray[tuple[int], np.dtype[np.int64]], t: Tensor
) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return as_strided(memory[t.offset :], t.shape, [8 * s for s in t.strides])


@st.composite
def reshapes(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """A shape, the memory order of its axes, and another shape of the same size."""
    shape = draw(SIZES)
    order = draw(st.permutations(range(len(shape))))
    factors = [f for n in shape for f in {1: [], 2: [2], 3: [3], 4: [2, 2], 6: [2, 3]}[n]]
    factors = [*draw(st.permutations(factors)), 1]
    cuts = sorted(draw(st.lists(st.integers(0, len(factors)), max_size=4)))
    pieces = [factors[a:b] for a, b in zip([0, *cuts], [*cuts, len(factors)], strict=True)]
    return tuple(shape), tuple(order), tuple(math.prod(p) for p in pieces)


@given(reshapes())
def test_reshape_is_numpys(case: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]) -> None:
    shape, order, new_shape = case
    strides = dense_strides(shape, order)
    memory = np.arange(math.prod(shape))
    array = as_strided(memory, shape, [8 * s for s in strides])
    got = reshape_strides(shape, strides, new_shape)
    reshaped = array.reshape(new_shape)
    if got is None:
        assert not np.shares_memory(reshaped, memory)
    else:
        np.testing.assert_array_equal(as_strided(memory, new_shape, [8 * s for s in got]), reshaped)
    if np.shares_memory(reshaped, memory):
        assert got is not None


def test_views_are_numpys() -> None:
    memory = np.arange(120)
    t = Tensor(0, (2, 3, 4, 5), dense_strides((2, 3, 4, 5), (0, 2, 3, 1)))
    a = read(memory, t)
    np.testing.assert_array_equal(read(memory, t.transpose((3, 0, 2, 1))), a.transpose(3, 0, 2, 1))
    np.testing.assert_array_equal(read(memory, t.slice(3, 4, -2, 3)), a[..., 4::-2])
    np.testing.assert_array_equal(read(memory, t.slice(1, 1, 1, 2)), a[:, 1:])
    np.testing.assert_array_equal(read(memory, t.at((1, 2))), a[1, 2])
    one = t.slice(2, 3, 1, 1)
    np.testing.assert_array_equal(
        read(memory, one.broadcast_to((7, 2, 3, 9, 5))), np.broadcast_to(a[:, :, 3:4], (7, 2, 3, 9, 5))
    )


def test_memory_order() -> None:
    t = Tensor(0, (2, 3, 4, 5), dense_strides((2, 3, 4, 5), (0, 2, 3, 1)))
    assert t.order() == (0, 2, 3, 1)
    assert t.transpose((1, 0, 2, 3)).order() == (1, 2, 3, 0)
    assert not t.is_row_major()
    assert t.transpose((0, 2, 3, 1)).is_row_major()
