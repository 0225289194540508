"""qconv1d, qconv2d and qconv3d against sums over windows in int64, to the last bit.

By every algorithm that accepts, on every tier. What a QConv2d has beside them is in test_qconv_plan.py.
"""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastconv import ArgumentError, QConv2d, _core, qconv1d, qconv2d, qconv3d
from fastconv.testing.guard import guarded, guarded_empty
from fastconv.testing.integers import integer_operator

BYTES = (np.uint8, np.int8)
every_tier = pytest.mark.usefixtures("tier")

# Name: x's shape, w's shape, and the rest.
LAYERS = {
    "1x1": ((2, 16, 7, 5), (33, 16, 1, 1), {}),
    "1x1 strided": ((1, 5, 9, 8), (3, 5, 1, 1), {"stride": 2}),
    "3x3": ((1, 8, 9, 11), (20, 8, 3, 3), {"padding": 1}),
    "3x3 of 40 channels": ((2, 40, 12, 13), (32, 40, 3, 3), {"padding": "same"}),
    "3x3 asymmetric": ((1, 3, 13, 14), (16, 3, 3, 3), {"padding": (0, 2, 1, 0), "stride": (2, 1)}),
    "7x7": ((1, 3, 21, 20), (24, 3, 7, 7), {"padding": (3, 3), "stride": 2}),
    "planes of 4 KiB": ((1, 4, 64, 64), (70, 4, 1, 1), {}),
    "dilated": ((1, 6, 17, 16), (7, 6, 5, 5), {"padding": (4, 6), "dilation": (2, 3)}),
    "even, same": ((1, 4, 10, 9), (5, 4, 2, 4), {"padding": "same", "stride": (2, 3)}),
    "groups": ((1, 12, 8, 7), (18, 4, 3, 3), {"padding": 1, "groups": 3}),
    "depthwise": ((2, 17, 9, 10), (17, 1, 3, 3), {"padding": 1, "groups": 17}),
    "depthwise strided": ((1, 40, 14, 15), (40, 1, 5, 5), {"padding": "same", "stride": 2, "groups": 40}),
    "depthwise dilated": ((1, 5, 12, 12), (5, 1, 3, 3), {"padding": 2, "dilation": 2, "groups": 5}),
    "multiplier": ((1, 6, 7, 8), (12, 1, 3, 3), {"padding": (1, 0, 0, 1), "groups": 6}),
    "one pixel": ((3, 9, 1, 1), (8, 9, 3, 3), {"padding": 1}),
    "one dimension": ((2, 8, 19), (5, 8, 4), {"padding": (2, 1), "stride": 3}),
    "one dimension, depthwise": ((2, 8, 19), (8, 1, 5), {"padding": 2, "groups": 8}),
    "three dimensions": ((1, 4, 4, 5, 6), (6, 4, 2, 3, 2), {"padding": (1, 1, 0, 0, 1, 1), "stride": 2}),
}


def convolved(x, w, x_zero=0, w_zero=0, *, stride=1, padding=0, dilation=1, groups=1):
    """Return the sums in int64 over the windows of an image in NC<spatial> order, padded by zeros."""
    spatial = w.ndim - 2

    def each(value):
        return tuple(value) if isinstance(value, tuple) else (value,) * spatial

    stride, dilation = each(stride), each(dilation)
    extent = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], dilation, strict=True)]
    if padding == "same":
        sizes = zip(x.shape[2:], stride, extent, strict=True)
        totals = [max(0, (-(-n // s) - 1) * s + e - n) for n, s, e in sizes]
        pads = [(total // 2, total - total // 2) for total in totals]
    elif isinstance(padding, tuple) and len(padding) == 2 * spatial:
        pads = list(zip(padding[:spatial], padding[spatial:], strict=True))
    else:
        pads = [(p, p) for p in each(padding)]
    image = np.pad(x.astype(np.int64) - x_zero, [(0, 0), (0, 0), *pads])
    zeros = np.asarray(w_zero, np.int64)
    kernel = w.astype(np.int64) - zeros.reshape(-1, *[1] * (w.ndim - 1) if zeros.ndim else [])
    windows = np.lib.stride_tricks.sliding_window_view(image, extent, axis=tuple(range(2, 2 + spatial)))
    windows = windows[(slice(None),) * 2 + tuple(slice(None, None, s) for s in (*stride, *dilation))]
    windows = windows.reshape(x.shape[0], groups, -1, *windows.shape[2:])
    kernel = kernel.reshape(groups, -1, *w.shape[1:])
    places, taps = "xyz"[:spatial], "ijk"[:spatial]
    sums = np.einsum(f"ngc{places}{taps},gmc{taps}->ngm{places}", windows, kernel)
    return sums.reshape(x.shape[0], -1, *sums.shape[3:])


def anything(rng, dtype, shape):
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)


def columns(values, sums):
    """Return a number for each output channel as what broadcasts over sums in NC<spatial> order."""
    values = np.asarray(values)
    return values.reshape(-1, *[1] * (sums.ndim - 2)) if values.ndim else values


def quantised(sums, scale, zero, dtype, low=-np.inf, high=np.inf):
    """Requantise by the text: one float32 operation after another, ties to even, saturated."""
    info = np.iinfo(dtype)
    y = np.rint(sums.astype(np.int32).astype(np.float32) * columns(scale, sums))
    y = np.minimum(np.maximum(y, np.rint(low)), np.rint(high))
    return np.clip(y.astype(np.float64) + zero, info.min, info.max).astype(dtype)


def last(layout):
    return layout == "NHWC"


def to_layout(x, layout):
    return np.ascontiguousarray(np.moveaxis(x, 1, -1)) if last(layout) else x


def back(y, layout):
    return np.moveaxis(y, -1, 1) if last(layout) else y


def call(x, w, *, layout="NCHW", **given):
    """Convolve an array in NC<spatial> order in a layout; the result is in that order again."""
    function = (qconv1d, qconv2d, qconv3d)[w.ndim - 3]
    named = layout.replace("HW", ("W", "HW", "DHW")[w.ndim - 3])
    return back(function(to_layout(x, layout), w, layout=named, **given), layout)


def by_every_algorithm(x, w, **given):
    """Return the results of "auto" and of each algorithm that accepts; the others must say why not."""
    results = {"auto": call(x, w, **given)}
    for name in _core.integer_algorithms():
        try:
            results[name] = call(x, w, algorithm=name, **given)
        except ArgumentError as error:
            if not re.match(f"algorithm: '{name}' does not accept .*: .", str(error)):
                raise
    return results


def check(x, w, expected, **given):
    for name, y in by_every_algorithm(x, w, **given).items():
        assert y.dtype == expected.dtype, name
        np.testing.assert_array_equal(y, expected, err_msg=name)


# ---- sums ------------------------------------------------------------------------------------------------


@every_tier
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("name", LAYERS)
def test_sums(rng, name, layout):
    x_shape, w_shape, geometry = LAYERS[name]
    bias = rng.integers(-(2**31), 2**31, w_shape[0]).astype(np.int32)
    for x_zero in (0, 128, 255):
        x, w = anything(rng, np.uint8, x_shape), anything(rng, np.int8, w_shape)
        sums = convolved(x, w, x_zero, **geometry)
        check(x, w, sums.astype(np.int32), x_zero_point=x_zero, layout=layout, **geometry)
        wrapped = (sums + columns(bias, sums)).astype(np.int32)
        check(x, w, wrapped, bias=bias, x_zero_point=x_zero, layout=layout, **geometry)


@pytest.mark.parametrize(("x_type", "w_type"), list(itertools.product(BYTES, BYTES)))
@pytest.mark.parametrize("name", ["1x1", "3x3", "3x3 asymmetric", "groups", "depthwise", "one dimension"])
def test_signs_and_zero_points(rng, name, x_type, w_type):
    x_shape, w_shape, geometry = LAYERS[name]
    x, w = anything(rng, x_type, x_shape), anything(rng, w_type, w_shape)
    ends_x, ends_w = np.iinfo(x_type), np.iinfo(w_type)
    for x_zero in (ends_x.min, ends_x.min + 128, ends_x.max):
        for w_zero in (ends_w.min, ends_w.min + 128, ends_w.max, anything(rng, w_type, w_shape[0])):
            expected = convolved(x, w, x_zero, w_zero, **geometry).astype(np.int32)
            check(x, w, expected, x_zero_point=x_zero, w_zero_point=w_zero, **geometry)


@every_tier
@pytest.mark.parametrize(("x_type", "w_type"), list(itertools.product(BYTES, BYTES)))
@pytest.mark.parametrize("name", ["3x3 of 40 channels", "1x1", "depthwise"])
def test_ends_of_the_ranges(name, x_type, w_type):
    """Every product as large as it can be, of one sign or of alternating ones."""
    x_shape, w_shape, geometry = LAYERS[name]
    (x_low, x_high), (w_low, w_high) = ((np.iinfo(t).min, np.iinfo(t).max) for t in (x_type, w_type))
    for of_x, of_w in itertools.product(
        ([x_high], [x_low], [x_low, x_high]), ([w_high], [w_low], [w_high, w_low])
    ):
        x, w = np.resize(of_x, x_shape).astype(x_type), np.resize(of_w, w_shape).astype(w_type)
        for x_zero, w_zero in ((x_low, w_low), (x_high, w_high), (x_low + 128, w_low + 128)):
            expected = convolved(x, w, x_zero, w_zero, **geometry).astype(np.int32)
            check(x, w, expected, x_zero_point=int(x_zero), w_zero_point=int(w_zero), **geometry)


def test_sums_are_modulo_2_to_the_32():
    """More products than an int32 holds wrap around, as they do in qgemm."""
    x, w = np.full((1, 70_000, 1, 1), 255, np.uint8), np.full((2, 70_000, 1, 1), 255, np.uint8)
    expected = np.int64(70_000) * 255 * 255
    assert expected > 2**32
    y = qconv2d(x, w)
    np.testing.assert_array_equal(y.ravel(), np.full(2, expected).astype(np.int32))


def test_no_images_and_no_channels():
    w = np.ones((4, 3, 3, 3), np.int8)
    assert qconv2d(np.ones((0, 3, 5, 5), np.uint8), w).shape == (0, 4, 3, 3)
    assert QConv2d(w, x_scale=1.0, w_scale=1.0)(np.ones((0, 3, 5, 5), np.uint8)).dtype == np.float32


# ---- scales ----------------------------------------------------------------------------------------------


@every_tier
@pytest.mark.parametrize("dtype", BYTES)
@pytest.mark.parametrize("name", ["3x3", "3x3 of 40 channels", "7x7", "groups", "depthwise", "one dimension"])
def test_quantised_results(rng, name, dtype):
    x_shape, w_shape, geometry = LAYERS[name]
    x, w = anything(rng, np.uint8, x_shape), anything(rng, np.int8, w_shape)
    bias = rng.integers(-9999, 9999, w_shape[0]).astype(np.int32)
    sums = convolved(x, w, 100, 3, **geometry)
    sums += columns(bias, sums)
    x_scale, out_scale = np.float32(0.0173), np.float32(4.31)
    info = np.iinfo(dtype)
    for w_scale in (np.float32(0.25), rng.uniform(1e-2, 1, w_shape[0]).astype(np.float32)):
        for zero in (info.min, info.min + 128, info.max):
            expected = quantised(sums, x_scale * w_scale / out_scale, zero, dtype)
            check(
                x, w, expected, bias=bias, x_zero_point=100, w_zero_point=3, x_scale=x_scale,
                w_scale=w_scale, out_scale=out_scale, out_zero_point=int(zero), out_dtype=dtype, **geometry,
            )  # fmt: skip
    assert len(np.unique(expected)) > 20


@pytest.mark.parametrize("name", ["3x3", "groups", "depthwise", "one dimension"])
def test_what_onnx_means(rng, name):
    """ConvInteger and QLinearConv by their definitions; scales of powers of two leave nothing to round."""
    x_shape, w_shape, geometry = LAYERS[name]
    x, w = anything(rng, np.int8, x_shape), anything(rng, np.uint8, w_shape)
    spatial, zeros = len(w_shape) - 2, anything(rng, np.uint8, w_shape[0])
    pads = geometry.get("padding", 0)
    attrs = {
        "pads": pads if isinstance(pads, tuple) else (pads,) * 2 * spatial,
        "strides": [geometry.get("stride", 1)] * spatial,
        "group": geometry.get("groups", 1),
    }
    x_zero, given = np.array(-7, np.int8), {"x_zero_point": -7, "w_zero_point": zeros, **geometry}
    check(x, w, integer_operator("ConvInteger", [x, w, x_zero, zeros], attrs), **given)
    bias = rng.integers(-9999, 9999, w_shape[0]).astype(np.int32)
    x_scale, out_scale = np.float32(0.5), np.float32(64)
    w_scale = np.exp2(-rng.integers(0, 5, w_shape[0])).astype(np.float32)
    inputs = [x, x_scale, x_zero, w, w_scale, zeros, out_scale, np.array(100, np.uint8), bias]
    check(
        x, w, integer_operator("QLinearConv", inputs, attrs), bias=bias, x_scale=x_scale, w_scale=w_scale,
        out_scale=out_scale, out_zero_point=100, **given,
    )  # fmt: skip


def test_ties_go_to_even():
    x, w = np.arange(43, dtype=np.uint8).reshape(1, 1, 1, -1), np.ones((1, 1, 1, 1), np.int8)
    y = qconv2d(x, w, x_zero_point=21, x_scale=1.0, w_scale=0.5, out_scale=1.0, out_zero_point=20)
    np.testing.assert_array_equal(y.ravel(), np.rint(np.arange(-21, 22) / 2) + 20)


@pytest.mark.parametrize("name", ["3x3", "depthwise", "one dimension"])
def test_real_results(rng, name):
    """The sums rounded to float32, times the scales' product in float32, plus a bias of either type."""
    x_shape, w_shape, geometry = LAYERS[name]
    x, w = anything(rng, np.int8, x_shape), anything(rng, np.uint8, w_shape)
    x_scale, w_scale = np.float32(0.037), rng.uniform(1e-3, 1, w_shape[0]).astype(np.float32)
    given = {"x_zero_point": -7, "w_zero_point": 131, "x_scale": x_scale, "w_scale": w_scale, **geometry}
    sums = convolved(x, w, -7, 131, **geometry)
    scale = columns(x_scale * w_scale, sums)
    check(x, w, sums.astype(np.float32) * scale, **given)
    whole = rng.integers(-99, 99, w_shape[0]).astype(np.int32)
    added = (sums + columns(whole, sums)).astype(np.float32)
    check(x, w, added * scale, bias=whole, **given)
    real = rng.standard_normal(w_shape[0]).astype(np.float32)
    check(x, w, sums.astype(np.float32) * scale + columns(real, sums), bias=real, **given)


ACTIVATIONS = {
    "relu": (0, np.inf),
    "relu6": (0, 6),
    ("clamp", -1.25, 2.5): (-1.25, 2.5),
    ("clamp", 3.0): (3, np.inf),
    ("clamp", 1e9, np.inf): (1e9, np.inf),
    ("clamp", 2.0, -2.0): (-2, -2),
}


@every_tier
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", ["3x3", "depthwise"])
def test_activations(rng, name, activation):
    """They clamp the real numbers, which of quantised results are the distances from the zero point."""
    x_shape, w_shape, geometry = LAYERS[name]
    x, w = anything(rng, np.uint8, x_shape), anything(rng, np.int8, w_shape)
    low, high = np.float32(ACTIVATIONS[activation])
    sums = convolved(x, w, 128, **geometry)
    scale, out_scale = np.float32(0.0005), np.float32(0.05)
    given = {"x_zero_point": 128, "x_scale": scale, "w_scale": 1.0, "activation": activation, **geometry}
    real = np.minimum(np.maximum(sums.astype(np.float32) * scale, low), high)
    check(x, w, real, **given)
    for zero, dtype in ((0, np.uint8), (77, np.uint8), (-128, np.int8), (5, np.int8)):
        ends = (float(end) / float(out_scale) for end in (low, high))
        expected = quantised(sums, scale / out_scale, zero, dtype, *ends)
        check(x, w, expected, out_scale=out_scale, out_zero_point=zero, out_dtype=dtype, **given)


# ---- arrays ----------------------------------------------------------------------------------------------


def channels_last_memory(x):
    return np.ascontiguousarray(np.moveaxis(x, 1, -1)).transpose(0, -1, *range(1, x.ndim - 1))


VIEWS = {
    "channels last in memory": channels_last_memory,
    "gaps": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "a corner": lambda x: np.pad(x, 2, constant_values=77)[2:-2, 2:-2, 2:-2, 2:-2],
    "reversed": lambda x: np.ascontiguousarray(x[::-1, ::-1, ::-1, ::-1])[::-1, ::-1, ::-1, ::-1],
    "some channels": lambda x: channels_last_memory(np.concatenate([x, x], 1))[:, : x.shape[1]],
    "Fortran order": np.asfortranarray,
    "one row": lambda x: np.broadcast_to(x[:, :, :1], x.shape),
}


@pytest.mark.parametrize("dtype", BYTES)
@pytest.mark.parametrize("name", ["1x1", "3x3", "groups", "depthwise"])
def test_views(rng, name, dtype):
    x_shape, w_shape, geometry = LAYERS[name]
    x, w = anything(rng, dtype, x_shape), anything(rng, np.int8, w_shape)
    for of_x, of_w in itertools.product(VIEWS.values(), (VIEWS["gaps"], VIEWS["reversed"])):
        expected = convolved(of_x(x), w, **geometry).astype(np.int32)
        check(of_x(x), of_w(w), expected, **geometry)


@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.uint8, np.int8])
@pytest.mark.parametrize("name", ["1x1", "3x3", "3x3 of 40 channels", "depthwise"])
def test_out(rng, name, dtype):
    """Of any strides and in both layouts; what lies between its elements is left alone."""
    x_shape, w_shape, geometry = LAYERS[name]
    x, w = anything(rng, np.uint8, x_shape), anything(rng, np.int8, w_shape)
    scales = {} if dtype == np.int32 else {"x_scale": 0.5, "w_scale": 0.01}
    if np.dtype(dtype).itemsize == 1:
        scales |= {"out_scale": 2.0, "out_dtype": dtype}
    for layout in ("NCHW", "NHWC"):
        sums = convolved(x, w, **geometry)
        if dtype == np.int32:
            expected = sums.astype(np.int32)
        elif dtype == np.float32:
            expected = sums.astype(np.float32) * (np.float32(0.5) * np.float32(0.01))
        else:
            expected = quantised(sums, np.float32(0.5) * np.float32(0.01) / np.float32(2), 0, dtype)
        expected = to_layout(expected, layout)
        for place in (*VIEWS.values(), lambda y: y):
            out = place(np.full(expected.shape, 9, dtype))
            if not out.flags.writeable:
                continue
            whole = out if out.base is None else out.base
            outside = whole.size - out.size
            given = {"layout": layout, **scales, **geometry}
            assert qconv2d(to_layout(x, layout), w, out=out, **given) is out
            np.testing.assert_array_equal(out, expected)
            assert np.count_nonzero(whole == 9) + np.count_nonzero(whole == 77) >= outside
            out[...] = 9
            conv = QConv2d(w, **given)
            assert conv(to_layout(x, layout), out=out) is out
            np.testing.assert_array_equal(out, expected)


@every_tier
@pytest.mark.parametrize("align_end", [True, False])
@pytest.mark.parametrize("name", ["1x1", "3x3", "groups", "depthwise", "multiplier"])
def test_guarded(rng, name, align_end):
    """Every array beside an unmapped page."""
    x_shape, w_shape, geometry = LAYERS[name]
    x, w = anything(rng, np.uint8, x_shape), anything(rng, np.int8, w_shape)
    bias = guarded(np.arange(w_shape[0], dtype=np.int32), align_end=align_end)
    w_scale = guarded(np.ones(w_shape[0], np.float32), align_end=align_end)
    sums = convolved(x, w, **geometry)
    sums += columns(bias, sums)
    for layout, algorithm in itertools.product(("NCHW", "NHWC"), by_every_algorithm(x, w, **geometry)):
        placed, kernel = (guarded(a, align_end=align_end) for a in (to_layout(x, layout), w))
        expected = to_layout(sums, layout)
        out = guarded_empty(expected.shape, np.int32, align_end=align_end)
        given = {"bias": bias, "layout": layout, "algorithm": algorithm, **geometry}
        qconv2d(placed, kernel, out=out, **given)
        np.testing.assert_array_equal(out, expected)
        small = guarded_empty(expected.shape, np.uint8, align_end=align_end)
        qconv2d(placed, kernel, out=small, x_scale=1.0, w_scale=w_scale, out_scale=1.0, **given)
        np.testing.assert_array_equal(small, np.clip(expected, 0, 255))


def test_memory_follows_the_input(rng):
    """A new result has its channels where the input has them."""
    x, w = anything(rng, np.uint8, (1, 8, 6, 6)), anything(rng, np.int8, (4, 8, 3, 3))
    assert qconv2d(x, w).flags.c_contiguous
    assert qconv2d(channels_last_memory(x), w).strides[1] == 4
    assert qconv2d(to_layout(x, "NHWC"), w, layout="NHWC").flags.c_contiguous


@pytest.mark.torch
def test_tensors_of_torch(rng):
    torch = pytest.importorskip("torch")
    x, w = anything(rng, np.uint8, (1, 4, 6, 6)), anything(rng, np.int8, (3, 4, 3, 3))
    y = qconv2d(torch.from_numpy(x), torch.from_numpy(w), bias=torch.arange(3, dtype=torch.int32))
    np.testing.assert_array_equal(y, convolved(x, w) + np.arange(3).reshape(-1, 1, 1))


def test_threads_and_batch_change_nothing(rng):
    for name in ("3x3 of 40 channels", "depthwise", "1x1"):
        x_shape, w_shape, geometry = LAYERS[name]
        x, w = anything(rng, np.uint8, x_shape), anything(rng, np.int8, w_shape)
        expected = convolved(x, w, **geometry)
        for threads in (1, 2, 3):
            np.testing.assert_array_equal(QConv2d(w, threads=threads, **geometry)(x), expected)
        np.testing.assert_array_equal(QConv2d(w, **geometry)(x[1:]), expected[1:])


# ---- anything --------------------------------------------------------------------------------------------


@every_tier
@settings(max_examples=100)
@given(st.data())
def test_random(data):
    draw, size = data.draw, st.integers(1, 9)
    spatial = draw(st.integers(1, 3))
    groups, ic, oc = draw(st.sampled_from((1, 1, 2, 5))), draw(st.integers(1, 20)), draw(st.integers(1, 20))
    kernel = [draw(st.integers(1, 4)) for _ in range(spatial)]
    dilation = tuple(draw(st.integers(1, 2)) for _ in range(spatial))
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    geometry = {
        "stride": tuple(draw(st.integers(1, 3)) for _ in range(spatial)),
        "padding": draw(st.one_of(st.just("same"), st.tuples(*[st.integers(0, 3)] * (2 * spatial)))),
        "dilation": dilation,
        "groups": groups,
    }
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x_type, w_type, out = draw(st.sampled_from(BYTES)), draw(st.sampled_from(BYTES)), draw(
        st.sampled_from((np.int32, np.float32, np.uint8, np.int8))
    )  # fmt: skip
    x = anything(rng, x_type, (draw(st.integers(1, 2)), groups * ic, *(e + draw(size) for e in extent)))
    w = anything(rng, w_type, (groups * oc, ic, *kernel))
    x_zero, w_zero = (int(anything(rng, t, ())) for t in (x_type, w_type))
    sums = convolved(x, w, x_zero, w_zero, **geometry)
    given: dict = {"x_zero_point": x_zero, "w_zero_point": w_zero, **geometry}
    if draw(st.booleans()):
        given["bias"] = rng.integers(-(2**20), 2**20, groups * oc).astype(np.int32)
        sums += columns(given["bias"], sums)
    x_scale, w_scale = np.float32(0.03), rng.uniform(0.01, 1, groups * oc).astype(np.float32)
    expected = sums.astype(np.int32)
    if out == np.float32:
        expected = sums.astype(np.float32) * columns(x_scale * w_scale, sums)
    elif out != np.int32:
        given |= {"out_scale": np.float32(1.7), "out_zero_point": 3, "out_dtype": out}
        expected = quantised(sums, x_scale * w_scale / np.float32(1.7), 3, out)
    if out != np.int32:
        given |= {"x_scale": x_scale, "w_scale": w_scale}
    check(x, w, expected, layout=draw(st.sampled_from(("NCHW", "NHWC"))), **given)
