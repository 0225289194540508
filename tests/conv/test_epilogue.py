"""What follows the sum: bias, residual and activation, in every combination, on every kernel that stores."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import fastconv
from fastconv.testing import reference

every_tier = pytest.mark.usefixtures("tier")

ACTIVATIONS = [
    None,
    *("relu", "relu6", "leaky_relu", "sigmoid", "silu", "hardswish", "hardsigmoid", "gelu", "tanh"),
    *("gelu_tanh", "mish"),
    *(("leaky_relu", 0.3), ("hardsigmoid", 0.2, 0.4), ("clamp", -2.0, 3.5), ("clamp", 0.0, math.inf)),
]
KERNELS = {  # enough output channels for a full tile, half a tile and a tail
    "dense": {"x_shape": (1, 5, 6, 7), "w_shape": (53, 5, 3, 3), "padding": 1},
    "pointwise": {"x_shape": (2, 9, 4, 5), "w_shape": (19, 9, 1, 1)},
    "depthwise": {"x_shape": (1, 21, 6, 7), "w_shape": (21, 1, 3, 3), "padding": 1, "groups": 21},
    "grouped": {"x_shape": (1, 20, 6, 7), "w_shape": (20, 4, 3, 3), "padding": 1, "groups": 5},
}


@every_tier
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("kernel", KERNELS)
def test_every_combination(problem, kernel, activation):
    for bias in (False, True):
        for residual in (False, True):
            p = problem(
                **KERNELS[kernel], bias=bias, residual=residual, activation=activation, integers=False
            )
            p.check(layout="NHWC")
            p.check(layout="NCHW", algorithm="auto")


def test_bias_and_residual_of_any_strides(problem):
    p = problem((2, 3, 5, 6), (7, 3, 3, 3), padding=1, residual=True)
    bias = np.repeat(p.bias, 3)[::3]
    backwards = np.ascontiguousarray(p.residual[..., ::-1])[..., ::-1]
    broadcast = np.broadcast_to(p.residual[:1, :, :1], p.residual.shape)
    for residual in (backwards, broadcast):
        y = fastconv.conv2d(p.x, p.w, bias, padding=1, residual=residual)
        replace(p, residual=residual).assert_right(y)


def test_activations_of_extreme_sums():
    x = np.array([[[[-1e30, -100, -1e-30, 0, 1e-30, 100, 1e30, -np.inf, np.inf]]]], np.float32)
    w = np.ones((1, 1, 1, 1), np.float32)
    for activation in ("relu", "relu6", "leaky_relu", "sigmoid", "hardsigmoid", "tanh"):
        y = fastconv.conv2d(x, w, activation=activation)
        np.testing.assert_allclose(y, reference.activate(x, activation), rtol=1e-6, atol=1e-37)


@every_tier
@pytest.mark.parametrize("activation", ["relu", "relu6", "leaky_relu", "sigmoid", "silu", "gelu", "tanh"])
def test_nan_stays_nan(activation):
    x = np.full((1, 3, 2, 9), np.nan, np.float32)
    y = fastconv.conv2d(x, np.ones((9, 3, 1, 1), np.float32), activation=activation)
    assert np.isnan(y).all()
