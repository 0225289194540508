"""Reductions over dimensions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from fastconv.graph.context import MAX_RANK, Context
from fastconv.graph.ir import Activation
from fastconv.graph.registry import op
from fastconv.graph.value import F32, Array, Ints, Value, normalized_axes

Reduce = Callable[[Context, Value, tuple[int, ...]], Value]  # over some axes, which stay with size 1


def reduce(ctx: Context, kind: str, x: Value, axes: Sequence[int]) -> Value:
    """Reduce over axes, which stay with size 1: mean, sum, max or min."""
    kept = [1 if axis in axes else n for axis, n in enumerate(x.shape)]
    empty = math.prod(x.shape) == 0 or not axes
    if x.dtype == F32 and len(x.shape) <= MAX_RANK and not empty:
        x = ctx.tensor(x)
        return ctx.emit("reduce", (x,), ctx.empty(kept, x.order()), kind)
    return ctx.call(lambda a: _FUNCTIONS[kind](a, tuple(axes)), [x], kept, x.dtype, kind)


def _extreme(a: Array, axes: tuple[int, ...], function: Callable[..., Array], least: bool) -> Array:
    """Maximum or minimum; of nothing it is the least or the greatest number of the type."""
    if a.dtype.kind == "f":
        initial: float | bool = -math.inf if least else math.inf
    elif a.dtype.kind == "b":
        initial = not least
    else:
        initial = np.iinfo(a.dtype).min if least else np.iinfo(a.dtype).max
    return np.asarray(function(a, axis=axes, keepdims=True, initial=initial), a.dtype)


def _mean(a: Array, axes: tuple[int, ...]) -> Array:
    mean = np.mean(a, axis=axes, keepdims=True)
    return np.asarray(mean if a.dtype.kind == "f" else np.trunc(mean), a.dtype)


_FUNCTIONS: dict[str, Callable[[Array, tuple[int, ...]], Array]] = {
    "mean": _mean,
    "sum": lambda a, axes: np.sum(a, axis=axes, keepdims=True, dtype=a.dtype),
    "max": lambda a, axes: _extreme(a, axes, np.max, True),
    "min": lambda a, axes: _extreme(a, axes, np.min, False),
}


def _register(name: str, function: Reduce) -> None:
    @op(name)
    def lower(
        ctx: Context,
        data: Value,
        axes_input: Value | None = None,
        *,
        axes: Ints | None = None,
        keepdims: int = 1,
        noop_with_empty_axes: int = 0,
    ) -> Value:
        rank = len(data.shape)
        given = list(axes or ()) if axes_input is None else ctx.ints("axes", axes_input)
        if given or noop_with_empty_axes:
            reduced = normalized_axes("axes", given, rank)
        else:
            reduced = tuple(range(rank))
        y = function(ctx, data, reduced)
        return y if keepdims else ctx.reshape(y, [n for i, n in enumerate(y.shape) if i not in reduced])


def _register_kind(name: str, kind: str) -> None:
    _register(name, lambda ctx, x, axes: reduce(ctx, kind, x, axes) if axes else x)


for _name, _kind in (
    ("ReduceMean", "mean"),
    ("ReduceSum", "sum"),
    ("ReduceMax", "max"),
    ("ReduceMin", "min"),
):
    _register_kind(_name, _kind)


def _elementwise(ctx: Context, kind: str, x: Value) -> Value:
    return ctx.activate(x, Activation(kind))


def _log(ctx: Context, x: Value) -> Value:
    return ctx.call(np.log, [x], x.shape, x.dtype, "log")


def _reduce_prod(ctx: Context, x: Value, axes: tuple[int, ...]) -> Value:
    kept = [1 if axis in axes else n for axis, n in enumerate(x.shape)]
    return ctx.call(lambda a: np.prod(a, axis=axes, keepdims=True, dtype=a.dtype), [x], kept, x.dtype)


def _reduce_l1(ctx: Context, x: Value, axes: tuple[int, ...]) -> Value:
    return reduce(ctx, "sum", _elementwise(ctx, "abs", x), axes)


def _reduce_sum_square(ctx: Context, x: Value, axes: tuple[int, ...]) -> Value:
    return reduce(ctx, "sum", ctx.binary("mul", x, x), axes)


def _reduce_l2(ctx: Context, x: Value, axes: tuple[int, ...]) -> Value:
    if x.dtype.kind != "f":
        wide = _reduce_l2(ctx, ctx.cast(x, np.dtype(np.float64)), axes)
        return ctx.cast(wide, x.dtype)
    return _elementwise(ctx, "sqrt", _reduce_sum_square(ctx, x, axes))


def _reduce_log_sum(ctx: Context, x: Value, axes: tuple[int, ...]) -> Value:
    return _log(ctx, reduce(ctx, "sum", x, axes))


def _reduce_log_sum_exp(ctx: Context, x: Value, axes: tuple[int, ...]) -> Value:
    """log(sum(exp(x))), of what is left when the largest is taken out: exp does not overflow."""
    largest = reduce(ctx, "max", x, axes)
    finite = ctx.call(
        lambda a: np.where(np.isfinite(a), a, a.dtype.type(0)), [largest], largest.shape, x.dtype
    )
    rest = _elementwise(ctx, "exp", ctx.binary("sub", x, finite))
    return ctx.binary("add", _log(ctx, reduce(ctx, "sum", rest, axes)), finite)


_register("ReduceProd", _reduce_prod)
_register("ReduceL1", _reduce_l1)
_register("ReduceL2", _reduce_l2)
_register("ReduceSumSquare", _reduce_sum_square)
_register("ReduceLogSum", _reduce_log_sum)
_register("ReduceLogSumExp", _reduce_log_sum_exp)
