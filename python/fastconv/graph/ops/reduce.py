"""Reductions over dimensions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastconv.graph.context import Context
from fastconv.graph.registry import op
from fastconv.graph.value import Array, Constant, Ints, Value, normalized_axes


def _reduce(
    ctx: Context,
    kind: str,
    function: Callable[..., Array],
    data: Value,
    axes: Value | None,
    axes_attribute: Ints | None,
    keepdims: int,
    noop_with_empty_axes: int,
) -> Value:
    rank = len(data.shape)
    given = list(axes_attribute or ()) if axes is None else ctx.ints("axes", axes)
    if not given and noop_with_empty_axes:
        return data
    reduced = normalized_axes("axes", given, rank) if given else tuple(range(rank))
    if isinstance(data, Constant):
        return Constant(np.asarray(function(data.array, axis=reduced, keepdims=bool(keepdims)), data.dtype))
    kept = tuple(1 if axis in reduced else n for axis, n in enumerate(data.shape))
    y = ctx.emit("reduce", (data,), ctx.empty(kept, data.order()), kind)
    return y if keepdims else ctx.reshape(y, [n for axis, n in enumerate(kept) if axis not in reduced])


def _register(name: str, kind: str, function: Callable[..., Array]) -> None:
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
        return _reduce(ctx, kind, function, data, axes_input, axes, keepdims, noop_with_empty_axes)


_register("ReduceMean", "mean", np.mean)
_register("ReduceSum", "sum", np.sum)
_register("ReduceMax", "max", np.max)
_register("ReduceMin", "min", np.min)


@op("ReduceProd")
def reduce_prod(ctx: Context, data: Value, axes: Value | None = None, *, keepdims: int = 1) -> Value:
    """Product over dimensions of a constant (the size of a shape)."""
    array = ctx.array("data", data)
    chosen = None if axes is None else normalized_axes("axes", ctx.ints("axes", axes), array.ndim)
    return Constant(np.asarray(np.prod(array, axis=chosen, keepdims=bool(keepdims)), data.dtype))
