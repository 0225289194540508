"""Steps that store bf16, and those that read it: the bits are those of f32 that is rounded in between."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastconv import _core
from fastconv.errors import ArgumentError
from fastconv.graph.value import BF16, F32

Array = np.ndarray[Any, Any]
Activation = tuple[str, float, float]
PLAIN, CLAMPED = ("none", 0.0, 0.0), ("clamp", 0.0, 6.0)
# Algorithm, channels in and out, groups, kernel, stride, dilation, padding, height and width.
WRITERS = {
    "1x1": ("bf16", 24, 40, 1, 1, 1, 1, 0, 9, 11),
    "1x1 of few channels": ("bf16", 3, 5, 1, 1, 1, 1, 0, 4, 7),
    "3x3 with a stride": ("bf16", 16, 70, 1, 3, 2, 1, 1, 13, 15),
    "depthwise": ("depthwise", 40, 40, 40, 3, 1, 1, 1, 9, 23),
    "depthwise in place": ("depthwise", 64, 64, 64, 3, 2, 1, 1, 9, 57),
    "depthwise, dilated": ("depthwise", 21, 21, 21, 5, 1, 2, 4, 8, 14),
    "groups": ("direct", 12, 24, 6, 3, 1, 1, 1, 7, 8),
}
READERS = {
    "1x1": ("bf16", 64, 33, 1, 1, 1, 1, 0, 6, 7),
    "an odd number of channels": ("bf16", 7, 33, 1, 1, 1, 1, 0, 6, 7),
    "padding": ("bf16", 32, 17, 1, 3, 1, 1, 1, 8, 9),
    "a stride": ("bf16", 32, 17, 1, 1, 2, 1, 0, 9, 9),
    "rows that fall on each other": ("bf16", 2048, 8, 1, 1, 1, 1, 0, 3, 6),
}


def rounded(x: Array) -> Array:
    """Return the bits of the nearest numbers of 8 significant bits, ties to even."""
    mantissa, exponent = np.frexp(x.astype(np.float64))
    nearest = np.ldexp(np.round(np.ldexp(mantissa, 8)), exponent - 8).astype(np.float32)
    return np.asarray(nearest.view(np.uint32) >> 16, np.uint16)


class Layer:
    """A convolution with random weights, as the step of a program, on images with channels last."""

    def __init__(self, rng: np.random.Generator, case: tuple[Any, ...], act: Activation) -> None:
        algorithm, ic, oc, groups, kernel, stride, dilation, padding, height, width = case
        kind, alpha, beta = act
        self.conv = _core.Conv(
            rng.standard_normal((oc, ic // groups, kernel, kernel), np.float32),
            rng.standard_normal(oc, np.float32),
            spatial=2,
            groups=groups,
            stride=[stride] * 2,
            dilation=[dilation] * 2,
            padding_lo=[padding] * 2,
            padding_hi=[padding] * 2,
            auto_pad="explicit",
            transposed=False,
            output_padding=[0, 0],
            act=kind,
            alpha=alpha,
            beta=beta,
            precision="bf16",
            algorithm=algorithm,
        )
        self.x = rng.standard_normal((2, height, width, ic), np.float32)
        n, _, *size = self.conv.out_shape((2, ic, height, width))
        self.residual = rng.standard_normal((n, *size, oc), np.float32)

    def run(self, x: Array, residual: Array | None, dtype: np.dtype[Any], threads: int = 1) -> Array:
        """Return the result as numbers of a dtype; arrays of uint16 are of bf16."""
        y = np.zeros(self.residual.shape, np.uint16 if dtype == BF16 else dtype)
        inputs = [x] if residual is None else [x, residual]
        added = None if residual is None else view(residual)
        plan = _core.PlannedConv(self.conv, view(x), added, view(y), threads)
        program = _core.Program(_core.ArenaPool(), plan.workspace, [a.nbytes for a in inputs], [y.nbytes])
        at = [(i + 1, 0, *view(a)) for i, a in enumerate((*inputs, y))]
        workspace = (0, 0, (plan.workspace,), (1,), np.dtype(np.uint8))
        program.conv(at[0], None if residual is None else at[1], at[-1], plan, workspace)
        program.run(inputs, [y])
        return y


def view(array: Array) -> tuple[tuple[int, ...], tuple[int, ...], np.dtype[Any]]:
    n, height, width, channels = array.shape
    dtype = BF16 if array.dtype == np.uint16 else array.dtype
    return (n, channels, height, width), (height * width * channels, 1, width * channels, channels), dtype


@pytest.mark.usefixtures("tier_and_bf16")
@pytest.mark.parametrize("act", [PLAIN, CLAMPED], ids=["none", "clamp"])
@pytest.mark.parametrize("name", WRITERS)
def test_what_is_stored_is_what_f32_would_be_rounded_to(
    name: str, act: Activation, rng: np.random.Generator
) -> None:
    layer = Layer(rng, WRITERS[name], act)
    assert layer.conv.stores_bf16(view(layer.x)[0])
    wide = layer.run(layer.x, None, F32)
    for threads in (1, 3):
        np.testing.assert_array_equal(layer.run(layer.x, None, BF16, threads), rounded(wide))


@pytest.mark.usefixtures("tier_and_bf16")
def test_special_numbers_are_stored_as_they_are_rounded(rng: np.random.Generator) -> None:
    layer = Layer(rng, ("depthwise", 8, 8, 8, 3, 1, 1, 1, 5, 9), PLAIN)
    layer.x[:] = [np.nan, np.inf, -np.inf, 3.4e38, 0, -0.0, 1e-39, 1]
    stored, wide = layer.run(layer.x, None, BF16), layer.run(layer.x, None, F32)
    found = (stored.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wide))
    finite = np.isfinite(wide) & (np.abs(wide) < 3.38e38)  # beyond it is infinite
    np.testing.assert_array_equal(stored[finite], rounded(wide[finite]))
    np.testing.assert_array_equal(found[np.isinf(wide)], wide[np.isinf(wide)])


@pytest.mark.usefixtures("tier_and_bf16")
@pytest.mark.parametrize("name", READERS)
def test_what_is_read_is_as_if_it_had_been_rounded(name: str, rng: np.random.Generator) -> None:
    layer = Layer(rng, READERS[name], CLAMPED)
    assert layer.conv.reads_bf16(view(layer.x)[0])
    for residual in (None, layer.residual):
        expected = layer.run(layer.x, residual, F32)
        np.testing.assert_array_equal(layer.run(rounded(layer.x), residual, F32), expected)
    plain = layer.run(layer.x, None, F32)
    np.testing.assert_array_equal(layer.run(rounded(layer.x), None, BF16), rounded(plain))


def test_what_takes_f32_alone_says_so(rng: np.random.Generator) -> None:
    layer = Layer(rng, ("implicit", 4, 6, 1, 3, 1, 1, 1, 5, 5), CLAMPED)
    assert not layer.conv.reads_bf16(view(layer.x)[0])
    assert not layer.conv.stores_bf16(view(layer.x)[0])
    with pytest.raises(ArgumentError, match="x: expected f32 of algorithm 'implicit', got bf16"):
        layer.run(rounded(layer.x), None, F32)
    with pytest.raises(ArgumentError, match="y: expected f32 of algorithm 'implicit', got bf16"):
        layer.run(layer.x, None, BF16)
    other = Layer(rng, WRITERS["1x1"], CLAMPED)
    with pytest.raises(ArgumentError, match="residual: expected f32, got bf16"):
        other.run(other.x, rounded(other.residual), F32)
    with pytest.raises(ArgumentError, match="residual: expected none where y is bf16"):
        other.run(other.x, other.residual, BF16)
    waits = Layer(rng, WRITERS["1x1"], ("hardswish", 0.0, 0.0))
    assert not waits.conv.stores_bf16(view(waits.x)[0])
