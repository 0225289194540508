"""What operators on integers of 8 bits share: zero points, scales, and what becomes of sums."""

from __future__ import annotations

import math

import numpy as np

from fastconv.errors import DTypeError, ShapeError
from fastconv.graph.context import Context
from fastconv.graph.ops.quantize import positive, saturated
from fastconv.graph.value import F32, S32, Array, Constant, Value

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


def numbers_of(ctx: Context, name: str, scale: Value) -> Array:
    """Return the numbers of a known scale as a vector of f32; none may be other than above 0."""
    return positive(name, scale)(ctx.array(name, scale)).astype(F32).reshape(-1)
