"""Convolutions of 8-bit integers against sums in int64, by every algorithm that accepts, on every tier."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import fastconv
from fastconv import _core
from fastconv.errors import ArgumentError
from fastconv.testing.guard import guarded_empty
from fastconv.testing.integers import convolve

GEOMETRIES = {
    # n, ic, oc, size, kernel, strides, dilations, pads, group
    "1x1": (2, 16, 33, (7, 5), (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 1),
    "1x1 strided": (1, 5, 3, (9, 8), (1, 1), (2, 2), (1, 1), (0, 0, 0, 0), 1),
    "3x3": (1, 8, 20, (9, 11), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 1),
    "3x3 one channel": (2, 1, 4, (6, 6), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 1),
    "3x3 three channels": (1, 3, 16, (13, 14), (3, 3), (2, 2), (1, 1), (0, 0, 1, 1), 1),
    "3x3 130 channels": (1, 130, 17, (5, 5), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 1),
    "3x3 without padding": (1, 17, 16, (10, 6), (3, 3), (1, 1), (1, 1), (0, 0, 0, 0), 1),
    "3x3 far beyond": (1, 4, 4, (5, 7), (3, 3), (1, 1), (1, 1), (2, 2, 2, 2), 1),
    "7x7": (1, 3, 24, (21, 20), (7, 7), (2, 2), (1, 1), (3, 3, 3, 3), 1),
    "5x5 dilated": (1, 6, 7, (17, 16), (5, 5), (1, 1), (2, 3), (4, 6, 4, 6), 1),
    "one pixel": (3, 9, 8, (1, 1), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 1),
    "groups": (1, 12, 18, (8, 7), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 3),
    "depthwise": (2, 17, 17, (9, 10), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 17),
    "depthwise strided": (1, 32, 32, (11, 12), (3, 3), (2, 2), (1, 1), (1, 1, 0, 0), 32),
    "depthwise 5x5": (1, 8, 8, (9, 9), (5, 5), (1, 1), (1, 1), (2, 2, 2, 2), 8),
    "depthwise 5x5 strided": (1, 40, 40, (14, 15), (5, 5), (2, 2), (1, 1), (2, 2, 2, 2), 40),
    "depthwise 7x7": (1, 24, 24, (12, 9), (7, 7), (1, 1), (1, 1), (3, 3, 3, 3), 24),
    "depthwise dilated": (1, 5, 5, (12, 12), (3, 3), (1, 1), (2, 2), (2, 2, 2, 2), 5),
    "depthwise one channel": (2, 1, 1, (9, 8), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 1),
    "depthwise one pixel": (2, 3, 3, (1, 1), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 3),
    "depthwise beyond the image": (1, 8, 8, (2, 3), (7, 7), (1, 1), (1, 1), (3, 3, 3, 3), 8),
    "depthwise asymmetric": (1, 17, 17, (7, 33), (3, 3), (1, 2), (1, 1), (0, 2, 1, 0), 17),
    "depthwise 144 channels": (1, 144, 144, (9, 20), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 144),
    "depthwise 7x7 strided": (1, 32, 32, (15, 18), (7, 7), (2, 2), (1, 1), (3, 2, 3, 3), 32),
    "depthwise rows far apart": (1, 20, 20, (16, 9), (3, 3), (3, 1), (4, 1), (4, 1, 4, 1), 20),
    "depthwise columns far apart": (1, 12, 12, (4, 9), (3, 3), (1, 1), (1, 12), (1, 14, 1, 14), 12),
    "depthwise dilated and strided": (1, 9, 9, (13, 14), (3, 5), (2, 3), (2, 2), (2, 4, 2, 4), 9),
    "depthwise even": (2, 16, 16, (8, 9), (4, 2), (1, 1), (1, 1), (1, 0, 2, 1), 16),
    "depthwise 9x9": (1, 24, 24, (11, 10), (9, 9), (1, 1), (1, 1), (4, 4, 4, 4), 24),
    "depthwise 1x1": (1, 10, 10, (5, 6), (1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 10),
    "depthwise in bands": (1, 16, 16, (61, 30), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 16),
    "depthwise in pieces of rows": (1, 64, 64, (4, 290), (7, 7), (1, 1), (1, 1), (3, 3, 3, 3), 64),
    "depthwise 1-d": (2, 8, 8, (19,), (5,), (1,), (1,), (2, 2), 8),
    "depthwise 3-d": (1, 4, 4, (3, 5, 6), (1, 3, 3), (1, 1, 1), (1, 1, 1), (0, 1, 1, 0, 1, 1), 4),
    "multiplier": (1, 6, 12, (7, 8), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 6),
    "multiplier of 3": (1, 17, 51, (7, 8), (5, 5), (2, 2), (1, 1), (2, 2, 2, 2), 17),
    "1-d": (2, 8, 5, (19,), (4,), (3,), (1,), (2, 1), 1),
    "3-d": (1, 4, 6, (4, 5, 6), (2, 3, 2), (1, 2, 1), (1, 1, 1), (1, 1, 0, 0, 1, 1), 1),
    "batch": (5, 8, 8, (4, 4), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 1),
}


def filled(rng, style, dtype, shape):
    """Return integers of a style: anything, or the ends of their range in patterns that add up."""
    info = np.iinfo(dtype)
    if style == "any":
        return rng.integers(info.min, info.max + 1, shape).astype(dtype)
    ends = {"high": (info.max, info.max), "low": (info.min, info.min), "alternating": (info.max, info.min)}
    flat = np.resize(np.array(ends[style]), math.prod(shape))
    return flat.astype(dtype).reshape(shape)


def planned(w, geometry, *, x_dtype=np.uint8, w_zero=(0,), out=np.int32, algorithm="auto", **given):
    spatial = len(geometry[3])
    options = {"bias": None, "x_zero": 0, "scale": None, "shift": None, "low": 0.0, "high": 0.0, "zero": 0}
    options |= given
    return _core.IntegerConv(
        w,
        options.pop("bias"),
        spatial=spatial,
        stride=geometry[5],
        padding_lo=geometry[7][:spatial],
        padding_hi=geometry[7][spatial:],
        dilation=geometry[6],
        groups=geometry[8],
        auto_pad="explicit",
        transposed=False,
        output_padding=[0] * spatial,
        w_zero=np.array(w_zero, np.int32),
        x_signed=x_dtype == np.int8,
        out=np.dtype(out),
        algorithm=algorithm,
        **options,
    )


def expected_sums(x, w, geometry, x_zero=0, w_zero=(0,)):
    spatial = len(geometry[3])
    zeros = np.array(w_zero, np.int64)
    wide = w.astype(np.int64) - (zeros.reshape(-1, *[1] * (spatial + 1)) if zeros.size > 1 else zeros[0])
    attrs = dict(zip(("strides", "dilations", "pads", "group"), geometry[5:], strict=True))
    return convolve(x.astype(np.int64) - x_zero, wide, attrs)


def arrays(rng, name, x_style="any", w_style="any", x_dtype=np.uint8, w_dtype=np.int8):
    n, ic, oc, size, kernel, *_, group = GEOMETRIES[name]
    x = filled(rng, x_style, x_dtype, (n, ic, *size))
    return x, filled(rng, w_style, w_dtype, (oc, ic // group, *kernel))


def channels_last(x):
    return np.ascontiguousarray(np.moveaxis(x, 1, -1)).transpose(0, -1, *range(1, x.ndim - 1))


def accepted(w, geometry, **given):
    """Return the plans of all algorithms that accept, by name."""
    plans = {}
    for name in _core.integer_algorithms():
        try:
            plans[name] = planned(w, geometry, algorithm=name, **given)
        except ArgumentError as error:
            assert "does not accept" in str(error)  # noqa: PT017
    return plans


@pytest.mark.usefixtures("tier")
@pytest.mark.parametrize("name", GEOMETRIES)
def test_sums(rng, name):
    geometry = GEOMETRIES[name]
    x, w = arrays(rng, name)
    bias = rng.integers(-(2**31), 2**31, len(w)).astype(np.int32)
    for x_zero in (0, 128, 255):
        sums = expected_sums(x, w, geometry, x_zero) + bias.reshape(-1, *[1] * len(geometry[3]))
        for algorithm, plan in accepted(w, geometry, x_zero=x_zero, bias=bias).items():
            for laid_out in (x, channels_last(x)):
                y = np.full(sums.shape, 77, np.int32)
                y = channels_last(y) if laid_out is not x else y
                plan.run(laid_out, y)
                np.testing.assert_array_equal(y, sums.astype(np.int32), err_msg=algorithm)


@pytest.mark.usefixtures("tier")
@pytest.mark.parametrize(
    "name",
    [
        *("3x3", "3x3 130 channels", "1x1", "7x7", "depthwise", "depthwise 5x5"),
        *("depthwise 144 channels", "depthwise 7x7 strided", "multiplier of 3"),
    ],
)
def test_sums_at_the_ends_of_the_ranges(rng, name):
    geometry = GEOMETRIES[name]
    styles = ("high", "low", "alternating")
    for x_style, w_style, x_zero in itertools.product(styles, styles, (0, 128, 255)):
        x, w = arrays(rng, name, x_style, w_style)
        sums = expected_sums(x, w, geometry, x_zero).astype(np.int32)
        for algorithm, plan in accepted(w, geometry, x_zero=x_zero).items():
            y = np.empty(sums.shape, np.int32)
            plan.run(channels_last(x), y)
            np.testing.assert_array_equal(y, sums, err_msg=f"{algorithm}, {x_style} by {w_style}")


@pytest.mark.usefixtures("tier")
@pytest.mark.parametrize(
    "name", ["3x3", "3x3 three channels", "groups", "depthwise", "depthwise 5x5 strided", "1-d"]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.float32])
def test_what_becomes_of_the_sums(rng, name, dtype):
    """The f32 arithmetic of the ONNX text: sums * scale, rounded half to even, plus the zero point."""
    geometry = GEOMETRIES[name]
    x, w = arrays(rng, name)
    oc, spatial = len(w), len(geometry[3])
    bias = rng.integers(-9999, 9999, oc).astype(np.int32)
    scale, shift = rng.uniform(1e-4, 1e-2, oc).astype(np.float32), rng.normal(size=oc).astype(np.float32)
    column = (-1, *[1] * spatial)
    sums = (expected_sums(x, w, geometry, 100) + bias.reshape(column)).astype(np.int32)
    y = sums.astype(np.float32) * scale.reshape(column)
    given = {"x_zero": 100, "bias": bias, "scale": scale, "out": dtype}
    if dtype == np.float32:
        given |= {"shift": shift, "low": -5.0, "high": 6.0}
        y = np.clip(y + shift.reshape(column), np.float32(-5), np.float32(6))
    else:
        info, zero = np.iinfo(dtype), 7
        given |= {"low": float(info.min - zero), "high": float(info.max - zero), "zero": zero}
        y = (np.clip(np.rint(y), info.min - zero, info.max - zero) + zero).astype(dtype)
    for algorithm, plan in accepted(w, geometry, **given).items():
        found = channels_last(np.zeros(y.shape, dtype))
        plan.run(channels_last(x), found)
        np.testing.assert_array_equal(found, y, err_msg=algorithm)


@pytest.mark.parametrize(("x_dtype", "w_dtype"), list(itertools.product([np.uint8, np.int8], repeat=2)))
@pytest.mark.parametrize("name", ["3x3", "groups", "depthwise", "7x7"])
def test_signs_and_zero_points(rng, name, x_dtype, w_dtype):
    geometry = GEOMETRIES[name]
    x, w = arrays(rng, name, x_dtype=x_dtype, w_dtype=w_dtype)
    x_zero = int(rng.integers(np.iinfo(x_dtype).min, np.iinfo(x_dtype).max + 1))
    for w_zero in ((0,), (3,), rng.integers(np.iinfo(w_dtype).min, np.iinfo(w_dtype).max + 1, len(w))):
        sums = expected_sums(x, w, geometry, x_zero, w_zero).astype(np.int32)
        for algorithm, plan in accepted(w, geometry, x_dtype=x_dtype, w_zero=w_zero, x_zero=x_zero).items():
            y = np.empty(sums.shape, np.int32)
            plan.run(x, y)
            np.testing.assert_array_equal(y, sums, err_msg=algorithm)
        for algorithm, plan in accepted(w, geometry, x_dtype=x_dtype, w_zero=w_zero, x_zero=None).items():
            y = np.empty(sums.shape, np.int32)
            plan.run(x, y, x_zero)
            np.testing.assert_array_equal(y, sums, err_msg=f"{algorithm}, zero point of the run")


@pytest.mark.parametrize("name", GEOMETRIES)
def test_threads_and_batch_change_nothing(rng, name):
    geometry = GEOMETRIES[name]
    x, w = arrays(rng, name)
    for plan in accepted(w, geometry, x_zero=9).values():
        y = np.empty(plan.out_shape(x.shape), np.int32)
        for threads in (1, 2, 3):
            with fastconv.threads(threads):
                again = np.empty_like(y)
                plan.run(x, y if threads == 1 else again)
                assert threads == 1 or np.array_equal(y, again)
        alone = np.empty((1, *y.shape[1:]), np.int32)
        plan.run(x[-1:], alone)
        np.testing.assert_array_equal(alone[0], y[-1])


@pytest.mark.usefixtures("tier")
@pytest.mark.parametrize("name", GEOMETRIES)
def test_reads_and_writes_nothing_else(rng, name):
    """x and y end, and begin, at an unmapped page."""
    geometry = GEOMETRIES[name]
    x, w = arrays(rng, name)
    sums = expected_sums(x, w, geometry).astype(np.int32)
    last = (0, *range(2, x.ndim), 1)
    back = (0, x.ndim - 1, *range(1, x.ndim - 1))
    for align_end in (True, False):
        inside = guarded_empty(x.transpose(last).shape, np.uint8, align_end=align_end)
        inside[...] = x.transpose(last)
        for algorithm, plan in accepted(w, geometry).items():
            y = guarded_empty(sums.transpose(last).shape, np.int32, align_end=align_end)
            plan.run(inside.transpose(back), y.transpose(back))
            np.testing.assert_array_equal(y.transpose(back), sums, err_msg=algorithm)


def test_transposed(rng):
    x = rng.integers(0, 256, (2, 6, 5, 4)).astype(np.uint8)
    w = rng.integers(-128, 128, (6, 5, 3, 3)).astype(np.int8)
    for stride, w_zero in ((1, 0), (2, 0), (4, 3)):
        plan = _core.IntegerConv(
            w, None, spatial=2, stride=[stride] * 2, padding_lo=[1, 0], padding_hi=[0, 1], dilation=[1, 1],
            groups=1, auto_pad="explicit", transposed=True, output_padding=[0, 0],
            w_zero=np.array([w_zero], np.int32), x_signed=False, x_zero=77, out=np.dtype(np.int32),
            scale=None, shift=None, low=0.0, high=0.0, zero=0, algorithm="auto",
        )  # fmt: skip
        y = np.empty(plan.out_shape(x.shape), np.int32)
        plan.run(x, y)
        full = np.zeros((2, 5, 4 * stride + 3, 3 * stride + 3), np.int64)
        wide, kernel = x.astype(np.int64) - 77, w.astype(np.int64) - w_zero
        for i, j, r, c in itertools.product(range(5), range(4), range(3), range(3)):
            full[:, :, i * stride + r, j * stride + c] += wide[:, :, i, j] @ kernel[:, :, r, c]
        np.testing.assert_array_equal(y, full[:, :, 1 : 1 + y.shape[2], : y.shape[3]])


def test_depthwise_is_chosen_where_it_accepts(rng):
    for name, geometry in GEOMETRIES.items():
        _, ic, oc, _, kernel, *_, group = geometry
        accepts = ic == group and (group > 1 or oc == 1) and (len(kernel) < 3 or kernel[0] == 1)
        x, w = arrays(rng, name)
        plan = planned(w, geometry)
        assert (plan.algorithm(x.shape) == "depthwise") == accepts, name
    with pytest.raises(ArgumentError, match="not depthwise: 12 and 18 channels in 3 group"):
        planned(arrays(rng, "groups")[1], GEOMETRIES["groups"], algorithm="depthwise")
    deep = (1, 4, 4, (3, 5, 6), (3, 3, 3), (1, 1, 1), (1, 1, 1), (0, 0, 0, 0, 0, 0), 4)
    with pytest.raises(ArgumentError, match="more than one slice: a kernel 3 deep"):
        planned(np.zeros((4, 1, 3, 3, 3), np.int8), deep, algorithm="depthwise")


def test_refusals(rng):
    geometry = GEOMETRIES["3x3"]
    x, w = arrays(rng, "3x3")
    plan = planned(w, geometry)
    y = np.empty(plan.out_shape(x.shape), np.int32)
    with pytest.raises(ArgumentError, match="x: expected uint8 values, got int8"):
        plan.run(x.astype(np.int8), y)
    with pytest.raises(ArgumentError, match="out: expected a writable array of the plan's type, got float32"):
        plan.run(x, y.astype(np.float32))
    with pytest.raises(ArgumentError, match="x_zero_point: expected it of the plan or of the run, got both"):
        plan.run(x, y, 3)
    with pytest.raises(ArgumentError, match="x_zero_point: expected a number of x's type, got 256"):
        planned(w, geometry, x_zero=256)
    with pytest.raises(ArgumentError, match="algorithm: expected 'auto' or"):
        planned(w, geometry, algorithm="fast")
    with pytest.raises(ArgumentError, match="scale: expected one for each output channel"):
        planned(w, geometry, out=np.uint8)
