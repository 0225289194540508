"""xnor_conv2d and XnorConv2d against sums of signs in int64, to the last bit, on every tier."""

from __future__ import annotations

import math
import os
import pickle
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastconv import ArgumentError, DTypeError, ShapeError, XnorConv2d, _core, xnor_conv2d
from fastconv.testing.guard import guarded, guarded_empty
from fastconv.testing.reference import conv as convolved

# Name: x's shape, w's shape, and the rest.
LAYERS = {
    "1x1": ((2, 64, 7, 5), (33, 64, 1, 1), {}),
    "1x1 strided": ((1, 5, 9, 8), (3, 5, 1, 1), {"stride": 2}),
    "3x3": ((2, 70, 9, 11), (20, 70, 3, 3), {"padding": 1}),
    "3x3 asymmetric": ((1, 33, 13, 14), (16, 33, 3, 3), {"padding": (0, 2, 1, 0), "stride": (2, 1)}),
    "dilated": ((1, 31, 17, 16), (7, 31, 5, 5), {"padding": (4, 6), "dilation": (2, 3)}),
    "even, same": ((1, 4, 10, 9), (5, 4, 2, 4), {"padding": "same", "stride": (2, 3)}),
    "groups": ((1, 120, 8, 7), (18, 40, 3, 3), {"padding": 1, "groups": 3}),
    "depthwise": ((2, 17, 9, 10), (17, 1, 3, 3), {"padding": 1, "groups": 17}),
    "one pixel": ((3, 9, 1, 1), (8, 9, 3, 3), {"padding": 1}),
    "more padding than image": ((1, 3, 2, 3), (4, 3, 3, 3), {"padding": 5}),
    "more words than bytes count": ((1, 5000, 2, 2), (17, 5000, 1, 1), {}),
}


TIERS = [_core.active_tier()] if os.environ.get("FASTCONV_ISA") else _core.tiers()
COUNTS_BITS = "avx512_vpopcntdq" in _core.cpu_info()["tiers"]["extensions"]


@pytest.fixture(params=[*TIERS, *(["avx512 alone"] if "avx512" in TIERS and COUNTS_BITS else [])])
def tier(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test on every tier, and without the extension that counts bits."""
    before = _core.active_tier()
    _core.set_active_tier(request.param.removesuffix(" alone"))
    _core.set_extensions_active("" if request.param.endswith("alone") else "all")
    yield request.param
    _core.set_extensions_active("all")
    _core.set_active_tier(before)


every_tier = pytest.mark.usefixtures("tier")


def signs_of(x, of_zero=1.0, of_nan=math.nan):
    """Return 1, -1 and those of 0 and NaN."""
    return np.where(np.isnan(x), of_nan, np.where(x == 0, of_zero, np.where(x < 0, -1, 1)))


def expected(x, w, scale, bias=None, *, of_zero=1.0, of_nan=math.nan, **geometry):
    """Return the exact sums, times the scale and plus the bias in float32; NaN where a window has one."""
    signs = signs_of(x, of_zero, of_nan)
    unknown = np.isnan(signs)
    sums = convolved(np.where(unknown, 0, signs), np.where(w < 0, -1.0, 1.0), **geometry)
    assert (sums == np.rint(sums)).all()  # those of integers, which float64 holds
    seen = convolved(unknown.astype(np.float64), np.ones(w.shape), **geometry)
    y = sums.astype(np.float32) * scale[:, None, None]
    y = y if bias is None else y + bias[:, None, None]
    return np.where(seen > 0, np.float32(np.nan), y)


def layer_of(rng, name):
    x_shape, w_shape, geometry = LAYERS[name]
    x, w = rng.standard_normal(x_shape, np.float32), rng.standard_normal(w_shape, np.float32)
    x[rng.random(x.shape) < 0.05] = 0
    x[rng.random(x.shape) < 0.02] = -0.0
    scale, bias = rng.random(w_shape[0], np.float32), rng.standard_normal(w_shape[0], np.float32)
    return x, w, scale, bias, geometry


@pytest.mark.usefixtures("tier", "num_threads")
@pytest.mark.parametrize("name", LAYERS)
def test_sums_are_exact(rng, name):
    x, w, scale, bias, geometry = layer_of(rng, name)
    y = xnor_conv2d(x, w, bias, scale=scale, **geometry)
    np.testing.assert_array_equal(y, expected(x, w, scale, bias, **geometry))
    conv = XnorConv2d(w, bias, scale=scale, layout="NHWC", **geometry)
    last = conv(np.ascontiguousarray(np.moveaxis(x, 1, -1)))
    np.testing.assert_array_equal(np.moveaxis(last, -1, 1), y)


@settings(max_examples=60)
@given(data=st.data())
def test_random_layers(data):
    draw = data.draw
    groups, kernel = draw(st.integers(1, 3)), (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    ic, oc = groups * draw(st.integers(1, 70)), groups * draw(st.integers(1, 20))
    geometry = {
        "stride": draw(st.integers(1, 3)), "padding": draw(st.integers(0, 3)),
        "dilation": draw(st.integers(1, 2)), "groups": groups,
    }  # fmt: skip
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    x = rng.choice(np.array([-2, -0.0, 0, 1e-45, 3], np.float32), (draw(st.integers(0, 2)), ic, 8, 9))
    w = rng.standard_normal((oc, ic // groups, *kernel), np.float32)
    scale = rng.random(oc, np.float32)
    for name in TIERS:
        before = _core.active_tier()
        _core.set_active_tier(name)
        y = xnor_conv2d(x, w, scale=scale, **geometry)
        _core.set_active_tier(before)
        np.testing.assert_array_equal(y, expected(x, w, scale, **geometry))


@every_tier
def test_ends_of_the_range():
    """All bits alike and all different, of more words than a byte can count."""
    w, one = np.full((3, 4200, 3, 3), -0.5, np.float32), np.ones((1, 4200, 3, 3), np.float32)
    most = 9 * 4200 / 2
    for x in (one, one * np.inf, one * 1e-45, one * 0, one * -0.0):
        assert (xnor_conv2d(x, w) == -most).all()
    for x in (-one, -one * np.inf, -one * 1e-45):
        assert (xnor_conv2d(x, w) == most).all()


@pytest.mark.usefixtures("tier", "num_threads")
@pytest.mark.parametrize("of_zero", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("of_nan", [-1.0, 0.0, 1.0, math.nan])
def test_signs_of_zero_and_nan(rng, of_zero, of_nan):
    """A plan says what they are: a network's operators differ."""
    x, w = rng.standard_normal((2, 80, 6, 7), np.float32), rng.choice([-0.25, 0.25], (10, 40, 3, 3))
    x[rng.random(x.shape) < 0.2] = 0
    x[rng.random(x.shape) < 0.001] = np.nan
    conv = _core.Conv(
        w.astype(np.float32), None, spatial=2, stride=[1, 2], padding_lo=[1, 1], padding_hi=[0, 1],
        dilation=[1, 1], groups=2, auto_pad="explicit", transposed=False, output_padding=[0, 0],
        act="none", alpha=0.0, beta=0.0, precision="fast", algorithm="auto", signs=(of_zero, of_nan),
    )  # fmt: skip
    y = np.empty(conv.out_shape(x.shape), np.float32)
    conv.run(x, y)
    geometry = {"stride": (1, 2), "padding": (1, 1, 0, 1), "groups": 2}
    scale = np.full(10, 0.25, np.float32)
    wanted = expected(x, w, scale, of_zero=of_zero, of_nan=of_nan, **geometry)
    np.testing.assert_array_equal(y, wanted)
    assert np.isnan(y).any() == math.isnan(of_nan)
    assert conv.algorithm(x.shape) == "xnor"


def test_weights_of_several_magnitudes_are_refused():
    geometry = {
        "spatial": 2, "stride": [1, 1], "padding_lo": [0, 0], "padding_hi": [0, 0], "dilation": [1, 1],
        "groups": 1, "auto_pad": "explicit", "output_padding": [0, 0], "act": "none", "alpha": 0.0,
        "beta": 0.0, "precision": "fast", "algorithm": "auto",
    }  # fmt: skip
    w = np.ones((2, 3, 1, 1), np.float32)
    w[1, 2] = -3
    with pytest.raises(ArgumentError, match="one magnitude in each filter, got 1 and 3 in filter 1"):
        _core.Conv(w, None, **geometry, transposed=False, signs=(1, 1))
    with pytest.raises(ArgumentError, match="w: expected finite weights"):
        _core.Conv(w * np.float32(np.inf), None, **geometry, transposed=False, signs=(1, 1))
    with pytest.raises(ArgumentError, match="signs: expected a convolution that is not transposed"):
        _core.Conv(abs(w) ** 0, None, **geometry, transposed=True, signs=(1, 1))
    for signs in ((2, 1), (1, 0.5), (math.nan, 1)):
        with pytest.raises(ArgumentError, match="signs: expected"):
            _core.Conv(w, None, **geometry, transposed=False, signs=signs)


def test_scale_is_the_mean_magnitude(rng):
    x, w = rng.standard_normal((1, 3, 5, 5), np.float32), rng.standard_normal((4, 3, 3, 3), np.float32)
    mean = np.abs(w.astype(np.float64)).mean(axis=(1, 2, 3)).astype(np.float32)
    np.testing.assert_array_equal(xnor_conv2d(x, w), expected(x, w, mean))
    # Which makes the binary filter the nearest to the real one.
    distances = [((w - np.sign(w) * (s * mean)[:, None, None, None]) ** 2).sum() for s in (0.99, 1, 1.01)]
    assert min(distances) == distances[1]


@every_tier
def test_epilogue_and_out(rng):
    x, w, scale, bias, geometry = layer_of(rng, "3x3")
    sums = expected(x, w, scale, bias, **geometry)
    residual = rng.standard_normal(sums.shape, np.float32)
    out = np.empty_like(sums)
    given = {"scale": scale, "residual": residual, "activation": "relu", "out": out}
    assert xnor_conv2d(x, w, bias, **geometry, **given) is out
    np.testing.assert_array_equal(out, np.maximum(sums + residual, 0))
    tanh = xnor_conv2d(x, w, bias, **geometry, scale=scale, activation="tanh")
    np.testing.assert_allclose(tanh, np.tanh(sums), rtol=1e-5, atol=1e-6)


@every_tier
def test_no_byte_outside_is_touched():
    """Arrays that end at an unmapped page, of channels that fill no word."""
    x = guarded(np.ones((1, 3, 3, 37), np.float32))
    w = guarded(np.ones((5, 37, 2, 2), np.float32))
    y = xnor_conv2d(x, w, layout="NHWC", out=guarded_empty((1, 2, 2, 5)))
    assert (y == 4 * 37).all()


def test_a_batch_is_its_images(rng):
    x, w, scale, bias, geometry = layer_of(rng, "3x3")
    x[1, 3, 2, 2] = np.nan
    conv = XnorConv2d(w, bias, scale=scale, **geometry)
    for image, alone in zip(conv(x), x, strict=True):
        np.testing.assert_array_equal(conv(alone[None])[0], image)


def test_what_a_plan_tells_and_keeps(rng):
    x, w, scale, bias, geometry = layer_of(rng, "3x3")
    conv = XnorConv2d(w, bias, scale=scale, activation="relu", threads=1, **geometry)
    assert conv.algorithm == conv.algorithm_for(x.shape) == "xnor"
    assert conv.packed_bytes < w.nbytes / 8  # 70 channels take three words
    assert conv.explain(x.shape).startswith("algorithm xnor, tile ")
    y = conv(x)
    w[:], scale[:] = 0, 0
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(conv))(x), y)


def test_errors_name_the_argument():
    x, w = np.ones((1, 3, 4, 4), np.float32), np.ones((2, 3, 3, 3), np.float32)
    with pytest.raises(ShapeError, match=r"^w: expected ic/groups = 3 channels, got 4"):
        xnor_conv2d(x, np.ones((2, 4, 3, 3), np.float32))
    with pytest.raises(ArgumentError, match=r"^w: expected finite weights"):
        XnorConv2d(w * np.float32(np.nan))
    with pytest.raises(ShapeError, match=r"^scale: expected one element for each of 2 filters, got 3"):
        xnor_conv2d(x, w, scale=np.ones(3, np.float32))
    with pytest.raises(ArgumentError, match=r"^scale: expected finite numbers of at least 0"):
        XnorConv2d(w, scale=np.array([1, -1], np.float32))
    with pytest.raises(DTypeError, match=r"^x: expected dtype float32"):
        xnor_conv2d(x.astype(np.float64), w)


def test_half_precision_is_widened(rng):
    x, w, _, _, geometry = layer_of(rng, "1x1")
    x, w = x.astype(np.float16), w.astype(np.float16)
    half = xnor_conv2d(x, w, **geometry)
    assert half.dtype == np.float16
    wide = xnor_conv2d(x.astype(np.float32), w.astype(np.float32), **geometry)
    np.testing.assert_array_equal(half, wide.astype(np.float16))
