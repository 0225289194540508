"""Weights that make good each other's errors: what a convolution reads, and what is left of its noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastconv.compress import compensate
from fastconv.compress.compensate import compensated, input_rows
from fastconv.compress.weights import quantize_weights
from fastconv.graph.ir import GraphBuilder, Node
from fastconv.graph.model import Model

Array = np.ndarray[Any, Any]

CONVOLUTIONS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "pointwise": ((5, 6, 1, 1), {}),
    "padded": ((4, 6, 3, 3), {"pads": [1, 0, 2, 1]}),
    "strided": ((4, 6, 3, 2), {"strides": [2, 3], "pads": [1, 1, 1, 1]}),
    "dilated": ((4, 6, 3, 3), {"dilations": [2, 1]}),
    "same": ((4, 6, 3, 5), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "same lower": ((4, 6, 4, 4), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    "valid": ((4, 6, 3, 3), {"auto_pad": "VALID"}),
    "depthwise": ((12, 1, 3, 3), {"group": 6, "pads": [1, 1, 1, 1]}),
    "grouped": ((4, 3, 3, 3), {"group": 2}),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_rows_are_what_weights_are_multiplied_by(name: str) -> None:
    shape, attrs = CONVOLUTIONS[name]
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(s).astype(np.float32) for s in ((3, 6, 9, 10), shape))
    b = GraphBuilder("conv", {"w": w})
    b.output(b.add("Conv", b.input("x", ("batch", 6, 9, 10)), "w", **attrs), "y")
    expected = Model(b.build())(x)
    groups = attrs.get("group", 1)
    rows = input_rows(x, Node("Conv", "c", ("x", "w"), ("y",), attrs), w)
    flat = np.moveaxis(w, 1, -1).reshape(groups, shape[0] // groups, -1)
    got = np.einsum("grk,gok->rgo", rows, flat).reshape(3, *expected.shape[2:], shape[0])
    np.testing.assert_allclose(np.moveaxis(got, -1, 1), expected, rtol=1e-4, atol=1e-4)


def test_of_many_rows_some_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compensate, "ROWS", 7)
    x = np.arange(2 * 4 * 5 * 5, dtype=np.float32).reshape(2, 4, 5, 5)
    rows = input_rows(x, Node("Conv", "c", ("x", "w"), ("y",)), np.zeros((4, x.shape[1], 1, 1), np.float32))
    assert rows.shape == (1, 7, 4)
    pixels = np.moveaxis(x, 1, -1).reshape(-1, 4)
    assert all((pixels == row).all(1).any() for row in rows[0])
    assert (rows[0, 0] == pixels[0]).all()
    assert (rows[0, -1] == pixels[-1]).all()


def alike(rng: np.random.Generator, count: int, inputs: int) -> Array:
    """Inputs that move together, as the channels of a trained layer do, about a mean of their own."""
    common = rng.standard_normal((count, inputs // 4)) @ rng.standard_normal((inputs // 4, inputs))
    return np.maximum(common + 0.2 * rng.standard_normal((count, inputs)), 0) + rng.uniform(0, 2, inputs)


def noise(w: Array, x: Array) -> float:
    """Return the variance of what an error of weights makes of inputs."""
    return float((w @ (x - x.mean(0)).T).var(1).sum())


@pytest.mark.parametrize("portable", [True, False])
@pytest.mark.parametrize("inputs", [64, 27, 200])
def test_less_noise_is_left(inputs: int, portable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compensate, "MOST_INPUTS", 150)  # the last comes in pieces
    rng = np.random.default_rng(1)
    w = rng.standard_normal((24, inputs))
    x = alike(rng, 4000, inputs)
    plain = quantize_weights(w, 0, portable=portable)
    scale = plain.scale.astype(np.float64)
    (got,), (found,) = compensated(
        w[None], scale[None], x[None, :2000], inputs=inputs, portable=portable, centred=True
    )
    assert np.array_equal(got, np.rint(got))
    assert np.abs(got).max() <= 127
    assert noise(got * found[:, None] - w, x[2000:]) < 0.7 * noise(plain.values - w, x[2000:])


@pytest.mark.parametrize(("taps", "inputs"), [(9, 8), (9, 3), (1, 16), (9, 1)])
def test_pairs_stay_safe(taps: int, inputs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compensate, "MOST_INPUTS", 10)
    rng = np.random.default_rng(2)
    w = rng.uniform(0.6, 1, (12, taps * inputs))  # every pair is too large together
    x = alike(rng, 500, taps * inputs + 4)[:, : taps * inputs]
    scale = np.full((1, 12), 1 / 127)
    (got,), _ = compensated(w[None], scale, x[None], inputs=inputs, portable=True, centred=False)
    sums = got[:, :-1] + got[:, 1:] if inputs % 2 else got[:, ::2] + got[:, 1::2]
    if inputs > 1:
        assert np.abs(sums).max() <= 128
    else:
        assert np.abs(sums).max() > 128


def test_inputs_that_are_always_zero() -> None:
    w = np.random.default_rng(3).standard_normal((4, 6))
    given = w[None], np.full((1, 4), 0.02), np.zeros((1, 10, 6))
    (got,), (scale,) = compensated(*given, inputs=6, portable=False, centred=True)
    np.testing.assert_array_equal(got, np.clip(np.rint(w / scale[:, None]), -127, 127))


def test_groups_are_rounded_each_for_its_own_inputs() -> None:
    rng = np.random.default_rng(4)
    w, scale = rng.standard_normal((3, 5, 9)), rng.uniform(0.01, 0.02, (3, 5))
    x = np.stack([alike(rng, 200, 12)[:, :9] for _ in range(3)])
    together, scales = compensated(w, scale, x, inputs=1, portable=True, centred=True)
    for i in range(3):
        (alone,), (known,) = compensated(
            w[i : i + 1], scale[i : i + 1], x[i : i + 1], inputs=1, portable=True, centred=True
        )
        np.testing.assert_array_equal(together[i], alone)
        np.testing.assert_array_equal(scales[i], known)
