"""What is true, and choices by it: comparisons, logic, Where. Of f32 and bool they are kernels'."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv.errors import DTypeError
from fastconv.graph.context import MAX_RANK, MOVED, Context, as_moved, broadcast_shapes
from fastconv.graph.ops.elementwise import legacy_broadcast, numpy_call
from fastconv.graph.registry import op
from fastconv.graph.value import BOOL, F32, Constant, Tensor, Value


def _truth(ctx: Context, kind: str, op: str, a: Value, b: Value) -> Value | None:
    """Compare f32 values (kind "compare"), or join those of bool ("logic"); None where no kernel does.

    Constants alone, and what has more dimensions than kernels have, are numpy's.
    """
    shape = broadcast_shapes(a.shape, b.shape)
    wanted = F32 if kind == "compare" else BOOL
    if not (isinstance(a, Tensor) or isinstance(b, Tensor)) or len(shape) > MAX_RANK:
        return None
    if a.dtype != wanted or b.dtype != wanted:
        return None
    operands = [as_moved(ctx.typed(v).broadcast_to(shape)) for v in (a, b)]
    like = next((v for v in operands if 0 not in v.strides), None)
    y = ctx.result(shape, None if like is None else like.order(), BOOL)
    ctx.emit(kind, operands, as_moved(y), op, integers=True)
    return y


def choose(ctx: Context, condition: Value, a: Value, b: Value) -> Value:
    """Take a where the condition holds, else b, of any dtype; broadcast as numpy does."""
    shape = broadcast_shapes(condition.shape, a.shape, b.shape)
    values = [condition, a, b]
    kernel = a.dtype.kind not in "OSU" and a.dtype.itemsize in MOVED and len(shape) <= MAX_RANK
    if not kernel or not any(isinstance(v, Tensor) for v in values):
        return ctx.call(np.where, values, shape, a.dtype)
    operands = [as_moved(ctx.typed(v).broadcast_to(shape)) for v in values]
    like = next((v for v in operands[1:] if 0 not in v.strides), None)
    y = ctx.result(shape, None if like is None else like.order(), a.dtype)
    ctx.emit("choose", operands, as_moved(y), integers=True)
    return y


def _register_truth(name: str, function: Callable[..., Any], kind: str, op_name: str, swapped: bool) -> None:
    """Enter a comparison or a function of bools: a kernel's for f32 (and bool), else numpy's."""
    kinds = "?iuf" if kind == "compare" else "?"

    @op(name, inputs=2)
    def lower(ctx: Context, a: Value, b: Value, *, axis: int | None = None, broadcast: int = 0) -> Value:
        if ctx.opset < 7 and broadcast and axis is not None:
            b = legacy_broadcast(ctx, a, b, axis)
        first, second = (b, a) if swapped else (a, b)
        found = _truth(ctx, kind, op_name, first, second)
        return numpy_call(ctx, function, (a, b), BOOL, kinds) if found is None else found


for _name, _function, _kind, _op, _swapped in (
    ("Equal", np.equal, "compare", "equal", False),
    ("Less", np.less, "compare", "less", False),
    ("LessOrEqual", np.less_equal, "compare", "less_equal", False),
    ("Greater", np.greater, "compare", "less", True),
    ("GreaterOrEqual", np.greater_equal, "compare", "less_equal", True),
    ("And", np.logical_and, "logic", "both", False),
    ("Or", np.logical_or, "logic", "either", False),
    ("Xor", np.logical_xor, "logic", "one", False),
):
    _register_truth(_name, _function, _kind, _op, _swapped)


@op("Not")
def logical_not(ctx: Context, x: Value) -> Value:
    """Whether a value is false."""
    if x.dtype != BOOL:
        raise DTypeError(f"expected one element type of kind ?, got {x.dtype}")
    other = _truth(ctx, "logic", "one", x, Constant(np.ones((), bool)))
    return numpy_call(ctx, np.logical_not, (x,), BOOL, "?") if other is None else other


@op("Where")
def where(ctx: Context, condition: Value, a: Value, b: Value) -> Value:
    """Take a where the condition holds, else b."""
    if condition.dtype.kind != "b" or a.dtype != b.dtype:
        raise DTypeError(
            "condition, a, b: expected bool and two values of one element type,"
            f" got {condition.dtype}, {a.dtype} and {b.dtype}"
        )
    return choose(ctx, condition, a, b)
