"""Operators of ONNX Runtime's own domain that its quantiser writes (QuantFormat.QOperator)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastconv.errors import DTypeError, ModelError, ShapeError
from fastconv.graph.context import Context
from fastconv.graph.ir import Activation
from fastconv.graph.ops.integer import check_scalar, integer_product, requantized, zero_of
from fastconv.graph.ops.pool import average_pool, global_average_pool
from fastconv.graph.ops.quantize import F64, S32, dequantized, positive, quantized
from fastconv.graph.registry import MICROSOFT, op
from fastconv.graph.value import F32, Array, Constant, Ints, Value, normalized_axis


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
        left = dequantized(ctx, a, a_scale, a_zero_point)
        right = dequantized(ctx, b, b_scale, b_zero_point)
        return quantized(ctx, ctx.binary(kind, left, right), y_scale, _zero_or(y_zero_point, a))


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

    def function(v: Value) -> Value:
        return ctx.activate(v, Activation("sigmoid"))

    return _through_f32(ctx, function, x, x_scale, x_zero_point, y_scale, y_zero_point)


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

    def function(v: Value) -> Value:
        return ctx.activate(v, Activation("leaky_relu", alpha))

    return _through_f32(ctx, function, x, x_scale, x_zero_point, y_scale, y_zero_point)


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
    triples = zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    values = [
        quantized(ctx, dequantized(ctx, x, scale, zero_point), y_scale, y_zero_point)
        for x, scale, zero_point in triples
    ]
    shapes = [list(value.shape) for value in values]
    axis = normalized_axis("axis", axis, len(shapes[0]))
    whole = [*shapes[0][:axis], sum(s[axis] for s in shapes if len(s) > axis), *shapes[0][axis + 1 :]]
    if any(s[:axis] + s[axis + 1 :] != whole[:axis] + whole[axis + 1 :] for s in shapes):
        raise ShapeError(f"expected shapes equal but for axis {axis}, got {', '.join(map(str, shapes))}")
    return ctx.call(lambda *arrays: np.concatenate(arrays, axis), values, whole, y_zero_point.dtype, "concat")


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
    b = b.transpose((1, 0)) if transB else b
    sums = integer_product(ctx, a, zero_of(a_zero_point, a), b, zero_of(b_zero_point, b))
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
