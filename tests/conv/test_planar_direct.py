"""Convolutions of planes by rows of pixels: few products a number, or few filters, on NCHW arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv

pytestmark = pytest.mark.usefixtures("tier")

# x's shape, w's shape, and the rest.
LAYERS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "one filter": ((1, 1, 33, 150), (1, 1, 5, 5), {"padding": 2}),
    "two filters": ((2, 3, 9, 70), (2, 3, 3, 3), {"padding": 1}),
    "three filters": ((1, 4, 8, 64), (3, 4, 3, 3), {}),
    "five filters": ((2, 2, 7, 49), (5, 2, 3, 2), {"padding": (1, 0, 2, 3)}),
    "a stem": ((1, 3, 40, 97), (21, 3, 3, 3), {"padding": "same"}),
    "narrow": ((3, 2, 9, 3), (6, 2, 3, 3), {"padding": 1}),
    "dilated": ((1, 3, 23, 60), (4, 3, 3, 3), {"padding": (2, 3), "dilation": (2, 3)}),
    "a stride of rows": ((1, 3, 23, 60), (9, 3, 3, 5), {"padding": (1, 2), "stride": (2, 1)}),
    "a stride": ((1, 3, 23, 203), (9, 3, 3, 3), {"padding": 1, "stride": 2}),
    "a stride along rows": ((1, 2, 9, 130), (5, 2, 3, 5), {"padding": (0, 1), "stride": (1, 2)}),
    "a stride and dilation": ((1, 3, 23, 90), (6, 3, 3, 3), {"padding": 2, "stride": 2, "dilation": 2}),
    "a stride, groups": ((2, 12, 11, 67), (15, 4, 3, 3), {"padding": 1, "groups": 3, "stride": 2}),
    "a stride, one filter": ((1, 1, 20, 300), (1, 1, 5, 5), {"padding": 2, "stride": 2}),
    "1x1 and a stride": ((2, 9, 10, 66), (2, 9, 1, 1), {"stride": 2}),
    "one dimension and a stride": ((2, 3, 155), (4, 3, 7), {"padding": 3, "stride": 2}),
    "three dimensions and a stride": ((1, 2, 5, 6, 33), (3, 2, 2, 3, 3), {"padding": 1, "stride": (1, 2, 2)}),
    "groups": ((2, 12, 11, 35), (15, 4, 3, 3), {"padding": 1, "groups": 3}),
    "many products": ((1, 70, 9, 20), (2, 70, 3, 3), {"padding": 1}),
    "1x1": ((2, 9, 10, 17), (2, 9, 1, 1), {}),
    "one dimension": ((2, 3, 155), (4, 3, 7), {"padding": 3}),
    "three dimensions": ((1, 2, 5, 6, 33), (3, 2, 2, 3, 3), {"padding": (1, 1, 1, 0, 1, 1)}),
    "nothing but padding": ((1, 2, 1, 1), (3, 2, 5, 5), {"padding": 4}),
}


@pytest.fixture(params=LAYERS)
def layer(request, problem):
    x_shape, w_shape, geometry = LAYERS[request.param]
    return problem(x_shape, w_shape, integers=False, residual=True, activation="silu", **geometry)


def test_results_are_right(layer):
    layer.assert_right(layer.run(layout="NCHW", algorithm="planar_direct"), "planar_direct")


@pytest.mark.usefixtures("num_threads")
def test_planes_have_the_bits_of_pixels(layer):
    planes = layer.run(layout="NCHW", algorithm="planar_direct")
    np.testing.assert_array_equal(planes, layer.run(layout="NHWC", algorithm="implicit"))


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 3, 1), (3, 1, 2, 0)], ids=str)
def test_a_residual_of_any_layout_is_added(order):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 20, 50), dtype=np.float32)
    w = rng.standard_normal((5, 3, 3, 3), dtype=np.float32)
    plain = fastconv.conv2d(x, w, algorithm="planar_direct")
    residual = rng.standard_normal(plain.shape, dtype=np.float32)
    given = np.ascontiguousarray(residual.transpose(order)).transpose(np.argsort(order))
    y = fastconv.conv2d(x, w, residual=given, activation="relu", algorithm="planar_direct")
    np.testing.assert_array_equal(y, np.maximum(plain + residual, 0))


def test_nothing_but_the_result_is_written():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 2, 20, 53), dtype=np.float32)
    conv = fastconv.Conv2d(rng.standard_normal((5, 2, 3, 3), dtype=np.float32), algorithm="planar_direct")
    plain = conv(x)
    n, c, height, width = plain.shape
    around = np.full((n, c, height + 2, width + 5), 7, np.float32)
    np.testing.assert_array_equal(conv(x, out=around[:, :, 1:-1, 2:-3]), plain)
    around[:, :, 1:-1, 2:-3] = 7
    assert np.all(around == 7)


def test_it_is_taken_for_filters_of_images_and_first_layers():
    def taken(*w_shape: int, size: int, **geometry: Any) -> str:
        conv = fastconv.Conv2d(np.ones(w_shape, np.float32), **geometry)
        channels, planes = w_shape[1], geometry.get("layout") != "NHWC"
        return conv.algorithm_for((1, channels, size, size) if planes else (1, size, size, channels))

    assert taken(1, 1, 5, 5, size=512, padding=2) == "planar_direct"
    assert taken(3, 3, 7, 7, size=512, padding=3) == "planar_direct"
    assert taken(64, 3, 3, 3, size=512, padding=1) == "planar_direct"
    assert taken(64, 64, 3, 3, size=56, padding=1) != "planar_direct"
    assert taken(1, 1, 5, 5, size=512, padding=2, stride=2) == "planar_direct"
    assert taken(64, 3, 7, 7, size=224, padding=3, stride=2) == "implicit"
    assert taken(1, 1, 5, 5, size=512, padding=2, layout="NHWC") == "implicit"
    for refused, reason in (
        ({"layout": "NHWC"}, "channels-last arrays"),
        ({"stride": 3}, "a stride of more than 2 along rows"),
    ):
        with pytest.raises(fastconv.ArgumentError, match=f"'planar_direct' does not accept .*: {reason}"):
            fastconv.Conv2d(np.ones((1, 1, 3, 3), np.float32), algorithm="planar_direct", **refused)
