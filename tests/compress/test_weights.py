"""Weights of 8 bits: exactness, and pairs that no multiply-add of 16 bits saturates on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastconv.compress.weights import quantize_weights

Array = np.ndarray[Any, Any]

SHAPES = [(8, 16, 3, 3), (5, 3, 7, 7), (6, 7, 1, 1), (12, 1, 3, 3), (4, 2, 1, 5)]


def heavy(shape: tuple[int, ...], seed: int) -> Array:
    """Weights with a few large ones, side by side too."""
    rng = np.random.default_rng(seed)
    w = rng.standard_t(3, shape) * np.exp(rng.uniform(-4, 2, (shape[0], *[1] * (len(shape) - 1))))
    w.reshape(shape[0], -1)[:, :2] = np.abs(w).max(tuple(range(1, len(shape)))).reshape(-1, 1)
    return w.astype(np.float32)


def saturates(numbers: Array) -> bool:
    """Whether 255 times two neighbouring inputs, or side by side taps of an odd number, leaves 16 bits."""
    wide = numbers.astype(np.int64)
    if wide.shape[1] == 1:
        return False
    if wide.shape[1] % 2:
        line = np.moveaxis(wide, 1, -1).reshape(len(wide), -1)
        sums = line[:, :-1] + line[:, 1:]
    else:
        sums = wide[:, ::2] + wide[:, 1::2]
    return bool((255 * sums > 32767).any() or (255 * sums < -32768).any())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(5))
def test_no_pair_saturates(shape: tuple[int, ...], seed: int) -> None:
    w = heavy(shape, seed)
    plain = np.rint(w / (np.abs(w).max((1, 2, 3), keepdims=True) / 127)).astype(np.int8)
    found = quantize_weights(w, 0, portable=True)
    assert found.numbers.dtype == np.int8
    assert found.scale.shape == (shape[0],)
    assert not saturates(found.numbers)
    assert found.saturating == 0
    assert (found.unsafe > 0) == saturates(plain)
    assert saturates(plain) == (shape[1] > 1)


@pytest.mark.parametrize("portable", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_error_is_small(shape: tuple[int, ...], portable: bool) -> None:
    w = heavy(shape, 9)
    found = quantize_weights(w, 0, portable=portable)
    scale = np.abs(w).max((1, 2, 3), keepdims=True) / 127

    def error(values: Array) -> Array:
        return np.asarray(np.square(values - w).sum((1, 2, 3)))

    if not portable:  # the plain rounding is one of those tried
        assert (error(found.values) <= error(np.rint(w / scale) * scale) * (1 + 1e-6)).all()
    seven_bits = error(np.rint(w / (2 * scale)) * 2 * scale)
    assert (error(found.values) <= seven_bits * (1 + 1e-6) + 1e-12).all()


def test_a_matrix_has_its_outputs_where_it_is_said() -> None:
    w = heavy((10, 24, 1, 1), 3).reshape(10, 24)
    rows, columns = quantize_weights(w, 0, portable=True), quantize_weights(w.T, 1, portable=True)
    np.testing.assert_array_equal(rows.numbers, columns.numbers.T)
    np.testing.assert_array_equal(rows.scale, columns.scale)
    np.testing.assert_allclose(columns.values, w.T, atol=np.abs(w).max() / 50)


def test_channels_of_zeros() -> None:
    w = heavy((3, 4, 1, 1), 4)
    w[1] = 0
    found = quantize_weights(w, 0, portable=True)
    assert (found.scale > 0).all()
    assert not found.numbers[1].any()


def test_importance_decides_what_is_exact() -> None:
    """A large weight that is hardly ever multiplied by anything may be cut off for the sake of the others."""
    w = np.random.default_rng(6).standard_normal((16, 32, 1, 1)).astype(np.float32)
    w[:, 1] = 1.5 * np.abs(w).max()
    importance = np.ones((1, 32, 1))
    importance[:, 1] = 1e-6
    found = quantize_weights(w, 0, portable=False, importance=importance)
    even = quantize_weights(w, 0, portable=False)
    assert (found.scale < even.scale).all()

    def cost(values: Array) -> float:
        return float((np.square(values - w)[:, :, 0] * importance).sum())

    assert cost(found.values) < 0.7 * cost(even.values)
