"""Nearest finds its pixels without rounding wherever sizes say the factor: compared with rationals."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import fastconv
from fastconv import _core
from fastconv.graph.ops.resize import Axis, Form, Taps

HALF = Fraction(1, 2)
ROUNDINGS: dict[str, Callable[[Fraction], int]] = {
    "floor": math.floor,
    "ceil": math.ceil,
    "round_prefer_floor": lambda v: math.ceil(v - HALF),
    "round_prefer_ceil": lambda v: math.floor(v + HALF),
}
OF_KERNEL = ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel", "pytorch_asymmetric")
OF_GRAPH = (*OF_KERNEL[:-1], "half_pixel_symmetric", "tf_half_pixel_for_nn", "tf_crop_and_resize")


def coordinate(coordinates: str, o: int, n: int, out: int) -> Fraction:
    """Return where pixel o of a result lies in n pixels: the text of ONNX's Resize."""
    if coordinates == "tf_crop_and_resize" and out == 1:  # the middle of all that is cropped
        return Fraction(n - 1, 2)
    if coordinates in ("align_corners", "tf_crop_and_resize"):
        return Fraction(o * (n - 1), out - 1) if out > 1 else Fraction(0)
    if coordinates.endswith("asymmetric"):
        return Fraction(o * n, out)
    if coordinates == "pytorch_half_pixel" and out == 1:
        return Fraction(0)
    if coordinates == "tf_half_pixel_for_nn":
        return (o + HALF) * Fraction(n, out)
    return (o + HALF) * Fraction(n, out) - HALF


def pixels(coordinates: str, n: int, out: int) -> dict[str, list[int]]:
    """Return the pixel that each of a result takes, by rounding."""
    at = [coordinate(coordinates, o, n, out) for o in range(out)]
    return {name: [min(max(f(v), 0), n - 1) for v in at] for name, f in ROUNDINGS.items()}


@pytest.mark.parametrize("coordinates", OF_KERNEL)
def test_kernel(coordinates: str) -> None:
    for n, out in itertools.product(range(1, 65), range(1, 65)):
        x = np.arange(n, dtype=np.float32).reshape(1, 1, 1, n)
        y = np.empty((1, 1, 1, out), np.float32)
        for rounding, expected in pixels(coordinates, n, out).items():
            _core.resize2d(x, y, "nearest", coordinates, rounding, (1, 1), (out, n))
            assert y[0, 0, 0].tolist() == expected, (n, out, rounding)


@pytest.mark.parametrize("coordinates", OF_GRAPH)
def test_weights_of_other_types(coordinates: str) -> None:
    for n, out in itertools.product(range(1, 65), range(1, 65)):
        for rounding, expected in pixels(coordinates, n, out).items():
            form = Form("nearest", coordinates, rounding)
            taps = Taps.of(Axis(n, out, Fraction(out, n)), form)
            assert taps.index[0].tolist() == expected, (n, out, rounding)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize("by", ["sizes", "scales"])
def test_node(by: str, dtype: Any, node_model: Any) -> None:
    for n, out in ((26, 64), (33, 121), (13, 56), (29, 41), (100, 120), (47, 49)):
        x = np.arange(n).astype(dtype).reshape(1, 1, 1, n)
        given = [np.array([1, 1, 1, out])] if by == "sizes" else [np.float32([1, 1, 1, out / n])]
        if by == "scales" and math.floor(n * float(given[0][3])) != out:
            continue  # the float32 below the ratio gives a result of a pixel less
        inputs = [x, None, None, *given] if by == "sizes" else [x, None, *given]
        for coordinates in ("asymmetric", "half_pixel", "align_corners"):
            for rounding, expected in pixels(coordinates, n, out).items():
                options = {"nearest_mode": rounding, "coordinate_transformation_mode": coordinates}
                model, feeds = node_model("Resize", inputs, outputs=[np.dtype(dtype)], opset=19, **options)
                (y,) = fastconv.load(model).run(None, feeds)
                assert y[0, 0, 0].tolist() == expected, (n, out, options)


def test_a_ratio_of_another_axis_is_exact(node_model: Any) -> None:
    # not_larger: 7 x 30 in 9 x 41 takes the factor 9 / 7 for both, and floor(30 * 9 / 7 + 1 / 2) = 39.
    x = np.arange(210, dtype=np.float32).reshape(1, 1, 7, 30)
    options = {"axes": [2, 3], "keep_aspect_ratio_policy": "not_larger", "nearest_mode": "floor"}
    model, feeds = node_model(
        *("Resize", [x, None, None, np.array([9, 41])]),
        **{"opset": 19, "coordinate_transformation_mode": "asymmetric", **options},
    )
    (y,) = fastconv.load(model).run(None, feeds)
    rows, columns = ([min(o * 7 // 9, n - 1) for o in range(out)] for n, out in ((7, 9), (30, 39)))
    np.testing.assert_array_equal(y, x[:, :, rows][..., columns])


def test_function() -> None:
    for n in range(1, 65):
        x = np.arange(n, dtype=np.float32).reshape(1, 1, 1, n)
        for out in range(1, 130):
            expected = [o * n // out for o in range(out)]
            assert fastconv.interpolate(x, size=(1, out))[0, 0, 0].tolist() == expected
            if n * (out / n) >= out:  # else it is a result of one pixel less
                y = fastconv.interpolate(x, scale_factor=(1, out / n))
                assert y[0, 0, 0].tolist() == expected


@pytest.mark.parametrize("n", [3, 2**16 + 1, 3_000_017])
def test_long_rows(n: int) -> None:
    x = np.arange(n, dtype=np.int32).view(np.float32).reshape(1, 1, 1, n)  # f32 counts to 2^24 only
    for out in (7, 1000, 2**16 - 1, 1_999_993):
        y = fastconv.interpolate(x, size=(1, out))[0, 0, 0].view(np.int32)
        np.testing.assert_array_equal(y, np.arange(out) * n // out)
