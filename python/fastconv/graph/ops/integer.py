"""Matrix products of integers of 8 bits, and what becomes of integer sums.

A product by constant weights is that of the integer kernels (csrc/gemm/integer.h). Where weights are
computed, its sums are found by others: they are integers, and f32 holds those below 2^24 without rounding.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv import _core
from fastconv.errors import DTypeError, ShapeError
from fastconv.graph.context import Context, broadcast_shapes
from fastconv.graph.ops.products import exact_product
from fastconv.graph.ops.quantize import F64, S32, positive, saturated
from fastconv.graph.registry import FASTCONV_DOMAIN, op
from fastconv.graph.value import F32, Array, Constant, Value

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


def per_channel(values: Array, rank: int) -> Array:
    """Return one number, or one an output channel, shaped for weights of a rank."""
    return values.reshape(()) if values.size == 1 else values.reshape(-1, *[1] * (rank - 1))


def check_per_channel(name: str, value: Value, channels: int) -> None:
    """Refuse what is neither one number nor one for each output channel."""
    if value.shape not in ((), (1,), (channels,)):
        raise ShapeError(f"{name}: expected one number, or {channels}, got shape {value.shape}")


def check_scalar(name: str, value: Value) -> None:
    """Refuse what is not one number."""
    if value.shape not in ((), (1,)):
        raise ShapeError(f"{name}: expected one number, got shape {value.shape}")


def as_int32(ctx: Context, sums: Value) -> Value:
    """Return whole numbers as integers of 32 bits, which wrap around; those in f32 are too small to."""
    if sums.dtype in (F32, S32):
        return ctx.cast(sums, S32)
    scratch = math.prod(sums.shape) * np.dtype(np.int64).itemsize
    return ctx.call(
        lambda a: a.astype(np.int64).astype(S32), [sums], sums.shape, S32, "cast", scratch=scratch
    )


def as_float(ctx: Context, sums: Value) -> Value:
    """Return what a cast of the integers of 32 bits to f32 gives."""
    return sums if sums.dtype == F32 else ctx.cast(as_int32(ctx, sums), F32)


def requantized(
    ctx: Context,
    sums: Value,
    scales: list[Value],
    zero: Value,
    shapes: list[tuple[int, ...]],
    *,
    clamp: tuple[float, float] = (-math.inf, math.inf),
) -> Value:
    """Return sums * (a's scale * b's / y's), rounded half to even, plus the zero point, saturated.

    ``shapes`` are what the three scales and the zero point are reshaped to. Before they are rounded, values
    are clamped to these numbers, which y's scale is yet to divide.
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
        if clamp != (-math.inf, math.inf):
            low, high = (np.float32(limit) / y for limit in clamp)
            result = np.clip(result, low, high)
        np.rint(result, out=result)
        return saturated(np.asarray(result + zero), dtype)

    scratch = 2 * math.prod(sums.shape) * F32.itemsize  # before the zero points are added and after
    return ctx.call(function, [sums, *scales, zero], sums.shape, dtype, "quantizelinear", scratch=scratch)


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
        return as_float(ctx, integer_product(ctx, a, zeros[0], b, zeros[1], F32))
    return as_int32(ctx, integer_product(ctx, a, zeros[0], b, zeros[1]))


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
