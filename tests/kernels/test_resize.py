"""Resizing: nearest exactly as torch, linear against the float64 reference, in every memory order."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv
from fastconv import _core
from fastconv.testing import reference
from fastconv.testing.guard import guarded, guarded_empty

pytestmark = pytest.mark.usefixtures("tier")

SIZES = [(11, 14), (22, 28), (5, 7), (1, 1), (13, 3), (40, 41), (11, 28)]
COORDINATES = ["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"]


def resize(x, y, mode, coordinates, rounding="floor"):
    scales = [(out, n) for n, out in zip(x.shape[2:], y.shape[2:], strict=True)]
    _core.resize2d(x, y, mode, coordinates, rounding, *scales)
    return y


def assert_linear(x: np.ndarray, y: np.ndarray, exact: np.ndarray, coordinates: str) -> None:
    resize(x, y, "linear", coordinates)
    np.testing.assert_allclose(y, exact, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("num_threads")
@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_linear_of_arrangements(arrangements, size, coordinates, rng):
    x = rng.normal(size=(2, 5, 11, 14)).astype(np.float32)
    exact = reference.interpolate(x, size, mode="linear", coordinates=coordinates)
    for arrange in arrangements:
        assert_linear(arrange(x), arrange(np.full((2, 5, *size), np.nan, np.float32)), exact, coordinates)


def test_outputs_arranged_otherwise(arrangement_pairs, rng):
    x = rng.normal(size=(2, 5, 11, 14)).astype(np.float32)
    exact = reference.interpolate(x, (22, 9), mode="linear", coordinates="half_pixel")
    for arrange, arrange_out in arrangement_pairs:
        y = arrange_out(np.full((2, 5, 22, 9), np.nan, np.float32))
        assert_linear(arrange(x), y, exact, "half_pixel")


# Sizes whose ratios are powers of two, so that f32 and float64 coordinates round alike.
@pytest.mark.usefixtures("num_threads")
@pytest.mark.parametrize("rounding", ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
@pytest.mark.parametrize("image", [(11, 14), (44, 14), (88, 112)], ids=str)
def test_nearest_of_arrangements(arrangements, image, rounding, rng):
    x = rng.normal(size=(2, 5, *image)).astype(np.float32)
    for coordinates in ("half_pixel", "asymmetric"):
        exact = reference.interpolate(x, (22, 28), coordinates=coordinates, rounding=rounding)
        for arrange in arrangements:
            y = arrange(np.full((2, 5, 22, 28), np.nan, np.float32))
            resize(arrange(x), y, "nearest", coordinates, rounding)
            np.testing.assert_array_equal(y, exact)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_every_size_touches_nothing_else(mode, layout, rng):
    reference_mode = "linear" if mode == "bilinear" else mode
    coordinates = "half_pixel" if mode == "bilinear" else "asymmetric"
    for channels, width in [*((c, 4) for c in range(1, 2 * 16 + 2)), *((2, w) for w in range(1, 40))]:
        x = rng.normal(size=(1, channels, 3, width)).astype(np.float32)
        size = (6, 2 * width)
        exact = reference.interpolate(x, size, mode=reference_mode, coordinates=coordinates)
        for align_end in (True, False):
            if layout == "NCHW":
                out = guarded_empty((1, channels, *size), align_end=align_end)
                y = fastconv.interpolate(guarded(x, align_end=align_end), size, mode=mode, out=out)
            else:
                out = guarded_empty((1, *size, channels), align_end=align_end)
                last = guarded(x.transpose(0, 2, 3, 1), align_end=align_end)
                y = fastconv.interpolate(last, size, mode=mode, layout="NHWC", out=out).transpose(0, 3, 1, 2)
            np.testing.assert_allclose(y, exact, rtol=1e-5, atol=1e-6)


def test_results_do_not_depend_on_threads_or_batch(same_for_threads, same_bits, rng):
    x = rng.normal(size=(3, 40, 41, 36)).astype(np.float32)
    for layout in ("NCHW", "NHWC"):
        for mode in ("nearest", "bilinear"):
            keywords = {"size": (61, 77), "mode": mode, "layout": layout}
            y = same_for_threads(lambda keywords=keywords: fastconv.interpolate(x, **keywords))
            same_bits(fastconv.interpolate(x[2:], **keywords), y[2:])


def test_empty_batch():
    x = np.zeros((0, 3, 4, 5), np.float32)
    for mode in ("nearest", "bilinear"):
        assert fastconv.interpolate(x, scale_factor=2, mode=mode).shape == (0, 3, 8, 10)


@pytest.mark.torch
def test_nearest_by_factor_is_torchs():
    torch = pytest.importorskip("torch")
    for n in range(1, 41):
        x = np.broadcast_to(np.arange(n, dtype=np.float32), (1, 1, 1, n))
        t = torch.from_numpy(x.copy())
        for scale in np.concatenate([np.arange(8, 30) / 8, np.arange(10, 40) / 10, np.arange(7, 20) / 7]):
            factor = (1.0, float(scale))
            y = torch.nn.functional.interpolate(t, scale_factor=factor).numpy()
            if scale == y.shape[3] / n:  # torch rounds 1 / scale: here and there it is a pixel off
                y = x[..., np.arange(y.shape[3]) * n // y.shape[3]]
            np.testing.assert_array_equal(fastconv.interpolate(x, scale_factor=factor), y)


def test_a_pixel_of_weight_zero_is_not_read():
    # 1.5 / (9 / 3) is whole, and rounding must not give an infinite neighbour a weight of 1e-17.
    for n in range(1, 20):
        for factor in (3, 5, 7, 9):
            x = np.full((1, 1, 1, n), np.inf, np.float32)
            x[..., ::2] = 1
            y = fastconv.interpolate(x, size=(1, n * factor), mode="bilinear")
            np.testing.assert_array_equal(y[..., factor // 2 :: factor], x)


@pytest.mark.torch
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("image", [(2, 2), (3, 10), (7, 5), (16, 9)], ids=str)
def test_bilinear_by_factors_that_round_is_torchs(image, align_corners, rng):
    torch = pytest.importorskip("torch")
    x = rng.normal(size=(1, 2, *image)).astype(np.float32)
    for factor in (2.46, 2.05, 2.3, 1.5, 1.05, 0.77, (1.05, 2), (2.05, 1), (1, 2.3), (2.05, 3), (3.3, 1.1)):
        keywords = {"scale_factor": factor, "mode": "bilinear", "align_corners": align_corners}
        y = torch.nn.functional.interpolate(torch.from_numpy(x).double(), **keywords).numpy()
        np.testing.assert_allclose(fastconv.interpolate(x, **keywords), y, rtol=1e-5, atol=1e-5)


@pytest.mark.torch
@pytest.mark.parametrize("align_corners", [False, True])
def test_bilinear_is_torchs(align_corners, rng):
    torch = pytest.importorskip("torch")
    x = rng.normal(size=(2, 3, 11, 14)).astype(np.float32)
    for keywords in [
        *({"size": size} for size in SIZES),
        {"scale_factor": 2.3},
        {"scale_factor": (0.5, 1.7)},
    ]:
        y = torch.nn.functional.interpolate(
            torch.from_numpy(x), **keywords, mode="bilinear", align_corners=align_corners
        ).numpy()
        ours = fastconv.interpolate(x, **keywords, mode="bilinear", align_corners=align_corners)
        np.testing.assert_allclose(ours, y, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({}, fastconv.ArgumentError, "size: expected either it or scale_factor, got None and None"),
        ({"size": 3, "scale_factor": 2}, fastconv.ArgumentError, "size: expected either it or scale_factor"),
        ({"size": 0}, fastconv.ArgumentError, "size: .* at least 1, got 0"),
        ({"size": 2.5}, fastconv.DTypeError, "size: expected an integer"),
        ({"scale_factor": 0}, fastconv.ArgumentError, "scale_factor: expected numbers above 0"),
        ({"scale_factor": float("inf")}, fastconv.ArgumentError, "scale_factor: expected numbers above 0"),
        ({"scale_factor": float("nan")}, fastconv.ArgumentError, "scale_factor: expected a number, got nan"),
        ({"scale_factor": "2"}, fastconv.ArgumentError, "scale_factor: expected a number or 2 of them"),
        ({"scale_factor": (1, 2, 3)}, fastconv.ArgumentError, "scale_factor: expected a number or 2 of them"),
        (
            {"scale_factor": 0.1},
            fastconv.ArgumentError,
            "scale_factor: expected a result of at least 1 pixel",
        ),
        ({"size": 3, "mode": "bicubic"}, fastconv.ArgumentError, "mode: expected 'nearest' or 'bilinear'"),
        ({"size": 3, "align_corners": True}, fastconv.ArgumentError, "align_corners: expected False"),
    ],
    ids=str,
)
def test_bad_arguments(keywords, error, message):
    with pytest.raises(error, match=message):
        fastconv.interpolate(np.zeros((1, 2, 4, 4), np.float32), **keywords)


def test_images_without_pixels():
    with pytest.raises(fastconv.ShapeError, match="x: expected a height and width of at least 1, got 0 x 4"):
        fastconv.interpolate(np.zeros((1, 2, 0, 4), np.float32), size=3)
