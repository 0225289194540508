"""Depthwise convolutions that are read in place: what lies beside an image is neither read nor written."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import fastconv

from .conftest import Problem

pytestmark = pytest.mark.usefixtures("tier")

# Columns before, after, above and below the image, where a side has at most half of the kernel.
PADDINGS = {3: ((1, 1, 1, 1), (0, 0, 0, 0), (0, 1, 1, 0), (2, 1, 1, 1)),
            5: ((2, 2, 2, 2), (1, 2, 2, 1), (0, 1, 2, 0), (4, 2, 0, 2))}  # fmt: skip


def islands(rng, n: int, h: int, w: int, c: int):
    """Return images of a larger array whose other numbers are NaN, and that array."""
    around = np.full((n, h + 4, w + 6, c + 3), np.nan, np.float32)
    image = around[:, 2:-2, 3:-3, :c]
    image[...] = rng.standard_normal(image.shape, dtype=np.float32)
    return image, around


def assert_right(rng, k, stride, padding, size, channels, **given):
    x, _ = islands(rng, 2, *size, channels)
    w = rng.standard_normal((channels, 1, k, k), dtype=np.float32)
    bias = rng.standard_normal(channels, dtype=np.float32)
    geometry = {"stride": stride, "padding": padding, "groups": channels}
    conv = fastconv.Conv2d(w, bias, layout="NHWC", algorithm="depthwise", **geometry, **given)
    layer = Problem(x.transpose(0, 3, 1, 2), w, bias, None, given.get("activation"), geometry)
    y, around = islands(rng, *layer.expected.transpose(0, 2, 3, 1).shape)
    assert conv(x, out=y) is y
    layer.assert_right(y.transpose(0, 3, 1, 2), "depthwise")
    inside = np.zeros(around.shape, bool)
    inside[:, 2:-2, 3:-3, :channels] = True
    assert np.isnan(around[~inside]).all()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize("channels", [16, 40])
def test_every_padding_width_and_height(rng, k, stride, channels):
    for padding, (h, w) in itertools.product(PADDINGS[k], [(9, 14), (8, 19), (13, 33), (7, 15), (6, 16)]):
        assert_right(rng, k, stride, padding, (h, w), channels)


@pytest.mark.parametrize("k", [3, 5])
def test_small_images(rng, k):
    for h, w in itertools.product((1, 2, 3), (1, 4, 6, 7, 8)):
        assert_right(rng, k, 1, k // 2, (h, w), 32)


@pytest.mark.parametrize("activation", ["relu6", "silu", "hardswish"])
def test_activations_of_rows_that_are_computed_twice(rng, activation):
    assert_right(rng, 3, 1, 1, (9, 17), 48, activation=activation)


@pytest.mark.usefixtures("num_threads")
def test_threads_share_rows_and_channels(rng):
    assert_right(rng, 3, 1, 1, (57, 61), 72)
    assert_right(rng, 3, 2, 1, (13, 21), 200)


def test_pixels_that_share_sets_of_the_cache(rng):
    for k, stride in itertools.product((3, 5), (1, 2)):
        assert_right(rng, k, stride, k // 2, (15, 15), 1024)


VIEWS = {
    "right to left": lambda x: x[:, :, ::-1],
    "bottom to top": lambda x: x[:, ::-1],
    "both": lambda x: x[:, ::-1, ::-1],
    "one column": lambda x: np.broadcast_to(x[:, :, :1], x.shape),
    "one row": lambda x: np.broadcast_to(x[:, :1], x.shape),
    "every second row and third column": lambda x: x[:, ::2, ::3],
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("stride", [1, 2])
def test_images_in_any_order(rng, view, stride):
    for channels, k in itertools.product((32, 40, 512), (3, 5)):
        x = VIEWS[view](rng.standard_normal((2, 23, 37, channels), dtype=np.float32))
        w = rng.standard_normal((channels, 1, k, k), dtype=np.float32)
        geometry = {"padding": k // 2, "stride": stride, "groups": channels}
        conv = fastconv.Conv2d(w, layout="NHWC", algorithm="depthwise", **geometry)
        expected = conv(np.ascontiguousarray(x))
        np.testing.assert_array_equal(conv(x), expected)
        out = np.zeros(expected.shape, np.float32)[:, :, ::-1]
        np.testing.assert_array_equal(conv(x, out=out), expected)
