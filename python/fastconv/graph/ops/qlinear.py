"""Operators of ONNX Runtime's own domain that its quantiser writes (QuantFormat.QOperator)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv import _core
from fastconv._quantised import Finish
from fastconv.errors import DTypeError, ModelError, ShapeError
from fastconv.graph.context import MAX_RANK, Context, broadcast_shapes
from fastconv.graph.ir import Activation
from fastconv.graph.ops.integer import check_scalar, numbers_of, requantized, zero_of
from fastconv.graph.ops.integer_conv import Operands
from fastconv.graph.ops.integer_matmul import fits_kernels, integer_product, packed_product, requantisation
from fastconv.graph.ops.pool import (
    average_pool,
    global_average_pool,
    pool_attributes,
    quantized_average,
    quantized_global_average,
)
from fastconv.graph.ops.quantize import (
    Quantization,
    dequantized,
    known_quantization,
    positive,
    quantized,
)
from fastconv.graph.ops.tensor import join
from fastconv.graph.packing import derived
from fastconv.graph.registry import MICROSOFT, op
from fastconv.graph.value import F32, F64, S32, Array, Constant, Ints, Value


def _zero_or(zero_point: Value | None, like: Value) -> Value:
    return Constant(np.zeros((), like.dtype)) if zero_point is None else zero_point


def _register_binary(name: str, kind: str) -> None:
    @op(name, MICROSOFT)
    def lower(
        ctx: Context,
        a: Value,
        a_scale: Value,
        a_zero_point: Value,
        b: Value,
        b_scale: Value,
        b_zero_point: Value,
        y_scale: Value,
        y_zero_point: Value | None = None,
    ) -> Value:
        y_zero_point = _zero_or(y_zero_point, a)
        scales = (a_scale, a_zero_point), (b_scale, b_zero_point), (y_scale, y_zero_point)
        known = [known_quantization(a.dtype, *pair) for pair in scales]
        shape = broadcast_shapes(a.shape, b.shape)
        constant = isinstance(a, Constant) and isinstance(b, Constant)
        if None not in known and b.dtype == a.dtype and len(shape) <= MAX_RANK and not constant:
            left, right = ctx.typed(a), ctx.typed(b)
            like = left if left.shape == shape else right
            y = ctx.result(shape, like.order() if like.shape == shape else None, a.dtype)
            operands = left.broadcast_to(shape), right.broadcast_to(shape)
            return ctx.emit("quantized_binary", operands, y, kind, *known, integers=True)
        wide = dequantized(ctx, a, *scales[0]), dequantized(ctx, b, *scales[1])
        return quantized(ctx, ctx.binary(kind, *wide), y_scale, y_zero_point)


_register_binary("QLinearAdd", "add")
_register_binary("QLinearMul", "mul")


def _through_f32(
    ctx: Context,
    function: Callable[[Value], Value],
    x: Value,
    x_scale: Value,
    x_zero_point: Value,
    y_scale: Value,
    y_zero_point: Value | None,
) -> Value:
    """Apply a function of f32 values to quantised ones."""
    y = function(dequantized(ctx, x, x_scale, x_zero_point))
    return quantized(ctx, y, y_scale, _zero_or(y_zero_point, x))


def _activated(
    ctx: Context,
    activation: Activation,
    x: Value,
    x_scale: Value,
    x_zero_point: Value,
    y_scale: Value,
    y_zero_point: Value | None,
) -> Value:
    """Apply a function of single values: by a table where the scales are known."""
    y_zero_point = _zero_or(y_zero_point, x)
    source = known_quantization(x.dtype, x_scale, x_zero_point)
    target = known_quantization(y_zero_point.dtype, y_scale, y_zero_point)
    if source is None or target is None:

        def through(v: Value) -> Value:
            return ctx.activate(v, activation)

        return _through_f32(ctx, through, x, x_scale, x_zero_point, y_scale, y_zero_point)
    dtype, known_x, known_y = y_zero_point.dtype, source, target

    def function(numbers: Array) -> Array:
        values = np.ascontiguousarray(known_x.values(numbers))
        _core.activate(values, values, *activation)
        return known_y.numbers(values, dtype)

    return ctx.lookup(function, x, dtype, activation.kind)


@op("QLinearSigmoid", MICROSOFT)
def qlinear_sigmoid(
    ctx: Context,
    x: Value,
    x_scale: Value,
    x_zero_point: Value,
    y_scale: Value,
    y_zero_point: Value | None = None,
) -> Value:
    """1 / (1 + exp(-x))."""
    return _activated(ctx, Activation("sigmoid"), x, x_scale, x_zero_point, y_scale, y_zero_point)


@op("QLinearLeakyRelu", MICROSOFT)
def qlinear_leaky_relu(
    ctx: Context,
    x: Value,
    x_scale: Value,
    x_zero_point: Value,
    y_scale: Value,
    y_zero_point: Value | None = None,
    *,
    alpha: float = 0.01,
) -> Value:
    """X where x >= 0, else alpha * x."""
    return _activated(ctx, Activation("leaky_relu", alpha), x, x_scale, x_zero_point, y_scale, y_zero_point)


def _known_pair(
    x: Value, x_scale: Value, x_zero_point: Value, y_scale: Value, y_zero_point: Value | None
) -> tuple[Quantization, Quantization] | None:
    """Return how x and a result of its element type are quantised, if the model says it."""
    source = known_quantization(x.dtype, x_scale, x_zero_point)
    target = known_quantization(x.dtype, y_scale, _zero_or(y_zero_point, x))
    return None if source is None or target is None else (source, target)


def _channels_second(x: Value, channels_last: int) -> Value:
    return x.transpose((0, len(x.shape) - 1, *range(1, len(x.shape) - 1))) if channels_last else x


def _channels_back(x: Value, channels_last: int) -> Value:
    return x.transpose((0, *range(2, len(x.shape)), 1)) if channels_last else x


@op("QLinearGlobalAveragePool", MICROSOFT)
def qlinear_global_average_pool(
    ctx: Context,
    x: Value,
    x_scale: Value,
    x_zero_point: Value,
    y_scale: Value,
    y_zero_point: Value | None = None,
    *,
    channels_last: int = 0,
) -> Value:
    """Average over the spatial dimensions."""
    known = _known_pair(x, x_scale, x_zero_point, y_scale, y_zero_point)
    if known is not None:
        y = quantized_global_average(ctx, _channels_second(x, channels_last), *known)
        if y is not None:
            return _channels_back(y, channels_last)

    def function(v: Value) -> Value:
        y = global_average_pool(ctx, _channels_second(v, channels_last))
        assert not isinstance(y, tuple)
        return _channels_back(y, channels_last)

    return _through_f32(ctx, function, x, x_scale, x_zero_point, y_scale, y_zero_point)


@op("QLinearAveragePool", MICROSOFT)
def qlinear_average_pool(
    ctx: Context,
    x: Value,
    x_scale: Value,
    x_zero_point: Value,
    y_scale: Value,
    y_zero_point: Value | None = None,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    channels_last: int = 0,
    count_include_pad: int = 0,
    kernel_shape: Ints,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Value:
    """Average of each window."""
    windows = pool_attributes(
        _channels_second(x, channels_last), auto_pad, ceil_mode, None, kernel_shape, pads, strides
    )
    known = _known_pair(x, x_scale, x_zero_point, y_scale, y_zero_point)
    if known is not None:
        counted = bool(count_include_pad)
        y = quantized_average(ctx, _channels_second(x, channels_last), windows, counted, *known)
        if y is not None:
            return _channels_back(y, channels_last)

    def function(v: Value) -> Value:
        y = average_pool(
            ctx,
            _channels_second(v, channels_last),
            auto_pad=auto_pad,
            ceil_mode=ceil_mode,
            count_include_pad=count_include_pad,
            kernel_shape=kernel_shape,
            pads=pads,
            strides=strides,
        )
        assert not isinstance(y, tuple)
        return _channels_back(y, channels_last)

    return _through_f32(ctx, function, x, x_scale, x_zero_point, y_scale, y_zero_point)


@op("QLinearConcat", MICROSOFT)
def qlinear_concat(ctx: Context, y_scale: Value, y_zero_point: Value, *parts: Value, axis: int) -> Value:
    """Concatenation of values, each with a scale and a zero point of its own."""
    if not parts or len(parts) % 3:
        raise ModelError(f"expected a value, a scale and a zero point for each part, got {len(parts)} inputs")
    values: list[Value] = []
    names: list[str] = []  # of the parts that are the result's as they are
    target = known_quantization(y_zero_point.dtype, y_scale, y_zero_point)
    for i, (x, scale, zero_point) in enumerate(zip(parts[::3], parts[1::3], parts[2::3], strict=True)):
        source = known_quantization(x.dtype, scale, zero_point)
        same = source is not None and source == target and x.dtype == y_zero_point.dtype
        names.append(ctx.node.inputs[2 + 3 * i] if same else "")
        if same:
            values.append(x)
        elif source is None or target is None:
            values.append(quantized(ctx, dequantized(ctx, x, scale, zero_point), y_scale, y_zero_point))
        else:
            function = _requantised(source, target, y_zero_point.dtype)
            values.append(ctx.lookup(function, x, y_zero_point.dtype))
    return join(ctx, names, values, axis)


def _requantised(
    source: Quantization, target: Quantization, dtype: np.dtype[Any]
) -> Callable[[Array], Array]:
    return lambda numbers: target.numbers(source.values(numbers), dtype)


def _column_bias(ctx: Context, c: Value | None, columns: int) -> Constant | None:
    """Return known addends as one for each column, or None where they are others."""
    if not isinstance(c, Constant) or c.dtype != S32 or c.shape not in ((), (1,), (columns,), (1, columns)):
        return None

    def spread() -> Array:
        return np.array(np.broadcast_to(ctx.array("c", c).reshape(-1), (columns,)))

    return c if c.shape == (columns,) else derived(ctx, c, "bias", spread)


@op("QGemm", MICROSOFT)
def qgemm(
    ctx: Context,
    a: Value,
    a_scale: Value,
    a_zero_point: Value,
    b: Value,
    b_scale: Value,
    b_zero_point: Value,
    c: Value | None = None,
    y_scale: Value | None = None,
    y_zero_point: Value | None = None,
    *,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Value:
    """Alpha * a @ b + c of quantised matrices, quantised anew or in f32; c has the scale of the products."""
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise ShapeError(f"a, b: expected 2 dimensions each, got shapes {a.shape} and {b.shape}")
    check_scalar("a_scale", a_scale)
    check_scalar("a_zero_point", a_zero_point)
    a = a.transpose((1, 0)) if transA else a
    bias = _column_bias(ctx, c, b.shape[0 if transB else 1])
    operands = Operands(
        a, zero_of(a_zero_point, a), b, zero_of(b_zero_point, b), bias, channels_last=not transB
    )
    finish = None
    if fits_kernels(operands) and (bias is not None or c is None):
        if y_scale is not None and y_zero_point is not None:
            scales = {"a_scale": a_scale, "b_scale": b_scale, "y_scale": y_scale}
            finish = requantisation(ctx, operands, scales, y_zero_point, alpha)
            given = *scales.values(), y_zero_point
        elif isinstance(a_scale, Constant) and isinstance(b_scale, Constant):
            numbers = numbers_of(ctx, "a_scale", a_scale), numbers_of(ctx, "b_scale", b_scale)
            scale = np.float32(alpha) * numbers[0] * numbers[1]
            finish = Finish(F32, np.ascontiguousarray(np.broadcast_to(scale, (operands.channels,))))
            given = a_scale, b_scale
    if finish is not None:
        return packed_product(ctx, operands, finish, *given)
    b = b.transpose((1, 0)) if transB else b
    sums = integer_product(ctx, a, operands.x_zero, b, operands.w_zero)
    if c is not None:
        if c.dtype != S32 or np.broadcast_shapes(c.shape, sums.shape) != sums.shape:
            raise DTypeError(
                f"c: expected int32 values that broadcast to {sums.shape}, got {c.dtype} of shape {c.shape}"
            )
        sums = ctx.call(lambda s, c: np.asarray(s + c.astype(F64)), [sums, c], sums.shape, F64, "add")
    columns = () if b_scale.shape in ((), (1,)) else b_scale.shape
    if y_scale is None or y_zero_point is None:
        check_a, check_b = positive("a_scale", a_scale), positive("b_scale", b_scale)

        def function(sums: Array, a_scale: Array, b_scale: Array) -> Array:
            a_scale, b_scale = check_a(np.asarray(a_scale)), check_b(np.asarray(b_scale))
            scale = np.float32(alpha) * a_scale.reshape(()) * b_scale.reshape(columns)
            return np.asarray(sums.astype(F32) * scale)

        return ctx.call(function, [sums, a_scale, b_scale], sums.shape, F32, "mul")
    scaled = (
        a_scale
        if alpha == 1
        else ctx.call(lambda s: np.asarray(s * np.float32(alpha)), [a_scale], a_scale.shape, F32, "mul")
    )
    return requantized(ctx, sums, [scaled, b_scale, y_scale], y_zero_point, [(), columns, (), ()])
