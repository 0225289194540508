"""Quantised values: conversions to and from them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastconv.errors import ArgumentError, DTypeError, ShapeError
from fastconv.graph.context import MAX_RANK, Context
from fastconv.graph.ops.cast import element_type, is_float8, to_float8
from fastconv.graph.registry import FASTCONV_DOMAIN, MICROSOFT, op
from fastconv.graph.value import BYTES, F32, F64, S32, U8, Array, Constant, Tensor, Value, normalized_axis


class Granularity:
    """Which elements of a tensor share a scale: all, those of an index along an axis, or those of a block."""

    def __init__(self, x: Value, scale: Value, axis: int, block_size: int) -> None:
        self.rank, self.shape, self.block = len(x.shape), x.shape, 0
        self.scalar = math.prod(scale.shape) == 1 and not block_size
        if self.scalar:
            return
        self.axis = normalized_axis("axis", axis, self.rank)
        expected: tuple[int, ...] = (x.shape[self.axis],)
        if block_size:
            if block_size < 0:
                raise ShapeError(f"block_size: expected at least 0, got {block_size}")
            self.block = min(block_size, max(1, x.shape[self.axis]))  # a longer one repeats what is cut off
            blocks = -(-x.shape[self.axis] // block_size)
            expected = (*x.shape[: self.axis], blocks, *x.shape[self.axis + 1 :])
        if scale.shape != expected:
            raise ShapeError(f"scale: expected shape {expected}, got {scale.shape}")

    def spread(self, values: Array) -> Array:
        """Return scales or zero points in a shape that broadcasts to the tensor's."""
        if values.size == 1:
            return values.reshape(())
        if self.block:
            repeated = np.repeat(values, self.block, axis=self.axis)
            return np.take(repeated, np.arange(self.shape[self.axis]), axis=self.axis)
        return values.reshape([-1 if i == self.axis else 1 for i in range(self.rank)])


def positive(name: str, scale: Value) -> Callable[[Array], Array]:
    """Return what checks the numbers of a scale in a run; those that the model holds are checked now."""

    def check(numbers: Array) -> Array:
        wrong = numbers[~((numbers > 0) & (numbers < math.inf))]
        if wrong.size:
            raise ArgumentError(f"{name}: expected numbers above 0, got {float(wrong[0])}")
        return numbers

    if not isinstance(scale, Constant):
        return check
    check(scale.array.reshape(-1))
    return lambda numbers: numbers


def _check_zero_point(zero_point: Value, scale: Value) -> None:
    if zero_point.shape != scale.shape and math.prod(zero_point.shape) != 1:
        raise ShapeError(f"zero_point: expected shape {scale.shape}, as the scale, got {zero_point.shape}")


def _limits(dtype: np.dtype[Any]) -> tuple[int, int] | None:
    """Return the least and the largest number of an integer dtype, those of ml_dtypes too; else None."""
    name = re.fullmatch(r"(u?)int(\d+)", dtype.name)
    if name is None:
        return None
    bits = int(name[2])
    return (0, 2**bits - 1) if name[1] else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def saturated(x: Array, dtype: np.dtype[Any]) -> Array:
    """Return whole numbers as integers of a dtype; those out of its range become its ends."""
    limits = _limits(dtype)
    assert limits is not None
    return np.clip(x, *limits, out=x).astype(dtype)


class Quantization(NamedTuple):
    """How the numbers of a tensor of 8 bits stand for real ones: (number - zero) * scale."""

    scale: float
    zero: int

    def values(self, x: Array) -> Array:
        """Return what numbers stand for."""
        return np.asarray((x.astype(F32) - np.float32(self.zero)) * np.float32(self.scale))

    def numbers(self, x: Array, dtype: np.dtype[Any]) -> Array:
        """Return the numbers nearest to f32 values."""
        return saturated(np.rint(x / np.float32(self.scale)) + np.float32(self.zero), dtype)


def known_quantization(dtype: np.dtype[Any], scale: Value, zero_point: Value) -> Quantization | None:
    """Return how numbers of a dtype of 8 bits are quantised where one scale that the model holds says it.

    None also where the two are wrong: who computes with them in a run refuses them.
    """
    for value, expected in ((scale, F32), (zero_point, dtype)):
        if not isinstance(value, Constant) or value.dtype != expected or math.prod(value.shape) != 1:
            return None
    assert isinstance(scale, Constant)
    assert isinstance(zero_point, Constant)
    known = Quantization(float(scale.array.reshape(())), int(zero_point.array.reshape(())))
    return known if dtype in BYTES and 0 < known.scale < math.inf else None


def _has_kernel(x: Value) -> bool:
    """Whether a kernel can read a value, which is not computed before a run."""
    return isinstance(x, Tensor) and len(x.shape) <= MAX_RANK


def _is_narrow_float(dtype: np.dtype[Any]) -> bool:
    return is_float8(dtype) or dtype.name == "float4_e2m1fn"


def quantized(
    ctx: Context,
    x: Value,
    scale: Value,
    zero_point: Value,
    *,
    axis: int = 1,
    block_size: int = 0,
    precision: np.dtype[Any] | None = None,
    saturate: bool = True,
) -> Value:
    """Return x / scale, rounded half to even, plus the zero point, in whose type."""
    dtype = zero_point.dtype
    if _limits(dtype) is None and not _is_narrow_float(dtype):
        raise DTypeError(f"zero_point: expected integers or 8-bit floats, got {dtype}")
    granularity = Granularity(x, scale, axis, block_size)
    _check_zero_point(zero_point, scale)
    compute = precision or scale.dtype
    checked = positive("scale", scale)
    known = granularity.scalar and known_quantization(dtype, scale, zero_point) is not None
    if known and x.dtype == compute == F32 and _has_kernel(x):
        return _quantize_step(ctx, ctx.tensor(x), ctx.typed(scale), ctx.typed(zero_point))

    def function(x: Array, scale: Array, zero_point: Array) -> Array:
        scale = checked(np.asarray(scale))
        y = np.asarray(x.astype(compute, copy=False) / granularity.spread(scale).astype(compute))
        # What is added has at most 16 bits, and no float is narrower than f32.
        zero = granularity.spread(zero_point.astype(F32))
        if _is_narrow_float(dtype):
            return to_float8(y + zero, dtype, saturate and is_float8(dtype))
        np.rint(y, out=y)
        return saturated(np.add(y, zero, out=y if y.dtype == F32 else None), dtype)

    # A copy of x, the scales and zero points of all its elements, and the quotient, at the most.
    scratch = math.prod(x.shape) * (3 * compute.itemsize + F32.itemsize)
    return ctx.call(function, [x, scale, zero_point], x.shape, dtype, "quantizelinear", scratch=scratch)


def _quantize_step(ctx: Context, x: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
    y = ctx.result(x.shape, x.order(), zero_point.dtype)
    return ctx.emit("quantize", (x, scale, zero_point), y, integers=True)


@op("QuantizeLinear")
@op("QuantizeLinear", MICROSOFT)
def quantize_linear(
    ctx: Context,
    x: Value,
    scale: Value,
    zero_point: Value | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    precision: int = 0,
    saturate: int = 1,
) -> Value:
    """Return x / scale, rounded half to even, plus the zero point, saturated."""
    stated = element_type("output_dtype", output_dtype) if output_dtype else None
    if zero_point is None:
        zero_point = Constant(np.zeros((), stated or U8))
    elif stated not in (None, zero_point.dtype):
        raise DTypeError(f"zero_point: expected {stated} values, got {zero_point.dtype}")
    # f16 is computed in f32; a stated precision may be lower, or higher.
    stated = element_type("precision", precision) if precision else None
    options = {"axis": axis, "block_size": block_size}
    return quantized(ctx, x, scale, zero_point, precision=stated, saturate=saturate != 0, **options)


@op("DequantizeLinear")
@op("DequantizeLinear", MICROSOFT)
def dequantize_linear(
    ctx: Context,
    x: Value,
    scale: Value,
    zero_point: Value | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> Value:
    """(x - zero point) * scale."""
    dtype = element_type("output_dtype", output_dtype) if output_dtype else scale.dtype
    return dequantized(ctx, x, scale, zero_point, dtype, axis=axis, block_size=block_size)


def dequantized(
    ctx: Context,
    x: Value,
    scale: Value,
    zero_point: Value | None,
    dtype: np.dtype[Any] = F32,
    *,
    axis: int = 1,
    block_size: int = 0,
) -> Value:
    """Return (x - zero point) * scale in a floating-point type."""
    if _limits(x.dtype) is None and not _is_narrow_float(x.dtype):
        raise DTypeError(f"x: expected integers or 8-bit floats, got {x.dtype}")
    zero_point = Constant(np.zeros((), x.dtype)) if zero_point is None else zero_point
    if zero_point.dtype != x.dtype:
        raise DTypeError(f"zero_point: expected {x.dtype} values, got {zero_point.dtype}")
    granularity = Granularity(x, scale, axis, block_size)
    _check_zero_point(zero_point, scale)
    # A difference of 8- or 16-bit integers is exact in f32; one of 32-bit integers only in f64.
    compute = F32 if x.dtype.itemsize < 4 else F64
    checked = positive("scale", scale)
    if granularity.scalar and dtype == F32 and _has_kernel(x):
        step = _dequantize_step(ctx, ctx.typed(x), scale, zero_point)
        if step is not None:
            return step

    def function(x: Array, scale: Array, zero_point: Array) -> Array:
        scale = checked(np.asarray(scale))
        y = np.subtract(x.astype(compute), granularity.spread(zero_point.astype(compute)))
        scaled = y.astype(scale.dtype, copy=False) * granularity.spread(scale)
        return np.asarray(scaled).astype(dtype, copy=False)

    # A copy of x, the zero points and scales of all its elements, differences and products, at the most.
    scratch = math.prod(x.shape) * 3 * (compute.itemsize + scale.dtype.itemsize)
    return ctx.call(function, [x, scale, zero_point], x.shape, dtype, "dequantizelinear", scratch=scratch)


def _dequantize_step(ctx: Context, x: Tensor, scale: Value, zero_point: Value) -> Tensor | None:
    """Return (x - zero point) * scale by the kernel, if it has one."""
    zero: Tensor | None = None
    if x.dtype == S32:
        plain = isinstance(zero_point, Constant) and not zero_point.array.any()
        if not plain or not isinstance(scale, Constant) or scale.dtype != F32:
            return None
    elif known_quantization(x.dtype, scale, zero_point) is None:
        return None
    else:
        zero = ctx.typed(zero_point)
    y = ctx.result(x.shape, x.order())
    return ctx.emit("dequantize", (x, ctx.typed(scale), zero), y, integers=True)


_BLOCK = 1 << 15  # elements whose intermediate results stay in the cache


def _blockwise(function: Callable[[Array], Array], x: Array, dtype: np.dtype[Any]) -> Array:
    """Apply a function of single elements block by block, in the order that they have in memory."""
    y = np.empty_like(x, dtype)
    source, target = x.ravel("K"), y.ravel("K")  # of y a view: it has no gaps
    for i in range(0, x.size, _BLOCK):
        target[i : i + _BLOCK] = function(source[i : i + _BLOCK])
    return y


def dynamic_range(x: Array) -> tuple[Any, Any]:
    """Return the scale and zero point with which 0 to 255 cover all of x, and 0."""
    low, high = x.min(initial=np.float32(0)), x.max(initial=np.float32(0))
    scale = np.float32(1) if low == high else (high - low) / np.float32(255)
    return scale, np.clip(np.rint(-low / scale), 0, 255)


@op("Lookup", FASTCONV_DOMAIN)
def lookup(ctx: Context, x: Value, table: Value) -> Value:
    """Results of a function of 8-bit numbers, by a table of them in the order of the bytes."""
    results = ctx.array("table", table)
    return ctx.lookup(lambda numbers: results[numbers.view(np.uint8)], x, table.dtype, "lookup")


@op("DynamicQuantizeLinear")
def dynamic_quantize_linear(ctx: Context, x: Value) -> tuple[Value, Value, Value]:
    """Quantise to 8 bits over the range of x itself; the scale and the zero point are results too."""
    if x.dtype != F32:
        raise DTypeError(f"x: expected float32 values, got {x.dtype}")
    if _has_kernel(x):
        x = ctx.tensor(x)
        # The scale, and where 0 lies, which is rounded as any number is.
        found = ctx.emit("dynamic_range", (x,), ctx.empty((2,)))
        one, none = Constant(np.ones((), F32)), Constant(np.zeros((), U8))
        zero_point = ctx.emit(
            "quantize",
            (found.at((1,)), ctx.typed(one), ctx.typed(none)),
            ctx.empty((), dtype=U8),
            integers=True,
        )
        return _quantize_step(ctx, x, found.at((0,)), zero_point), found.at((0,)), zero_point
    scale = ctx.call(lambda a: dynamic_range(a)[0], [x], (), F32)
    zero = ctx.call(lambda a: dynamic_range(a)[1].astype(U8), [x], (), U8)

    def function(x: Array, scale: Array, zero: Array) -> Array:
        def quantise(x: Array) -> Array:
            y = np.divide(x, scale)
            np.rint(y, out=y)
            return saturated(np.add(y, zero.astype(F32), out=y), U8)

        return _blockwise(quantise, x, U8)

    scratch = 3 * F32.itemsize * min(math.prod(x.shape), _BLOCK)
    return ctx.call(function, [x, scale, zero], x.shape, U8, scratch=scratch), scale, zero
