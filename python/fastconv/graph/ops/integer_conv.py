"""Convolutions of 8-bit values.

Those by constant weights are the integer kernels' (csrc/conv/integer_conv.h). Where weights, or the scales of
a requantisation, are computed, the sums are found by numpy.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from fastconv import _core
from fastconv._quantised import Finish
from fastconv.errors import ShapeError
from fastconv.graph.context import Context
from fastconv.graph.ops.conv import conv_parameters, conv_windows, pads_of
from fastconv.graph.ops.integer import (
    MAX_TERMS,
    as_float,
    as_int32,
    check_per_channel,
    check_scalar,
    numbers_of,
    per_channel,
    requantized,
    zero_of,
)
from fastconv.graph.ops.windows import convolve
from fastconv.graph.packing import kept
from fastconv.graph.registry import FASTCONV_DOMAIN, op
from fastconv.graph.value import F32, F64, S32, Array, Constant, Ints, Tensor, Value, channels_last_order


class Operands(NamedTuple):
    """What a convolution of integers sums: (x - its zero point) * (w - its own), and a bias.

    w has the output channels first, or, of a matrix, last.
    """

    x: Value
    x_zero: Value
    w: Value
    w_zero: Value
    bias: Value | None = None
    channels_last: bool = False

    def check(self) -> None:
        """Refuse shapes and types that do not fit together."""
        check_scalar("x_zero_point", self.x_zero)
        check_per_channel("w_zero_point", self.w_zero, self.channels)
        bias = self.bias
        if bias is not None and (bias.shape != (self.channels,) or bias.dtype != S32):
            expected = f"b: expected {self.channels} int32 values"
            raise ShapeError(f"{expected}, got {bias.dtype} of shape {bias.shape}")

    @property
    def channels(self) -> int:
        """How many there are of the output."""
        return self.w.shape[-1 if self.channels_last else 0]

    @property
    def values(self) -> list[Value]:
        """All that there are."""
        return [self.x, self.x_zero, self.w, self.w_zero, *([] if self.bias is None else [self.bias])]

    @property
    def sources(self) -> list[Value]:
        """What the kernels pack."""
        return self.values[2:]

    @property
    def packable(self) -> bool:
        """Whether the kernels take them: with more products a sum might not have 32 bits."""
        constant = all(isinstance(value, Constant) for value in self.sources)
        return constant and math.prod(self.w.shape) <= MAX_TERMS * self.channels


def integer_convolution(
    ctx: Context,
    operands: Operands,
    parameters: dict[str, Any],
    padding: list[int],
    finish: Finish,
    *given: Value,
) -> Tensor:
    """Convolve by the integer kernels; ``given`` are further constants that the finish was made of."""
    spatial = parameters["spatial"]
    x, x_zero = operands.x, operands.x_zero
    number = int(x_zero.array.reshape(())) if isinstance(x_zero, Constant) else None

    def build() -> _core.IntegerConv:
        arrays = [np.ascontiguousarray(ctx.array("w", value)) for value in operands.sources]
        return _core.IntegerConv(
            np.ascontiguousarray(arrays[0].T) if operands.channels_last else arrays[0],
            arrays[2] if len(arrays) > 2 else None,
            padding_lo=padding[:spatial],
            padding_hi=padding[spatial:],
            w_zero=arrays[1].astype(S32).reshape(-1),
            x_signed=x.dtype == np.int8,
            x_zero=number,
            out=finish.dtype,
            scale=finish.scale,
            shift=finish.shift,
            low=finish.low,
            high=finish.high,
            zero=finish.zero,
            algorithm="auto",
            **parameters,
        )

    made = tuple(value.derived for value in operands.sources if isinstance(value, Constant))
    key = ("integer_conv", number, made, *padding, *parameters["output_padding"], finish.low, finish.high)
    nbytes = 2 * math.prod(operands.w.shape)
    plan = kept(ctx, [*operands.sources, *given], key, nbytes, build)
    inputs = (ctx.typed(x), None if number is not None else ctx.typed(x_zero))
    shape = plan.out_shape(x.shape)
    y = ctx.result(shape, channels_last_order(len(shape)), finish.dtype)
    return ctx.emit("integer_conv", inputs, y, plan, algorithm=plan.algorithm(x.shape), integers=True)


def _sums(ctx: Context, operands: Operands, parameters: dict[str, Any], padding: list[int]) -> Value:
    """Return the sums as whole numbers in f64, by numpy."""
    x, w = operands.x, operands.w
    rank, groups = len(w.shape), parameters["groups"]
    windows = conv_windows(parameters, x.shape, w.shape, padding)
    shape = (x.shape[0], w.shape[0], *windows.out)

    def function(x: Array, x_zero: Array, w: Array, w_zero: Array, *bias: Array) -> Array:
        image = np.subtract(x, x_zero.reshape(()), dtype=F32)
        kernel = np.subtract(w, per_channel(w_zero, rank), dtype=F32)
        y = convolve(image, kernel, windows, groups, exact=True)
        for b in bias:
            y += b.reshape(-1, *[1] * (rank - 2))
        return y

    # Copies of x and w less their zero points, x again with its padding, what a tap meets and the last one
    # did, and its products.
    images, out = math.prod(x.shape[:2]), math.prod(windows.out)
    numbers = math.prod(x.shape) + math.prod(w.shape) + 2 * images * out + 3 * math.prod(shape)
    scratch = windows.padded_bytes(images, F32) + F32.itemsize * numbers
    return ctx.call(function, operands.values, shape, F64, "convinteger", scratch=scratch)


@op("ConvInteger")
@op("ConvIntegerToFloat", FASTCONV_DOMAIN)
def conv_integer(
    ctx: Context,
    x: Value,
    w: Value,
    x_zero_point: Value | None = None,
    w_zero_point: Value | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Value:
    """Convolution of 8-bit integers, whose padding is the zero point; the result has 32 bits, or is f32."""
    parameters = conv_parameters(w, auto_pad, dilations, group, kernel_shape, strides)
    padding = pads_of(auto_pad, pads, parameters["spatial"])
    operands = Operands(x, zero_of(x_zero_point, x), w, zero_of(w_zero_point, w))
    operands.check()
    as_floats = ctx.node.domain == FASTCONV_DOMAIN
    if operands.packable:
        # With a scale of 1 the sums are rounded to f32 as a cast does.
        finish = Finish(F32, np.ones(w.shape[0], F32)) if as_floats else Finish(S32)
        return integer_convolution(ctx, operands, parameters, padding, finish)
    return (as_float if as_floats else as_int32)(ctx, _sums(ctx, operands, parameters, padding))


@op("QLinearConv")
@op("QuantizedConv", FASTCONV_DOMAIN)
def qlinear_conv(
    ctx: Context,
    x: Value,
    x_scale: Value,
    x_zero_point: Value,
    w: Value,
    w_scale: Value,
    w_zero_point: Value,
    y_scale: Value,
    y_zero_point: Value,
    b: Value | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
    low: float = -math.inf,
    high: float = math.inf,
) -> Value:
    """Convolution of quantised values, quantised anew; a bias of integers has the scale of the products.

    ``low`` and ``high`` clamp what is quantised. A QuantizedConv's bias may be one of f32 too.
    """
    parameters = conv_parameters(w, auto_pad, dilations, group, kernel_shape, strides)
    padding = pads_of(auto_pad, pads, parameters["spatial"])
    for name, value in (("x_scale", x_scale), ("y_scale", y_scale), ("y_zero_point", y_zero_point)):
        check_scalar(name, value)
    check_per_channel("w_scale", w_scale, w.shape[0])
    real_bias = b if b is not None and b.dtype == F32 and ctx.node.domain == FASTCONV_DOMAIN else None
    bias = None if b is real_bias else b
    operands = Operands(x, zero_of(x_zero_point, x), w, zero_of(w_zero_point, w), bias)
    operands.check()
    zero_of(y_zero_point, y_zero_point)  # which checks its type
    scales = {"x_scale": x_scale, "w_scale": w_scale, "y_scale": y_scale}
    given = (*scales.values(), y_zero_point)
    if operands.packable and all(isinstance(value, Constant) for value in given):
        a, w_numbers, y = (numbers_of(ctx, name, value) for name, value in scales.items())
        zero = int(ctx.array("y_zero_point", y_zero_point).reshape(()))
        info = np.iinfo(y_zero_point.dtype)
        scale = np.ascontiguousarray(np.broadcast_to(a * w_numbers / y, w.shape[:1]))
        least = max(float(info.min - zero), float(np.float32(low) / y[0]))
        most = min(float(info.max - zero), float(np.float32(high) / y[0]))
        shift = None if real_bias is None else ctx.array("b", real_bias) / y
        finish = Finish(y_zero_point.dtype, scale, least, most, zero, shift)
        sources = given if real_bias is None else (*given, real_bias)
        return integer_convolution(ctx, operands, parameters, padding, finish, *sources)
    sums: Value
    if operands.packable:
        sums = integer_convolution(ctx, operands, parameters, padding, Finish(S32))
    else:
        sums = _sums(ctx, operands, parameters, padding)
    channels = () if w_scale.shape in ((), (1,)) else (-1, *[1] * parameters["spatial"])
    return requantized(
        ctx, sums, list(scales.values()), y_zero_point, [(), channels, (), ()], clamp=(low, high)
    )
