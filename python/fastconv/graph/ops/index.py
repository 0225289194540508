"""Operators that pick elements by index, and those that find indices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastconv import _core
from fastconv.errors import DTypeError, ShapeError, UnsupportedOpError
from fastconv.graph.context import MAX_CONSTANT, MAX_INTS, MAX_RANK, Context
from fastconv.graph.registry import op
from fastconv.graph.value import (
    F32,
    Array,
    Constant,
    Tensor,
    Value,
    normalized_axis,
    row_major_strides,
    size_of,
)

INT64 = np.dtype(np.int64)


def _check_indices(indices: Value, name: str = "indices") -> None:
    if indices.dtype not in (np.dtype(np.int32), INT64):
        raise DTypeError(f"{name}: expected int32 or int64, got {indices.dtype}")


def _within(index: Array, size: int) -> Array:
    """Return indices after they are known to be within -size to size - 1: numpy's mode "wrap" reads them."""
    if index.size and not -size <= index.min() <= index.max() < size:
        raise ShapeError(
            f"indices: expected integers from -{size} to {size - 1}, got {index.min()} to {index.max()}"
        )
    return index


def _from_zero(index: Array, size: int) -> Array:
    """Return indices counted from 0, after they are known to be within -size to size - 1."""
    index = _within(index, size)
    return np.where(index < 0, index + size, index) if index.size and index.min() < 0 else index


@op("Gather")
def gather(ctx: Context, x: Value, indices: Value, *, axis: int = 0) -> Value:
    """Slices of x by indices: a view where those are known and evenly spaced."""
    axis = normalized_axis("axis", axis, len(x.shape))
    _check_indices(indices)
    size = x.shape[axis]
    shape = [*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]]
    if isinstance(indices, Constant) and indices.array.size <= MAX_INTS:
        flat = [int(i) for i in _from_zero(indices.array, size).reshape(-1)]
        step = flat[1] - flat[0] if len(flat) > 1 else 1
        if flat and step and flat == list(range(flat[0], flat[0] + step * len(flat), step)):
            return ctx.reshape(x.slice(axis, flat[0], step, len(flat)), shape)

    def function(a: Array, index: Array, out: Array) -> None:
        np.take(a, _within(index, size), axis, out=out, mode="wrap")

    return ctx.call(function, [x, indices], shape, x.dtype, into=True)


@op("GatherElements")
def gather_elements(ctx: Context, x: Value, indices: Value, *, axis: int = 0) -> Value:
    """Take an element of x for each index, at its own place but for the axis."""
    rank = len(x.shape)
    axis = normalized_axis("axis", axis, rank)
    _check_elements(x, indices, axis)

    def function(a: Array, index: Array, out: Array) -> None:
        np.take(a.reshape(-1), _flat_places(index, axis, a.shape), out=out, mode="wrap")

    scratch = math.prod(x.shape) * x.dtype.itemsize + 3 * math.prod(indices.shape) * INT64.itemsize
    return ctx.call(function, [x, indices], indices.shape, x.dtype, scratch=scratch, into=True)


def _check_elements(x: Value, indices: Value, axis: int) -> None:
    _check_indices(indices)
    fits = len(indices.shape) == len(x.shape) and all(
        i <= n for d, (i, n) in enumerate(zip(indices.shape, x.shape, strict=True)) if d != axis
    )
    if not fits:
        raise ShapeError(
            f"indices: expected a shape within {x.shape} but for axis {axis}, got {indices.shape}"
        )


def _flat_places(index: Array, axis: int, shape: Sequence[int]) -> Array:
    """Return where in a dense array an element is at each index's own place but for the axis."""
    strides = row_major_strides(shape)
    flat = _from_zero(index, shape[axis]).astype(np.int64) * strides[axis]
    for d, n in enumerate(index.shape):
        if d != axis:
            flat += (np.arange(n) * strides[d]).reshape([n if i == d else 1 for i in range(index.ndim)])
    return flat


def _flat_vectors(index: Array, shape: Sequence[int]) -> Array:
    """Return the number of the slice that each vector of indices means, in a dense array."""
    flat = np.zeros(index.shape[:-1], np.int64)
    for d in range(index.shape[-1]):
        flat *= shape[d]
        flat += _from_zero(index[..., d], shape[d])
    return flat


@op("GatherND")
def gather_nd(ctx: Context, x: Value, indices: Value, *, batch_dims: int = 0) -> Value:
    """Slices of x by vectors of indices, for each of the leading batch dimensions."""
    depth, b = _check_vectors(x, indices, batch_dims), batch_dims
    shape = (*indices.shape[:-1], *x.shape[b + depth :])

    def function(a: Array, index: Array, out: Array) -> None:
        groups, slices = math.prod(a.shape[:b]), math.prod(a.shape[b : b + depth])
        inner = math.prod(a.shape[b + depth :])
        flat = _flat_vectors(index.reshape(groups, -1, depth), a.shape[b : b + depth])
        flat += np.arange(groups)[:, np.newaxis] * slices
        rows = a.reshape(groups * slices, inner)
        taken = np.take(rows, flat.reshape(-1), 0, mode="wrap")
        out[...] = taken.reshape(shape)

    scratch = math.prod(x.shape) * x.dtype.itemsize + 2 * math.prod(shape) * x.dtype.itemsize
    scratch += 2 * math.prod(indices.shape) * INT64.itemsize
    return ctx.call(function, [x, indices], shape, x.dtype, scratch=scratch, into=True)


def _check_vectors(x: Value, indices: Value, batch_dims: int) -> int:
    """Return the length of the vectors of indices."""
    _check_indices(indices)
    rank, b = len(x.shape), batch_dims
    fits = 0 <= b < min(rank, len(indices.shape)) and x.shape[:b] == indices.shape[:b]
    if not fits or not 1 <= indices.shape[-1] <= rank - b:
        raise ShapeError(
            f"indices: expected vectors of 1 to {rank - b} indices after {b} batch dimensions of {x.shape},"
            f" got shape {indices.shape}"
        )
    return indices.shape[-1]


_COMBINE: dict[str, Any] = {"add": np.add, "mul": np.multiply, "min": np.minimum, "max": np.maximum}


def _store(a: Array, flat: Array, updates: Array, reduction: str, out: Array) -> None:
    """Write a, and updates at places of it as a dense array; in a reduction repeated places count each."""
    dense = out if out.flags.c_contiguous else np.empty(a.shape, a.dtype)
    dense[...] = a
    if reduction == "none":
        dense.reshape(-1)[flat.reshape(-1)] = updates.reshape(-1)
    else:
        _COMBINE[reduction].at(dense.reshape(-1), flat.reshape(-1), updates.reshape(-1))
    if dense is not out:
        out[...] = dense


def _check_reduction(reduction: str, x: Value, updates: Value) -> None:
    if reduction not in ("none", *_COMBINE):
        raise UnsupportedOpError(f"reduction: expected none, {', '.join(_COMBINE)}, got {reduction!r}")
    if x.dtype != updates.dtype:
        raise DTypeError(f"updates: expected {x.dtype} as x, got {updates.dtype}")


@op("Scatter")
@op("ScatterElements")
def scatter_elements(
    ctx: Context, x: Value, indices: Value, updates: Value, *, axis: int = 0, reduction: str = "none"
) -> Value:
    """X with an element replaced for each index, at its own place but for the axis."""
    axis = normalized_axis("axis", axis, len(x.shape))
    _check_elements(x, indices, axis)
    _check_reduction(reduction, x, updates)
    if updates.shape != indices.shape:
        raise ShapeError(f"updates: expected the shape of indices, {indices.shape}, got {updates.shape}")

    def function(a: Array, index: Array, values: Array, out: Array) -> None:
        _store(a, _flat_places(index, axis, a.shape), values, reduction, out)

    scratch = math.prod(x.shape) * x.dtype.itemsize + 3 * math.prod(indices.shape) * INT64.itemsize
    return ctx.call(function, [x, indices, updates], x.shape, x.dtype, scratch=scratch, into=True)


@op("ScatterND")
def scatter_nd(ctx: Context, x: Value, indices: Value, updates: Value, *, reduction: str = "none") -> Value:
    """X with slices replaced by vectors of indices."""
    depth = _check_vectors(x, indices, 0)
    _check_reduction(reduction, x, updates)
    expected = (*indices.shape[:-1], *x.shape[depth:])
    if updates.shape != expected:
        raise ShapeError(f"updates: expected shape {expected}, got {updates.shape}")

    def function(a: Array, index: Array, values: Array, out: Array) -> None:
        slices, inner = _flat_vectors(index, a.shape[:depth]).reshape(-1), math.prod(a.shape[depth:])
        if reduction == "none" and out.flags.c_contiguous:
            out[...] = a
            out.reshape(-1, inner)[slices] = values.reshape(-1, inner)
        else:
            flat = slices[:, np.newaxis] * inner + np.arange(inner)
            _store(a, flat, values, reduction, out)

    scratch = math.prod(x.shape) * x.dtype.itemsize + 3 * math.prod(updates.shape) * INT64.itemsize
    scratch += 2 * math.prod(indices.shape) * INT64.itemsize
    return ctx.call(function, [x, indices, updates], x.shape, x.dtype, scratch=scratch, into=True)


@op("OneHot")
def one_hot(ctx: Context, indices: Value, depth: Value, values: Value, *, axis: int = -1) -> Value:
    """values[1] where an index is the position along a new axis, values[0] elsewhere."""
    (size,) = (int(n) for n in ctx.array("depth", depth).reshape(-1))
    axis = normalized_axis("axis", axis, len(indices.shape) + 1)
    if values.shape != (2,):
        raise ShapeError(f"values: expected 2 numbers, got shape {values.shape}")
    shape = [*indices.shape[:axis], size, *indices.shape[axis:]]
    count = size_of(shape, "depth", most=MAX_CONSTANT)

    def function(index: Array, two: Array) -> Array:
        positions = np.arange(size).reshape([size if i == axis else 1 for i in range(len(shape))])
        index = np.where(index < 0, index + size, index)
        return np.asarray(np.where(np.expand_dims(index, axis) == positions, two[1], two[0]))

    return ctx.call(function, [indices, values], shape, values.dtype, scratch=count)  # a mask of bytes


def _register_arg(name: str, find: Callable[..., Array]) -> None:
    @op(name)
    def lower(
        ctx: Context, x: Value, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0
    ) -> Value:
        axis = normalized_axis("axis", axis, len(x.shape))
        if x.shape[axis] == 0:
            raise ShapeError(f"x: expected elements along axis {axis}, got shape {x.shape}")
        shape = [1 if i == axis else n for i, n in enumerate(x.shape) if keepdims or i != axis]

        def function(a: Array) -> Array:
            if select_last_index:
                index = a.shape[axis] - 1 - find(np.flip(a, axis), axis=axis)
            else:
                index = find(a, axis=axis)
            return np.asarray(index, np.int64).reshape(shape)

        return ctx.call(function, [x], shape, INT64)


_register_arg("ArgMax", np.argmax)
_register_arg("ArgMin", np.argmin)


@op("TopK")
def top_k(
    ctx: Context,
    x: Value,
    k_input: Value | None = None,
    *,
    axis: int = -1,
    k: int | None = None,
    largest: int = 1,
    sorted: int = 1,  # noqa: ARG001  (sorted is one of the orders that 0 allows)
) -> tuple[Value, Value]:
    """Take the k largest (or smallest) elements along an axis and their indices; the first of equal ones."""
    axis = normalized_axis("axis", axis, len(x.shape))
    counts = [k] if k_input is None else ctx.ints("k", k_input)
    size = x.shape[axis]
    if len(counts) != 1 or counts[0] is None or not 0 <= counts[0] <= size:
        raise ShapeError(f"k: expected one integer from 0 to {size}, got {counts}")
    shape = [counts[0] if i == axis else n for i, n in enumerate(x.shape)]

    if isinstance(x, Tensor) and x.dtype == F32 and len(shape) <= MAX_RANK:
        perm = [i for i in range(len(shape)) if i != axis] + [axis]
        back = [perm.index(i) for i in range(len(shape))]
        moved = [shape[i] for i in perm]
        values, indices = ctx.empty(moved), ctx.empty(moved, dtype=INT64)
        ctx.emit("top_k", (x.transpose(perm),), values, indices, largest != 0, integers=True)
        return values.transpose(back), indices.transpose(back)

    def find(a: Array) -> Array:
        if largest:  # a stable sort of the reversed array puts the last of equal ones first
            order = size - 1 - np.flip(np.argsort(np.flip(a, axis), axis, kind="stable"), axis)
        else:
            order = np.argsort(a, axis, kind="stable")
        return order.take(np.arange(shape[axis]), axis)

    scratch = 3 * math.prod(x.shape) * INT64.itemsize  # the order of all elements, flipped, counted anew
    places = ctx.call(find, [x], shape, INT64, scratch=scratch)
    return ctx.call(lambda a, i: np.take_along_axis(a, i, axis), [x, places], shape, x.dtype), places


@op("NonZero")
def non_zero(ctx: Context, x: Value) -> Value:
    """Find the indices of what is not 0, a column each; how many there are depends on the value."""
    array = np.atleast_1d(ctx.array("x", x))
    ctx.budget.check(2 * array.ndim * array.size * INT64.itemsize)
    # Looked for in the array of one dimension that says what is not 0, which is several times faster.
    places = np.flatnonzero(array.reshape(-1).astype(bool))
    return Constant(np.array(np.unravel_index(places, array.shape), np.int64).reshape(array.ndim, -1))


@op("Compress")
def compress(ctx: Context, x: Value, condition: Value, *, axis: int | None = None) -> Value:
    """Take the slices of x (the elements, without an axis) for which the condition holds."""
    chosen = ctx.array("condition", condition)
    if chosen.ndim != 1 or chosen.dtype.kind != "b":
        raise ShapeError(f"condition: expected a vector of bool, got shape {chosen.shape} of {chosen.dtype}")
    if axis is None:
        x, axis = ctx.reshape(x, [math.prod(x.shape)]), 0
    axis = normalized_axis("axis", axis, len(x.shape))
    if chosen.size > x.shape[axis] and chosen[x.shape[axis] :].any():
        raise ShapeError(f"condition: expected at most {x.shape[axis]} elements, got {chosen.size}")
    index = np.flatnonzero(chosen)
    shape = [index.size if i == axis else n for i, n in enumerate(x.shape)]
    return ctx.call(lambda a: np.take(a, index, axis), [x], shape, x.dtype)


@op("Unique")
def unique(
    ctx: Context, x: Value, *, axis: int | None = None, sorted: int = 1
) -> tuple[Value, Value, Value, Value]:
    """Find the different elements (or slices), where each is first, which each one is, and how often."""
    if axis is not None:
        axis = normalized_axis("axis", axis, len(x.shape))
    array = ctx.array("x", x)
    ctx.budget.check(4 * array.size * INT64.itemsize)
    values, first, inverse, counts = np.unique(
        array, return_index=True, return_inverse=True, return_counts=True, axis=axis
    )
    if not sorted:
        order = np.argsort(first)
        rank = np.argsort(order)
        values = np.take(values, order, 0 if axis is None else axis)
        first, counts, inverse = first[order], counts[order], rank[inverse]
    integers = (Constant(a.reshape(-1).astype(np.int64)) for a in (first, inverse, counts))
    return (Constant(values), *integers)  # type: ignore[return-value]


@op("ReverseSequence")
def reverse_sequence(
    ctx: Context, x: Value, lengths: Value, *, batch_axis: int = 1, time_axis: int = 0
) -> Value:
    """Reverse the first elements of each sequence, as many as its length says."""
    if {batch_axis, time_axis} != {0, 1} or len(x.shape) < 2:
        raise ShapeError(
            f"batch_axis, time_axis: expected 0 and 1 of at least 2 dimensions, got {batch_axis}, {time_axis}"
        )
    n, steps = x.shape[batch_axis], x.shape[time_axis]
    if lengths.shape != (n,):
        raise ShapeError(f"lengths: expected shape ({n},), got {lengths.shape}")
    expanded = [n if i == batch_axis else 1 for i in range(2)]

    def function(a: Array, count: Array) -> Array:
        if count.size and not 0 <= count.min() <= count.max() <= steps:
            raise ShapeError(f"lengths: expected 0 to {steps}, got {count.min()} to {count.max()}")
        time = np.arange(steps).reshape([steps if i == time_axis else 1 for i in range(2)])
        index = np.where(time < count.reshape(expanded), count.reshape(expanded) - 1 - time, time)
        return np.take_along_axis(a, index.reshape(*index.shape, *[1] * (a.ndim - 2)), time_axis)

    return ctx.call(function, [x, lengths], x.shape, x.dtype)


def _register_cumulative(name: str, function: Callable[..., Array], neutral: int) -> None:
    @op(name)
    def lower(ctx: Context, x: Value, axis: Value, *, exclusive: int = 0, reverse: int = 0) -> Value:
        (given,) = (int(n) for n in ctx.array("axis", axis).reshape(-1))
        along = normalized_axis("axis", given, len(x.shape))

        def run(a: Array) -> Array:
            if function is np.cumsum and a.dtype == F32:
                whole = a.reshape(math.prod(a.shape[:along]), a.shape[along], math.prod(a.shape[along + 1 :]))
                sums = np.empty_like(whole, order="C")
                _core.cumulative_sum(whole, sums, exclusive != 0, reverse != 0)
                return sums.reshape(a.shape)
            a = np.flip(a, along) if reverse else a
            result = function(a, axis=along, dtype=a.dtype)
            if exclusive:
                shifted = np.full_like(a, neutral)
                head, tail = [slice(None)] * a.ndim, [slice(None)] * a.ndim
                head[along], tail[along] = slice(None, -1), slice(1, None)
                shifted[tuple(tail)] = result[tuple(head)]
                result = shifted
            return np.flip(result, along) if reverse else result

        return ctx.call(run, [x], x.shape, x.dtype)


_register_cumulative("CumSum", np.cumsum, 0)
_register_cumulative("CumProd", np.cumprod, 1)
