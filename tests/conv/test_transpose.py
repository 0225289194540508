"""Transposed convolution against the reference, which scatters."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv
from fastconv.testing import reference, tolerance

every_tier = pytest.mark.usefixtures("tier")


def arrays(x_shape, w_shape, groups, *, integers=True, seed=0):
    rng = np.random.default_rng(seed)
    shapes = (x_shape, w_shape, (w_shape[1] * groups,))
    draw = (lambda s: rng.integers(-4, 5, s)) if integers else rng.standard_normal
    return [draw(shape).astype(np.float32) for shape in shapes]


def check(x, w, bias, *, layout="NCHW", activation=None, **geometry):
    given_x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if layout == "NHWC" else x
    y = fastconv.conv_transpose2d(given_x, w, bias, layout=layout, activation=activation, **geometry)
    y = y.transpose(0, 3, 1, 2) if layout == "NHWC" else y
    acc = reference.conv_transpose(x, w, bias, **geometry)
    bound = 0.0
    if not (x == np.rint(x)).all():
        k = w.shape[0] // geometry.get("groups", 1) * math.prod(w.shape[2:])
        magnitude = reference.conv_transpose_magnitude(x, w, bias, **geometry)
        bound = tolerance.activation_bound(tolerance.sum_bound(magnitude, k), acc, activation)
    tolerance.assert_within(
        y, reference.epilogue(acc, None, activation), bound, f"{x.shape} {w.shape} {geometry}"
    )


@st.composite
def transposed(draw):
    groups = draw(st.sampled_from((1, 1, 2, 3, 8)))
    ic, oc = groups * draw(st.integers(1, 12)), draw(st.integers(1, 20))
    kernel = [draw(st.integers(1, 5)) for _ in range(2)]
    stride = [draw(st.integers(1, 3)) for _ in range(2)]
    dilation = [draw(st.integers(1, 3)) for _ in range(2)]
    extra = [draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)]
    size = [draw(st.integers(1, 7)) for _ in range(2)]
    full = [
        (i - 1) * s + d * (k - 1) + 1 + e
        for i, s, d, k, e in zip(size, stride, dilation, kernel, extra, strict=True)
    ]
    padding = [draw(st.integers(0, min(3, (f - 1) // 2))) for f in full]
    shapes = (draw(st.integers(1, 2)), ic, *size), (ic, oc, *kernel)
    geometry = {
        "stride": tuple(stride),
        "padding": tuple(padding),
        "output_padding": tuple(extra),
        "dilation": tuple(dilation),
        "groups": groups,
    }
    return *shapes, geometry, draw(st.integers(0, 2**32 - 1))


@settings(max_examples=120, derandomize=True)
@given(transposed(), st.sampled_from(("NCHW", "NHWC")), st.sampled_from((None, "relu", "silu")))
def test_random_transposed_convolutions(arguments, layout, activation):
    x_shape, w_shape, geometry, seed = arguments
    data = arrays(x_shape, w_shape, geometry["groups"], integers=False, seed=seed)
    check(*data, layout=layout, activation=activation, **geometry)


@every_tier
@settings(max_examples=60, derandomize=True)
@given(transposed())
def test_random_transposed_convolutions_are_exact_on_integers(arguments):
    x_shape, w_shape, geometry, seed = arguments
    check(*arrays(x_shape, w_shape, geometry["groups"], seed=seed), **geometry)


@pytest.mark.torch
@settings(max_examples=100, derandomize=True)
@given(transposed())
def test_random_transposed_convolutions_agree_with_torch_in_float64(torch, arguments):
    x_shape, w_shape, geometry, seed = arguments
    data = arrays(x_shape, w_shape, geometry["groups"], seed=seed)
    expected = torch.nn.functional.conv_transpose2d(
        *(torch.from_numpy(a.astype(np.float64)) for a in data), **geometry
    )
    np.testing.assert_array_equal(fastconv.conv_transpose2d(*data, **geometry), expected.numpy())


@every_tier
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_upsampling(k, stride, groups):
    for padding in range(min(2, k)):
        for output_padding in range(stride):
            check(
                *arrays((2, 6, 4, 5), (6, 18 // groups, k, k), groups),
                stride=stride,
                padding=padding,
                output_padding=output_padding,
                groups=groups,
            )


def test_asymmetric_padding_crops_each_side():
    data = arrays((1, 3, 4, 5), (3, 7, 3, 3), 1)
    check(*data, stride=2, padding=(1, 0, 2, 1))
    check(*data, stride=2, padding=(0, 2, 0, 0), output_padding=1)


def test_it_is_the_transpose():
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 4, (1, 4, 9, 8)).astype(np.float32)
    w = rng.integers(-3, 4, (6, 4, 3, 2)).astype(np.float32)
    y = fastconv.conv2d(x, w, stride=2, padding=1)
    v = rng.integers(-3, 4, y.shape).astype(np.float32)
    back = fastconv.conv_transpose2d(v, w, stride=2, padding=1, output_padding=(0, 1))
    back = back[:, :, : x.shape[2], : x.shape[3]]
    missing = [(0, a - b) for a, b in zip(x.shape, back.shape, strict=True)]
    assert (y * v).sum() == (x * np.pad(back, missing)).sum()


@every_tier
def test_residual_batch_and_out():
    x, w, bias = arrays((3, 5, 4, 6), (5, 9, 3, 3), 1)
    expected = reference.conv_transpose(x, w, bias, stride=2)
    residual = np.ascontiguousarray(expected[..., ::-1], np.float32)
    out = np.full((*expected.shape[:3], 2 * expected.shape[3]), np.nan, np.float32)[..., ::2]
    y = fastconv.conv_transpose2d(x, w, bias, stride=2, residual=residual, activation="relu", out=out)
    assert y is out
    np.testing.assert_array_equal(y, np.maximum(expected + residual, 0))
    assert fastconv.conv_transpose2d(x[:0], w, stride=2).shape == (0, *expected.shape[1:])
