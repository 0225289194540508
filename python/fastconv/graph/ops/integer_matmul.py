"""Matrix products of integers of 8 bits.

One by constant weights is a fully connected layer of the integer kernels (csrc/conv/integer_conv.h). Where
weights are computed, the sums are found by numpy.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv._quantised import Finish
from fastconv.errors import ShapeError
from fastconv.graph.context import Context, broadcast_shapes
from fastconv.graph.ops.integer import as_float, as_int32, numbers_of, requantized, zero_of
from fastconv.graph.ops.integer_conv import Operands, integer_convolution
from fastconv.graph.ops.products import exact_product
from fastconv.graph.registry import FASTCONV_DOMAIN, op
from fastconv.graph.value import F32, F64, S32, Array, Constant, Value

_FULLY_CONNECTED: dict[str, Any] = {
    "spatial": 0,
    "stride": [],
    "dilation": [],
    "groups": 1,
    "auto_pad": "explicit",
    "transposed": False,
    "output_padding": [],
}


def fits_kernels(operands: Operands) -> bool:
    """Whether a product of matrices is one of the integer kernels: by constants, with one zero point of a."""
    a, b = operands.x, operands.w
    one = math.prod(operands.x_zero.shape) == 1
    return one and bool(a.shape) and len(b.shape) == 2 and operands.packable


def packed_product(ctx: Context, operands: Operands, finish: Finish, *given: Value) -> Value:
    """Multiply by the integer kernels; ``given`` are further constants that the finish was made of."""
    a, depth = operands.x, math.prod(operands.w.shape) // operands.channels
    if a.shape[-1] != depth:
        raise ShapeError(f"a, b: expected equal inner sizes, got shapes {a.shape} and {operands.w.shape}")
    operands.check()
    rows = ctx.reshape(a, (math.prod(a.shape[:-1]), depth))
    fields = rows, operands.x_zero, operands.w, operands.w_zero, operands.bias, operands.channels_last
    y = integer_convolution(ctx, Operands(*fields), _FULLY_CONNECTED, [], finish, *given)
    return ctx.reshape(y, (*a.shape[:-1], operands.channels))


def _rows(value: Value, rows: int) -> tuple[int, ...]:
    """Return the shape in which one number, one a row, or the numbers of a batch's rows apply to a matrix."""
    if math.prod(value.shape) == 1:
        return ()
    return (rows, 1) if len(value.shape) == 1 else value.shape


def _columns(value: Value) -> tuple[int, ...]:
    return () if math.prod(value.shape) == 1 else value.shape


def integer_product(
    ctx: Context, a: Value, a_zero: Value, b: Value, b_zero: Value, dtype: np.dtype[Any] = S32
) -> Value:
    """Return the sums of (a - its zero point) * (b - its own), in a dtype, or whole numbers in f64."""
    if not a.shape or not b.shape:
        raise ShapeError(f"a, b: expected at least 1 dimension each, got shapes {a.shape} and {b.shape}")
    operands = Operands(a, a_zero, b, b_zero, channels_last=True)
    if fits_kernels(operands):
        # With a scale of 1 the sums are rounded to f32 as a cast does.
        finish = Finish(F32, np.ones(b.shape[1], F32)) if dtype == F32 else Finish(dtype)
        return packed_product(ctx, operands, finish)
    a_shape, b_shape = _rows(a_zero, a.shape[-2] if len(a.shape) > 1 else 1), _columns(b_zero)
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


def requantisation(
    ctx: Context, operands: Operands, scales: dict[str, Value], y_zero_point: Value, alpha: float = 1.0
) -> Finish | None:
    """Return what quantises sums anew, where one number of each scale, or one a column of b, is known."""
    zero_of(y_zero_point, y_zero_point)  # which checks its type
    shapes = (), (operands.channels,), ()
    for value, wanted in zip((*scales.values(), y_zero_point), (*shapes, ()), strict=True):
        if not isinstance(value, Constant) or value.shape not in ((), (1,), wanted):
            return None
    a, b, y = (numbers_of(ctx, name, value) for name, value in scales.items())
    zero, info = int(ctx.array("y_zero_point", y_zero_point).reshape(())), np.iinfo(y_zero_point.dtype)
    scale = np.ascontiguousarray(np.broadcast_to(a * np.float32(alpha) * b / y, (operands.channels,)))
    return Finish(y_zero_point.dtype, scale, float(info.min - zero), float(info.max - zero), zero)


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
    operands = Operands(a, zero_of(a_zero_point, a), b, zero_of(b_zero_point, b), channels_last=True)
    scales = {"a_scale": a_scale, "b_scale": b_scale, "y_scale": y_scale}
    finish = requantisation(ctx, operands, scales, y_zero_point) if fits_kernels(operands) else None
    if finish is not None:
        return packed_product(ctx, operands, finish, *scales.values(), y_zero_point)
    sums = integer_product(ctx, operands.x, operands.x_zero, operands.w, operands.w_zero)
    rows = sums.shape[-2] if len(sums.shape) > 1 else 1
    shapes = [_rows(a_scale, rows), _columns(b_scale), _rows(y_scale, rows), _rows(y_zero_point, rows)]
    return requantized(ctx, sums, [a_scale, b_scale, y_scale], y_zero_point, shapes)
