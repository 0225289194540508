"""Elementwise functions, broadcast as in numpy: arithmetic, functions of one value.

Arithmetic of f32 values has kernels, which the next node's activation fuses into; the rest is numpy's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastconv.errors import DTypeError, ModelError, ShapeError
from fastconv.graph.context import Context, broadcast_shapes
from fastconv.graph.ir import NO_ACTIVATION, Activation
from fastconv.graph.registry import op
from fastconv.graph.value import BOOL, F32, Array, Constant, Value


def _register_binary(name: str, kind: str) -> None:
    @op(name, ignore=("consumed_inputs",))
    def lower(
        ctx: Context,
        a: Value,
        b: Value,
        *,
        axis: int | None = None,
        broadcast: int = 0,
        activation: Activation = NO_ACTIVATION,
    ) -> Value:
        if ctx.opset < 7 and broadcast and axis is not None:
            b = legacy_broadcast(ctx, a, b, axis)
        return ctx.binary(kind, a, b, activation)


def legacy_broadcast(ctx: Context, a: Value, b: Value, axis: int) -> Value:
    """Before opset 7, dimensions of b line up with those of a from ``axis`` on."""
    rank = len(a.shape)
    axis += rank if axis < 0 else 0
    trailing = rank - axis - len(b.shape)
    if not 0 <= axis <= rank or trailing < 0:
        raise ShapeError(f"axis: expected a place for shape {b.shape} in {a.shape}, got {axis}")
    return ctx.reshape(b, (*b.shape, *[1] * trailing))


for _name in ("Add", "Sub", "Mul", "Div"):
    _register_binary(_name, _name.lower())


@op("Pow")
def power(ctx: Context, a: Value, b: Value, *, activation: Activation = NO_ACTIVATION) -> Value:
    """Raise to a power; the exponent may be of another type, the result has that of the base."""
    if b.dtype != a.dtype and (a.dtype != F32 or not isinstance(b, Constant)):
        shape, dtype = broadcast_shapes(a.shape, b.shape), a.dtype
        power = ctx.call(lambda x, y: np.asarray(np.power(x, y), dtype), [a, b], shape, dtype)
        return ctx.activate(power, activation)
    if isinstance(b, Constant) and a.dtype == F32 and b.shape in ((), (1,)) and a.shape:
        exponent = float(b.array.reshape(()))
        if exponent in (2, 3):  # products: a call of the C library's pow for each element takes far longer
            square = ctx.binary("mul", a, a, activation if exponent == 2 else NO_ACTIVATION)
            return square if exponent == 2 else ctx.binary("mul", square, a, activation)
    return ctx.binary("pow", a, ctx.cast(b, a.dtype), activation)


def _register_variadic(name: str, kind: str) -> None:
    @op(name, ignore=("consumed_inputs",))
    def lower(ctx: Context, *values: Value, activation: Activation = NO_ACTIVATION) -> Value:
        if not values:
            raise ModelError("expected at least 1 input, got 0")
        result, *others = values
        for other in others[:-1]:
            result = ctx.binary(kind, result, other)
        return (
            ctx.binary(kind, result, others[-1], activation) if others else ctx.activate(result, activation)
        )


for _name, _kind in (("Sum", "add"), ("Min", "min"), ("Max", "max")):
    _register_variadic(_name, _kind)


@op("Mean", ignore=("consumed_inputs",))
def mean(ctx: Context, *values: Value) -> Value:
    """Mean of the values at each place."""
    if not values:
        raise ModelError("expected at least 1 input, got 0")
    total = values[0]
    for value in values[1:]:
        total = ctx.binary("add", total, value)
    return ctx.binary("div", total, Constant(np.asarray(len(values), total.dtype)))


@op("PRelu", ignore=("consumed_inputs",))
def prelu(ctx: Context, x: Value, slope: Value) -> Value:
    """X where x >= 0, else slope * x; before opset 7 a vector of slopes is one a channel."""
    rank = len(x.shape)
    if ctx.opset < 7 and len(slope.shape) == 1 and rank > 2:
        slope = ctx.reshape(slope, (*slope.shape, *[1] * (rank - 2)))
    if broadcast_shapes(x.shape, slope.shape) != x.shape:
        raise ShapeError(f"slope: expected a shape that broadcasts to {x.shape}, got {slope.shape}")
    if x.dtype != F32:
        return numpy_call(ctx, lambda a, s: np.where(a < 0, a * s, a), (x, slope), x.dtype, "iuf")
    x, slope = ctx.tensor(x), ctx.tensor(slope).broadcast_to(x.shape)
    return ctx.emit("prelu", (x, slope), ctx.result(x.shape, x.order()))


def _register_function(
    name: str, function: Callable[..., Any], inputs: int, dtype: str = "", kinds: str = "?iuf"
) -> None:
    """Enter an elementwise function that numpy computes; the result has the first input's dtype, or this.

    ``kinds`` are those of the dtypes that ONNX has it for.
    """

    @op(name, inputs=inputs)
    def lower(ctx: Context, a: Value, *others: Value, axis: int | None = None, broadcast: int = 0) -> Value:
        if ctx.opset < 7 and broadcast and axis is not None:
            others = tuple(legacy_broadcast(ctx, a, b, axis) for b in others)
        values = (a, *others)
        if len(values) != inputs:
            raise ModelError(f"expected {inputs} inputs, got {len(values)}")
        return numpy_call(ctx, function, values, np.dtype(dtype) if dtype else a.dtype, kinds)


def numpy_call(
    ctx: Context, function: Callable[..., Any], values: Sequence[Value], dtype: np.dtype[Any], kinds: str
) -> Value:
    """Compute with numpy, whose own functions write into the result."""
    first = values[0].dtype
    if first.kind.replace("b", "?") not in kinds or any(v.dtype != first for v in values):
        got = " and ".join(str(v.dtype) for v in values)
        raise DTypeError(f"expected one element type of kind {', '.join(kinds)}, got {got}")
    into = isinstance(function, np.ufunc)
    return ctx.call(function, values, broadcast_shapes(*(v.shape for v in values)), dtype, into=into)


_BITWISE: dict[str, Callable[..., Any]] = {
    "BitwiseAnd": np.bitwise_and,
    "BitwiseOr": np.bitwise_or,
    "BitwiseXor": np.bitwise_xor,
}
for _name in _BITWISE:
    _register_function(_name, _BITWISE[_name], 2, kinds="iu")
_register_function("BitwiseNot", np.bitwise_not, 1, kinds="iu")


@op("BitShift")
def bit_shift(ctx: Context, a: Value, b: Value, *, direction: str) -> Value:
    """Shift a by b bits, LEFT or RIGHT; a shift that is no number of a bit drops them all."""
    if direction not in ("LEFT", "RIGHT"):
        raise ModelError(f"direction: expected LEFT or RIGHT, got {direction!r}")
    bits = 8 * a.dtype.itemsize

    def function(x: Array, by: Array) -> Array:
        within = (by >= 0) & (by < bits)
        shift = np.where(within, by, 0).astype(x.dtype)
        if direction == "LEFT":
            return np.where(within, x << shift, 0).astype(x.dtype)
        return np.where(within, x >> shift, np.where(x < 0, -1, 0)).astype(x.dtype)

    return numpy_call(ctx, function, (a, b), a.dtype, "iu")


@op("Mod")
def mod(ctx: Context, a: Value, b: Value, *, fmod: int = 0) -> Value:
    """Remainder with the sign of the divisor (of the dividend for fmod); 0 where an integer divisor is 0."""
    return numpy_call(ctx, np.fmod if fmod else np.mod, (a, b), a.dtype, "iuf")


# -- functions of one value ----------------------------------------------------------------------------------


_UNARY: dict[str, Callable[[Array], Array]] = {
    "Acos": np.arccos,
    "Acosh": np.arccosh,
    "Asin": np.arcsin,
    "Asinh": np.arcsinh,
    "Atan": np.arctan,
    "Atanh": np.arctanh,
    "Ceil": np.ceil,
    "Cos": np.cos,
    "Cosh": np.cosh,
    "Floor": np.floor,
    "Round": np.rint,
    "Sin": np.sin,
    "Sinh": np.sinh,
    "Tan": np.tan,
}


def _unary(ctx: Context, function: Callable[[Array], Array], x: Value, kinds: str = "f") -> Value:
    """Call a function of one value, in the value's own dtype."""
    return numpy_call(ctx, lambda a: np.asarray(function(a), a.dtype), (x,), x.dtype, kinds)


def _register_unary(name: str, function: Callable[[Array], Array]) -> None:
    @op(name, ignore=("consumed_inputs",))
    def lower(ctx: Context, x: Value) -> Value:
        return numpy_call(ctx, function, (x,), x.dtype, "f")


for _name in _UNARY:
    _register_unary(_name, _UNARY[_name])

_register_function("IsNaN", np.isnan, 1, "?", "f")


@op("Sign")
def sign(ctx: Context, x: Value) -> Value:
    """-1, 0 or 1."""
    return numpy_call(ctx, np.sign, (x,), x.dtype, "iuf")


@op("IsInf")
def is_inf(ctx: Context, x: Value, *, detect_negative: int = 1, detect_positive: int = 1) -> Value:
    """Whether a value is infinite, with one of the signs asked for."""
    if detect_negative and detect_positive:
        return numpy_call(ctx, np.isinf, (x,), BOOL, "f")

    def function(a: Array) -> Array:
        return (detect_negative != 0) & np.isneginf(a) | (detect_positive != 0) & np.isposinf(a)

    return numpy_call(ctx, function, (x,), BOOL, "f")


@op("Shrink")
def shrink(ctx: Context, x: Value, *, bias: float = 0.0, lambd: float = 0.5) -> Value:
    """X + bias below -lambd, x - bias above lambd, else 0."""
    return _unary(ctx, lambda a: np.where(a < -lambd, a + bias, np.where(a > lambd, a - bias, 0)), x, "iuf")


@op("SwiGLU")
def swiglu(ctx: Context, gate: Value, x: Value) -> Value:
    """Gate * sigmoid(gate) * x."""
    return ctx.binary("mul", ctx.activate(gate, Activation("silu")), x)
