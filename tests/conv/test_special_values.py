"""NaN and infinity come out of a convolution where its sum of products has them, and nowhere else.

With three exceptions, which docs/numbers.md states: Winograd's tiles, non-finite weights over padding, and
pixels that meet weights of zero in a sparse product.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import fastconv
from fastconv.testing import reference, tolerance
from fastconv.testing.winograd import winograd_conv

pytestmark = [
    pytest.mark.usefixtures("tier"),
    pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning"),  # of numpy, on NaN and infinity
]

NON_FINITE = np.float32([np.nan, np.inf, -np.inf, np.inf, -np.inf])
PROBLEMS = {
    "1x1": {"x_shape": (2, 19, 7, 9), "w_shape": (33, 19, 1, 1)},
    "3x3": {"x_shape": (2, 6, 13, 15), "w_shape": (18, 6, 3, 3), "padding": 1},
    "5x5": {"x_shape": (1, 5, 12, 14), "w_shape": (9, 5, 5, 5), "padding": 2},
    "stride": {"x_shape": (1, 3, 15, 16), "w_shape": (20, 3, 7, 7), "padding": 3, "stride": 2},
    "dilation": {"x_shape": (1, 5, 14, 15), "w_shape": (17, 5, 3, 3), "padding": (2, 3), "dilation": 2},
    "depthwise": {"x_shape": (1, 35, 12, 17), "w_shape": (35, 1, 3, 3), "padding": 1, "groups": 35},
    "depthwise stride": {
        "x_shape": (1, 16, 9, 60), "w_shape": (16, 1, 3, 3), "padding": 1, "stride": 2, "groups": 16
    },
    "depthwise 7x7": {"x_shape": (1, 9, 11, 12), "w_shape": (18, 1, 7, 7), "padding": 3, "groups": 9},
    "groups": {"x_shape": (1, 20, 9, 10), "w_shape": (20, 4, 3, 3), "padding": 1, "groups": 5},
    "wide groups": {"x_shape": (1, 32, 9, 10), "w_shape": (32, 16, 3, 3), "padding": 1, "groups": 2},
}  # fmt: skip


def planted(a, seed=0):
    """Copy an array and put the non-finite values somewhere into it."""
    a = a.copy()
    a.reshape(-1)[np.random.default_rng(seed).choice(a.size, len(NON_FINITE), replace=False)] = NON_FINITE
    return a


@pytest.fixture(params=PROBLEMS)
def p(request, problem):
    return problem(**PROBLEMS[request.param], residual=True)


def results(p):
    for layout in ("NCHW", "NHWC"):
        for name, y in p.results(layout=layout).items():
            yield p.algorithm(name), y


def check_sparse(special, finite, y, name):
    """A product of zero and what is not finite may be left out, all others may not."""
    expected = special.expected
    left_out = np.isfinite(y) & ~np.isfinite(expected)
    pixels = (~np.isfinite(special.x)).astype(np.float32)
    reached = reference.conv(pixels, (special.w != 0).astype(np.float32), **special.geometry) > 0
    hidden = (y == 0) if special.activation else np.zeros(y.shape, bool)  # a clamped infinity
    assert not (left_out & reached & ~hidden).any(), name
    without = replace(finite, x=np.where(pixels, 0, special.x)).expected.astype(np.float32)
    same = np.where(left_out & ~hidden, without, expected.astype(np.float32))
    kind = left_out & hidden | reached  # there 0 * inf may have made NaN of what is infinite
    np.testing.assert_array_equal(y[~kind], same[~kind], err_msg=name)
    assert not np.isfinite(y[reached & ~hidden]).any(), name


@pytest.mark.parametrize("activation", [None, "relu"])
def test_pixels(p, activation):
    for seed in range(3):
        special = replace(p, x=planted(p.x, seed), activation=activation)
        finite = replace(p, activation=activation)
        for name, y in results(special):
            if name.startswith("sparse"):
                check_sparse(special, finite, y, name)
                continue
            if not name.startswith("winograd"):
                np.testing.assert_array_equal(y, special.expected.astype(np.float32), err_msg=name)
                continue
            # At least where the sum has them, at most in the tiles that read the pixel; a clamp may
            # hide an infinity of the sum.
            tiles = winograd_conv(special.x, p.w, m=int(name[-1]), **p.geometry)
            reached = ~np.isfinite(tiles)
            lost = ~np.isfinite(special.acc) & np.isfinite(y) & (y != 0 if activation else True)
            assert not lost.any(), name
            assert np.isnan(y[np.isnan(special.expected)]).all(), name
            bound = np.broadcast_to(finite.bound(name), y.shape)
            tolerance.assert_within(y[~reached], finite.expected[~reached], bound[~reached], name)


def test_bias_and_residual(p):
    special = replace(p, bias=planted(p.bias), residual=planted(p.residual))
    for name, y in results(special):
        expected = special.expected
        finite = np.isfinite(expected)
        np.testing.assert_array_equal(y[~finite], expected[~finite], err_msg=name)
        bound = 0.0 if p.integral(name) else p.bound(name)[finite]
        tolerance.assert_within(y[finite], expected[finite], bound, name)


def test_weights(p):
    """Over padding a weight counts as multiplied by zero, or is left out: as the algorithm has it."""
    special = replace(p, w=planted(p.w))
    # What a window does not have of the image is NaN here, and 0 in the problem.
    outside = reference.conv(np.ones_like(p.x), np.ones_like(p.w), **p.geometry) < p.w[0].size
    inside = np.isfinite(special.expected) | ~outside
    for name, y in results(special):
        if name.startswith("winograd"):  # the weights' transform sums them: the whole channel is lost
            channels = ~np.isfinite(special.w).all(axis=(1, 2, 3))
            assert not np.isfinite(y[:, channels]).any(), name
            continue
        np.testing.assert_array_equal(y[inside], special.expected[inside].astype(np.float32), err_msg=name)
        assert not np.isfinite(y[~outside & ~np.isfinite(special.expected)]).any(), name


def test_transposed(problem):
    p = problem((1, 5, 6, 7), (5, 9, 3, 3))
    x, w = planted(p.x), p.w.astype(np.float32)
    for stride in (1, 2):
        y = fastconv.conv_transpose2d(x, w, stride=stride, padding=1)
        expected = reference.conv_transpose(x, w, stride=stride, padding=1)
        np.testing.assert_array_equal(y, expected.astype(np.float32))


@pytest.mark.parametrize("scale", [2.0**-130, 2.0**-140])
def test_denormal_sums_are_not_flushed_to_zero(p, scale):
    """Integers times a power of two: exact as long as every sum is a multiple of 2^-149."""
    tiny = replace(p, x=p.x * np.float32(scale), bias=None, residual=None)
    assert (np.abs(tiny.expected) < 2.0**-126).any()
    for name, y in results(tiny):
        if p.integral(name):
            np.testing.assert_array_equal(y, tiny.expected.astype(np.float32), err_msg=name)
