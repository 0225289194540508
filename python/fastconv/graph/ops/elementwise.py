"""Elementwise arithmetic, broadcast as in numpy; comparisons and selection of constants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv.errors import ModelError, ShapeError, UnsupportedOpError
from fastconv.graph.context import Context
from fastconv.graph.ir import NO_ACTIVATION, Activation
from fastconv.graph.registry import op
from fastconv.graph.value import F32, Constant, Value


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
            b = _legacy_broadcast(ctx, a, b, axis)
        return ctx.binary(kind, a, b, activation)


def _legacy_broadcast(ctx: Context, a: Value, b: Value, axis: int) -> Value:
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
    if isinstance(b, Constant) and b.dtype != a.dtype and a.dtype == F32:
        b = Constant(b.array.astype(np.float32))
    return ctx.binary("pow", a, b, activation)


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


@op("PRelu", ignore=("consumed_inputs",))
def prelu(ctx: Context, x: Value, slope: Value) -> Value:
    """X where x >= 0, else slope * x; before opset 7 a vector of slopes is one a channel."""
    rank = len(x.shape)
    if ctx.opset < 7 and len(slope.shape) == 1 and rank > 2:
        slope = ctx.reshape(slope, (*slope.shape, *[1] * (rank - 2)))
    if np.broadcast_shapes(x.shape, slope.shape) != x.shape:
        raise ShapeError(f"slope: expected a shape that broadcasts to {x.shape}, got {slope.shape}")
    x, slope = ctx.tensor(x), ctx.tensor(slope).broadcast_to(x.shape)
    return ctx.emit("prelu", (x, slope), ctx.result(x.shape, x.order()))


def _register_constant(name: str, function: Callable[..., Any], inputs: int) -> None:
    """Enter an operator that computes with shapes: all of its inputs must be constants."""

    @op(name, inputs=inputs)
    def lower(ctx: Context, a: Value, b: Value | None = None, c: Value | None = None) -> Value:
        arrays = [ctx.array(f"input {i}", v) for i, v in enumerate((a, b, c)[:inputs]) if v is not None]
        if len(arrays) != inputs:
            raise ModelError(f"expected {inputs} inputs, got {len(arrays)}")
        return Constant(np.asarray(function(*arrays)))


_register_constant("Equal", np.equal, 2)
_register_constant("Less", np.less, 2)
_register_constant("Greater", np.greater, 2)
_register_constant("And", np.logical_and, 2)
_register_constant("Or", np.logical_or, 2)
_register_constant("Not", np.logical_not, 1)
_register_constant("Floor", np.floor, 1)
_register_constant("Ceil", np.ceil, 1)
_register_constant("Where", np.where, 3)


@op("Mod")
def mod(ctx: Context, a: Value, b: Value, *, fmod: int = 0) -> Value:
    """Remainder of constants, with the sign of the divisor (of the dividend for fmod)."""
    x, y = ctx.array("a", a), ctx.array("b", b)
    if not fmod and x.dtype.kind == "f":
        raise UnsupportedOpError("fmod: expected 1 for floating-point values, got 0")
    return Constant(np.asarray(np.fmod(x, y) if fmod else np.mod(x, y)))
