"""Convolutions of signs: the SignConv that a pass writes for a Conv that reads them."""

from __future__ import annotations

import math

import numpy as np

from fastconv.graph.context import Context
from fastconv.graph.ir import NO_ACTIVATION, Activation
from fastconv.graph.ops.conv import conv_parameters, convolution_and_sum, pads_of
from fastconv.graph.registry import FASTCONV_DOMAIN, op
from fastconv.graph.value import F32, Array, Ints, Value


@op("SignConv", FASTCONV_DOMAIN)
def sign_conv(
    ctx: Context,
    x: Value,
    w: Value,
    b: Value | None = None,
    residual: Value | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
    of_zero: int = 0,
    of_nan: int | None = None,
    activation: Activation = NO_ACTIVATION,
) -> Value:
    """Conv of the signs of x: -1 and 1, and those given of 0 and NaN; without one NaN stays.

    Each filter's weights have one magnitude.
    """
    parameters = conv_parameters(w, auto_pad, dilations, group, kernel_shape, strides)
    padding = pads_of(auto_pad, pads, parameters["spatial"])
    zero, nan = float(of_zero), math.nan if of_nan is None else float(of_nan)
    parameters["signs"] = zero, nan
    if x.dtype != F32:

        def function(a: Array) -> Array:
            known = np.where(a == 0, zero, np.where(a < 0, -1, 1))
            return np.where(np.isnan(a), nan, known).astype(F32)

        x = ctx.call(function, [x], x.shape, F32)
        parameters["signs"] = 0.0, math.nan  # of what the function gives
    return convolution_and_sum(ctx, x, w, b, residual, parameters, padding, activation)
