"""Large results of layers with few products a number, in other layouts than the kernels' own."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fastconv
from fastconv import _core

pytestmark = pytest.mark.usefixtures("tier")

LARGE = 2 * _core.cpu_info()["caches"]["l2"] // 4  # numbers of a result from which on bands are taken


def layer(channels: int, *spatial: int, images: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return an input whose result is large, longer than asked for where it has to be, and weights."""
    rest = images * channels * math.prod(spatial[1:])
    size = (max(spatial[0], LARGE // rest + 3), *spatial[1:])
    rng = np.random.default_rng(len(spatial))
    x = rng.standard_normal((images, 3, *size), dtype=np.float32)
    return x, rng.standard_normal((channels, 3, *(3,) * len(spatial)), dtype=np.float32)


def summed(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The convolution in float64 without padding, a sum over taps."""
    spatial = x.shape[2:]
    out = [n - k + 1 for n, k in zip(spatial, w.shape[2:], strict=True)]
    y = np.zeros((x.shape[0], w.shape[0], *out))
    for tap in np.ndindex(*w.shape[2:]):
        seen = x[(..., *(slice(t, t + n) for t, n in zip(tap, out, strict=True)))]
        y += np.einsum("oc,nc...->no...", w[(..., *tap)].astype(np.float64), seen)
    return y


FUNCTIONS = {1: fastconv.conv1d, 2: fastconv.conv2d, 3: fastconv.conv3d}
LAST = {1: "NWC", 2: "NHWC", 3: "NDHWC"}
FIRST = {1: "NCW", 2: "NCHW", 3: "NCDHW"}


@pytest.mark.parametrize("spatial", [(1000,), (64, 501), (7, 11, 130)], ids=str)
@pytest.mark.parametrize("images", [1, 2])
def test_planes_have_the_bits_of_pixels(spatial, images):
    x, w = layer(16, *spatial, images=images)
    if len(spatial) == 3:
        w = w[:, :2, :1, :3, :3]  # few enough products
        x = x[:, :2]
    rank = len(spatial)
    conv, bias = FUNCTIONS[rank], np.linspace(-1, 1, 16, dtype=np.float32)
    last = conv(np.ascontiguousarray(np.moveaxis(x, 1, -1)), w, bias, layout=LAST[rank])
    for threads in (1, 2, 3):
        with fastconv.threads(threads):
            y = conv(x, w, bias, layout=FIRST[rank])
        np.testing.assert_array_equal(np.moveaxis(y, 1, -1), last)
    expected = summed(x, w) + bias.reshape(-1, *(1,) * rank)
    np.testing.assert_allclose(y, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 3, 1), (3, 1, 2, 0)], ids=str)
def test_a_residual_of_any_layout_is_added(order):
    x, w = layer(8, 200, 333)
    plain = fastconv.conv2d(x, w)
    residual = np.random.default_rng(1).standard_normal(plain.shape, dtype=np.float32)
    given = np.ascontiguousarray(residual.transpose(order)).transpose(np.argsort(order))
    y = fastconv.conv2d(x, w, residual=given, activation="relu")
    np.testing.assert_array_equal(y, np.maximum(plain + residual, 0))


def test_a_result_between_others_is_written_alone():
    x, w = layer(8, 200, 333)
    plain = fastconv.conv2d(x, w)
    n, c, height, width = plain.shape
    around = np.full((n, c, height + 2, width + 5), 7, np.float32)
    conv = fastconv.Conv2d(w)
    np.testing.assert_array_equal(conv(x, out=around[:, :, 1:-1, 2:-3]), plain)
    around[:, :, 1:-1, 2:-3] = 7
    assert np.all(around == 7)
