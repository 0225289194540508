"""Convolutions and matrix products of integers of 8 bits.

A matrix product by constant weights is that of the integer kernels (csrc/gemm/integer.h). The sums of a
convolution are found by others: they are integers, and f32 holds those below 2^24 without rounding, so
where the weights are constants and the largest possible sum stays below, the f32 kernels (those that only sum
products) give the exact result. A convolution with larger sums is several, of parts of its channels, whose
results float64 adds up. Where weights are computed, all sums are exact parts of that kind, which float64
adds up, tap by tap.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv import _core
from fastconv.errors import DTypeError, ShapeError
from fastconv.graph.context import Context, broadcast_shapes
from fastconv.graph.ops.conv import conv_parameters, conv_windows, convolution, pads_of
from fastconv.graph.ops.products import exact_product
from fastconv.graph.ops.quantize import F64, S32, positive, saturated
from fastconv.graph.ops.windows import convolve
from fastconv.graph.registry import FASTCONV_DOMAIN, op
from fastconv.graph.value import F32, Array, Constant, Ints, Value

EXACT = 1 << 24  # f32 holds all integers below
MAX_TERMS = (1 << 31) // (255 * 255)  # a sum of so many products has 32 bits


def zero_of(zero_point: Value | None, like: Value) -> Value:
    """Return a zero point, 0 if none is given."""
    if like.dtype.kind not in "iu" or like.dtype.itemsize != 1:
        raise DTypeError(f"expected 8-bit integers, got {like.dtype}")
    if zero_point is None:
        return Constant(np.zeros((), like.dtype), "zero")
    if zero_point.dtype != like.dtype:
        raise DTypeError(f"zero_point: expected {like.dtype} values, got {zero_point.dtype}")
    return zero_point


def _per_channel(values: Array, rank: int) -> Array:
    """Return one number, or one an output channel, shaped for weights of a rank."""
    return values.reshape(()) if values.size == 1 else values.reshape(-1, *[1] * (rank - 1))


def _check_per_channel(name: str, value: Value, channels: int) -> None:
    if value.shape not in ((), (1,), (channels,)):
        raise ShapeError(f"{name}: expected one number, or {channels}, got shape {value.shape}")


def check_scalar(name: str, value: Value) -> None:
    """Refuse what is not one number."""
    if value.shape not in ((), (1,)):
        raise ShapeError(f"{name}: expected one number, got shape {value.shape}")


def largest_sums(weight: Array, dtype: np.dtype[Any], zero: Value | None = None) -> Array:
    """Return how large sums over the last axis of (x - its zero point) * weight may be, or any part of them.

    x has 8 bits of a dtype, and the zero point is any of it unless a constant is given.

    All x are on one side of the zero point's range or the other by the same interval, so that weights of one
    sign alone reach the extreme on one end of it.
    """
    up = np.maximum(weight, 0).sum(axis=-1, dtype=F64)
    down = up - weight.sum(axis=-1, dtype=F64)
    info = np.iinfo(dtype)
    ends = (info.min, info.max) if not isinstance(zero, Constant) else (float(zero.array.reshape(())),)
    sums = [np.maximum(a * up + b * down, a * down + b * up)
            for a, b in ((info.max - end, end - info.min) for end in ends)]  # fmt: skip
    return np.asarray(np.max(sums, axis=0))


def _number(value: Value) -> float | None:
    """Return the one number that a constant is; what is made of weights may depend on it."""
    return float(value.array.reshape(())) if isinstance(value, Constant) else None


def _shifted(ctx: Context, x: Value, zero: Value) -> Value:
    """Return x less its one zero point, in f32."""
    return ctx.call(lambda a, z: np.subtract(a, z.reshape(()), dtype=F32), [x, zero], x.shape, F32, "sub")


def _exact_parts(weight: Array, bias: Constant | None, x: Value, x_zero: Value, groups: int) -> list[slice]:
    """Return the fewest equal parts of the channels that f32 sums exactly; none where there are no such."""
    oc, ic = weight.shape[:2]
    channels = weight.reshape(oc, ic, -1)
    extra = 0 if bias is None else np.abs(bias.array)
    for count in range(1, (ic if groups == 1 else 1) + 1):
        edges = [ic * i // count for i in range(count + 1)]
        parts = [slice(a, b) for a, b in itertools.pairwise(edges)]
        sums = [largest_sums(channels[:, part].reshape(oc, -1), x.dtype, x_zero) for part in parts]
        sums[0] = sums[0] + extra
        if max(s.max(initial=0) for s in sums) < EXACT:
            return parts
    return []


def _sum_of_parts(
    ctx: Context,
    x: Value,
    bias: Constant | None,
    parts: Sequence[tuple[slice, Constant]],
    parameters: dict[str, Any],
    padding: list[int],
) -> Value:
    """Convolve parts of the channels by the f32 kernels that sum products alone; add in f64 where several."""
    plain = parameters | {"plain": True}
    if len(parts) == 1:
        return convolution(ctx, x, parts[0][1], bias, plain, padding)
    sums = []
    for part, kernel in parts:
        image = x.slice(1, part.start, 1, part.stop - part.start)
        sums.append(convolution(ctx, image, kernel, None if part.start else bias, plain, padding))

    def total(first: Array, *others: Array) -> Array:
        y = first.astype(F64)
        for other in others:
            y += other
        return y

    return ctx.call(total, sums, sums[0].shape, F64, "add")


def _integer_convolution(
    ctx: Context,
    x: Value,
    x_zero: Value,
    w: Value,
    w_zero: Value,
    bias: Value | None,
    parameters: dict[str, Any],
    padding: list[int],
) -> Value:
    """Return the sums of (x - its zero point) * (w - its own), plus a bias: whole numbers in f32 or f64."""
    check_scalar("x_zero_point", x_zero)
    _check_per_channel("w_zero_point", w_zero, w.shape[0])
    rank, groups = len(w.shape), parameters["groups"]
    if bias is not None and (bias.shape != w.shape[:1] or bias.dtype != S32):
        raise ShapeError(f"b: expected {w.shape[0]} int32 values, got {bias.dtype} of shape {bias.shape}")
    if all(isinstance(value, Constant) for value in (w, w_zero, *([] if bias is None else [bias]))):
        sources, number = [w, w_zero, *([] if bias is None else [bias])], _number(x_zero)
        lasting = ctx.lasts(sources)
        added = None
        if isinstance(bias, Constant):
            added = ctx.derived(bias, "bias", lambda: ctx.array("b", bias).astype(F32))

        def exact() -> list[tuple[slice, Constant]]:
            offsets = ctx.array("w_zero_point", w_zero).astype(F32)
            weight = ctx.array("w", w).astype(F32) - _per_channel(offsets, rank)
            parts = _exact_parts(weight, added, x, x_zero, groups)
            pieces = [weight] if len(parts) == 1 else [np.ascontiguousarray(weight[:, p]) for p in parts]
            keys = [("part", i, number) if lasting else None for i in range(len(parts))]
            return list(zip(parts, map(Constant, pieces, keys), strict=True))

        parts = ctx.kept(sources, ("parts", number), math.prod(w.shape) * F32.itemsize, exact)
        if parts:
            return _sum_of_parts(ctx, _shifted(ctx, x, x_zero), added, parts, parameters, padding)
    windows = conv_windows(parameters, x.shape, w.shape, padding)
    shape = (x.shape[0], w.shape[0], *windows.out)

    def function(x: Array, x_zero: Array, w: Array, w_zero: Array, *bias: Array) -> Array:
        image = np.subtract(x, x_zero.reshape(()), dtype=F32)
        kernel = np.subtract(w, _per_channel(w_zero, rank), dtype=F32)
        y = convolve(image, kernel, windows, groups, exact=True)
        for b in bias:
            y += b.reshape(-1, *[1] * (rank - 2))
        return y

    values = [x, x_zero, w, w_zero, *([] if bias is None else [bias])]
    # Copies of x and w less their zero points, x again with its padding, what a tap meets and the last one
    # did, and its products.
    images, out = math.prod(x.shape[:2]), math.prod(windows.out)
    numbers = math.prod(x.shape) + math.prod(w.shape) + 2 * images * out + 3 * math.prod(shape)
    scratch = windows.padded_bytes(images, F32) + F32.itemsize * numbers
    return ctx.call(function, values, shape, F64, "convinteger", scratch=scratch)


def _as_int32(ctx: Context, sums: Value) -> Value:
    """Return whole numbers as integers of 32 bits, which wrap around; those in f32 are too small to."""
    if sums.dtype in (F32, S32):
        return ctx.cast(sums, S32)
    scratch = math.prod(sums.shape) * np.dtype(np.int64).itemsize
    return ctx.call(
        lambda a: a.astype(np.int64).astype(S32), [sums], sums.shape, S32, "cast", scratch=scratch
    )


def _as_float(ctx: Context, sums: Value) -> Value:
    """Return what a cast of the integers of 32 bits to f32 gives."""
    return sums if sums.dtype == F32 else ctx.cast(_as_int32(ctx, sums), F32)


def requantized(
    ctx: Context, sums: Value, scales: list[Value], zero: Value, shapes: list[tuple[int, ...]]
) -> Value:
    """Return sums * (a's scale * b's / y's), rounded half to even, plus the zero point, saturated.

    ``shapes`` are what the three scales and the zero point are reshaped to.
    """
    dtype = zero.dtype
    if dtype.kind not in "iu" or dtype.itemsize != 1:
        raise DTypeError(f"y_zero_point: expected 8-bit integers, got {dtype}")
    names = ("first scale", "second scale", "y_scale")
    checks = [positive(name, scale) for name, scale in zip(names, scales, strict=True)]

    def function(sums: Array, *given: Array) -> Array:
        for check, scale in zip(checks, given[:-1], strict=True):
            check(np.asarray(scale))
        a, b, y, zero = (v.astype(F32).reshape(shape) for v, shape in zip(given, shapes, strict=True))
        result = np.multiply(sums, a * b / y, dtype=F32, casting="same_kind")
        np.rint(result, out=result)
        return saturated(np.asarray(result + zero), dtype)

    scratch = 2 * math.prod(sums.shape) * F32.itemsize  # before the zero points are added and after
    return ctx.call(function, [sums, *scales, zero], sums.shape, dtype, "quantizelinear", scratch=scratch)


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
    zeros = zero_of(x_zero_point, x), zero_of(w_zero_point, w)
    sums = _integer_convolution(ctx, x, zeros[0], w, zeros[1], None, parameters, padding)
    return (_as_float if ctx.node.domain == FASTCONV_DOMAIN else _as_int32)(ctx, sums)


@op("QLinearConv")
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
) -> Value:
    """Convolution of quantised values, quantised anew; the bias has the scale of the products."""
    parameters = conv_parameters(w, auto_pad, dilations, group, kernel_shape, strides)
    padding = pads_of(auto_pad, pads, parameters["spatial"])
    for name, value in (("x_scale", x_scale), ("y_scale", y_scale), ("y_zero_point", y_zero_point)):
        check_scalar(name, value)
    _check_per_channel("w_scale", w_scale, w.shape[0])
    zeros = zero_of(x_zero_point, x), zero_of(w_zero_point, w)
    sums = _integer_convolution(ctx, x, zeros[0], w, zeros[1], b, parameters, padding)
    channels = () if w_scale.shape in ((), (1,)) else (-1, *[1] * parameters["spatial"])
    return requantized(ctx, sums, [x_scale, w_scale, y_scale], y_zero_point, [(), channels, (), ()])


def _rows(value: Value, rows: int) -> tuple[int, ...]:
    """Return the shape in which one number, one a row, or the numbers of a batch's rows apply to a matrix."""
    if math.prod(value.shape) == 1:
        return ()
    return (rows, 1) if len(value.shape) == 1 else value.shape


def _columns(value: Value) -> tuple[int, ...]:
    return () if math.prod(value.shape) == 1 else value.shape


def _packed_product(
    ctx: Context, a: Value, a_zero: Value, b: Constant, b_zero: Constant, dtype: np.dtype[Any]
) -> Value:
    """Return the product by constant weights of the integer kernels, which have them packed."""
    k, n = b.shape

    def pack() -> _core.PackedIntegers:
        zeros = ctx.array("b_zero_point", b_zero).astype(S32).reshape(-1)
        return _core.PackedIntegers(ctx.array("b", b), zeros)

    weights = ctx.kept((b, b_zero), ("packed", b.derived, b_zero.derived), k * n, pack)
    scale = np.ones(n, F32) if dtype == F32 else None  # which rounds the sums as a cast does

    def function(a: Array, a_zero: Array) -> Array:
        rows = a.reshape(-1, k)
        y = np.empty((len(rows), n), dtype)
        zero = a_zero.astype(S32).reshape(-1)
        _core.qgemm(rows, zero, weights, y, None, scale, None, -math.inf, math.inf, 0)
        return y.reshape(*a.shape[:-1], n)

    shape = (*a.shape[:-1], n)
    scratch = math.prod(a.shape) + math.prod(shape) * dtype.itemsize
    return ctx.call(function, [a, a_zero], shape, dtype, "qgemm", scratch=scratch)


def integer_product(
    ctx: Context, a: Value, a_zero: Value, b: Value, b_zero: Value, dtype: np.dtype[Any] = S32
) -> Value:
    """Return the sums of (a - its zero point) * (b - its own), in a dtype, or whole numbers in f64."""
    if not a.shape or not b.shape:
        raise ShapeError(f"a, b: expected at least 1 dimension each, got shapes {a.shape} and {b.shape}")
    a_shape, b_shape = _rows(a_zero, a.shape[-2] if len(a.shape) > 1 else 1), _columns(b_zero)
    constant = isinstance(b, Constant) and isinstance(b_zero, Constant)
    if constant and a_shape == () and len(b.shape) == 2 and a.shape[-1] == b.shape[0] <= MAX_TERMS:
        if b_zero.shape not in ((), (1,), b.shape[1:]):
            raise ShapeError(f"b_zero_point: expected one number, or {b.shape[1]}, got shape {b_zero.shape}")
        assert isinstance(b, Constant)
        assert isinstance(b_zero, Constant)
        return _packed_product(ctx, a, a_zero, b, b_zero, dtype)
    left = a.shape if len(a.shape) > 1 else (1, *a.shape)
    right = b.shape if len(b.shape) > 1 else (*b.shape, 1)
    if left[-1] != right[-2]:
        raise ShapeError(f"a, b: expected equal inner sizes, got shapes {a.shape} and {b.shape}")
    shape = list(broadcast_shapes(left[:-2], right[:-2]))
    shape += [left[-2]] if len(a.shape) > 1 else []
    shape += [right[-1]] if len(b.shape) > 1 else []

    def function(a: Array, a_zero: Array, b: Array, b_zero: Array) -> Array:
        matrices = (np.subtract(v, zero, dtype=F32) for v, zero in (
            (a.reshape(left), a_zero.reshape(a_shape)), (b.reshape(right), b_zero.reshape(b_shape)),
        ))  # fmt: skip
        return exact_product(*matrices).reshape(shape)

    scratch = F32.itemsize * (math.prod(left) + math.prod(right) + 2 * math.prod(shape))
    return ctx.call(function, [a, a_zero, b, b_zero], shape, F64, "matmulinteger", scratch=scratch)


@op("MatMulInteger")
@op("MatMulIntegerToFloat", FASTCONV_DOMAIN)
def matmul_integer(
    ctx: Context,
    a: Value,
    b: Value,
    a_zero_point: Value | None = None,
    b_zero_point: Value | None = None,
) -> Value:
    """numpy.matmul of 8-bit integers less their zero points; the result has 32 bits, or is f32."""
    zeros = zero_of(a_zero_point, a), zero_of(b_zero_point, b)
    if ctx.node.domain == FASTCONV_DOMAIN:
        return _as_float(ctx, integer_product(ctx, a, zeros[0], b, zeros[1], F32))
    return _as_int32(ctx, integer_product(ctx, a, zeros[0], b, zeros[1]))


@op("QLinearMatMul")
def qlinear_matmul(
    ctx: Context,
    a: Value,
    a_scale: Value,
    a_zero_point: Value,
    b: Value,
    b_scale: Value,
    b_zero_point: Value,
    y_scale: Value,
    y_zero_point: Value,
) -> Value:
    """numpy.matmul of quantised values, quantised anew."""
    sums = integer_product(ctx, a, zero_of(a_zero_point, a), b, zero_of(b_zero_point, b))
    rows = sums.shape[-2] if len(sums.shape) > 1 else 1
    shapes = [_rows(a_scale, rows), _columns(b_scale), _rows(y_scale, rows), _rows(y_zero_point, rows)]
    return requantized(ctx, sums, [a_scale, b_scale, y_scale], y_zero_point, shapes)
