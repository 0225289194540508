"""Products of signs: what a pass writes for a Conv, a Gemm or a MatMul that reads them."""

from __future__ import annotations

import math

import numpy as np

from fastconv.errors import ShapeError
from fastconv.graph.context import Context, ValueNeeded
from fastconv.graph.ir import NO_ACTIVATION, Activation
from fastconv.graph.ops.conv import conv_parameters, convolution_and_sum, pads_of
from fastconv.graph.ops.linear import fully_connected
from fastconv.graph.registry import FASTCONV_DOMAIN, op
from fastconv.graph.value import F32, Array, Ints, Tensor, Value


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
    x, parameters["signs"] = _signed(ctx, x, of_zero, of_nan)
    return convolution_and_sum(ctx, x, w, b, residual, parameters, padding, activation)


@op("SignGemm", FASTCONV_DOMAIN)
@op("SignMatMul", FASTCONV_DOMAIN)
def sign_matmul(
    ctx: Context,
    a: Value,
    b: Value,
    bias: Value | None = None,
    *,
    transB: int = 0,
    of_zero: int = 0,
    of_nan: int | None = None,
    activation: Activation = NO_ACTIVATION,
) -> Value:
    """Gemm, or MatMul, of the signs of a and a constant matrix, plus a bias along the last dimension.

    The signs are as SignConv has them. Each column of the matrix, or row if it is transposed, has one
    magnitude.
    """
    if len(b.shape) != 2:
        raise ShapeError(f"b: expected 2 dimensions, got shape {b.shape}")
    if isinstance(b, Tensor):
        raise ValueNeeded(b)
    k, n = b.shape[::-1] if transB else b.shape
    if not a.shape or (ctx.node.op == "SignGemm" and len(a.shape) != 2):
        dimensions = "2 dimensions" if ctx.node.op == "SignGemm" else "at least 1 dimension"
        raise ShapeError(f"a: expected {dimensions}, got shape {a.shape}")
    if a.shape[-1] != k:
        raise ShapeError(f"a, b: expected equal inner sizes, got {a.shape[-1]} and {k}")
    offset = None
    if bias is not None:
        if bias.shape[-1:] not in ((), (1,), (n,)) or math.prod(bias.shape) != (bias.shape or (1,))[-1]:
            raise ShapeError(f"bias: expected {n} values, or one, got shape {bias.shape}")
        offset = np.broadcast_to(ctx.array("bias", bias).reshape(-1), n)
    signed, signs = _signed(ctx, a, of_zero, of_nan)
    rows = ctx.reshape(signed, (math.prod(a.shape[:-1]), k))

    def weight(w: Array) -> Array:
        return w if transB else w.T

    share = ("signs", transB, repr(signs))
    y = fully_connected(ctx, rows, b, n, weight, bias, offset, activation, share=share, signs=signs)
    return ctx.reshape(y, (*a.shape[:-1], n))


def _signed(ctx: Context, x: Value, of_zero: int, of_nan: int | None) -> tuple[Value, tuple[float, float]]:
    """Return f32 values, and what is the sign of 0 and of NaN among them; of another dtype they are signs."""
    zero, nan = float(of_zero), math.nan if of_nan is None else float(of_nan)
    if x.dtype == F32:
        return x, (zero, nan)

    def function(a: Array) -> Array:
        known = np.where(a == 0, zero, np.where(a < 0, -1, 1))
        return np.where(np.isnan(a), nan, known).astype(F32)

    return ctx.call(function, [x], x.shape, F32), (0.0, math.nan)
