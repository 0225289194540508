"""Operators that move, cut and join values, or make constants. On tensors most are views and cost nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv.errors import DTypeError, ModelError, ShapeError, UnsupportedOpError
from fastconv.graph.context import MAX_CONSTANT, Concatenation, Context, broadcast_shapes
from fastconv.graph.ops.cast import element_type
from fastconv.graph.ops.truth import choose
from fastconv.graph.registry import op
from fastconv.graph.value import (
    MAX_DIMENSIONS,
    Array,
    Constant,
    Floats,
    Ints,
    Tensor,
    Value,
    channels_last_order,
    normalized_axes,
    normalized_axis,
    size_of,
)


@op("Identity", any_dtype=True)
def identity(ctx: Context, x: Value) -> Value:  # noqa: ARG001
    """X itself."""
    return x


@op("Dropout", ignore=("ratio", "seed", "is_test", "consumed_inputs"))
def dropout(
    ctx: Context,
    x: Value,
    ratio: Value | None = None,
    training_mode: Value | None = None,
) -> tuple[Value, Value]:
    """X itself, and a mask of ones: dropout does nothing at inference, nor with a ratio of 0."""
    training = training_mode is not None and ctx.array("training_mode", training_mode).any()
    if training and (ratio is None or ctx.array("ratio", ratio).any()):
        raise UnsupportedOpError("training_mode: expected false, got true")
    mask = np.ones((), bool if ctx.opset >= 10 else np.float32)
    return x, Constant(np.broadcast_to(mask, x.shape))


# -- constants -----------------------------------------------------------------------------------------------


@op("Constant")
def constant(
    ctx: Context,  # noqa: ARG001
    *,
    value: Array | None = None,
    value_float: float | None = None,
    value_floats: Floats | None = None,
    value_int: int | None = None,
    value_ints: Ints | None = None,
) -> Value:
    """Value of the one attribute that is given."""
    if value is not None:
        return Constant(value)
    if value_float is not None or value_floats is not None:
        return Constant(np.asarray(value_floats if value_float is None else value_float, np.float32))
    if value_int is not None or value_ints is not None:
        return Constant(np.asarray(value_ints if value_int is None else value_int, np.int64))
    raise ModelError("expected one of the attributes value, value_float(s) and value_int(s), got none")


def _checked_size(shape: Ints) -> tuple[int, ...]:
    size_of(shape, "shape", most=MAX_CONSTANT)
    return tuple(shape)


@op("ConstantOfShape")
def constant_of_shape(ctx: Context, shape: Value, *, value: Array | None = None) -> Value:
    """One value, repeated."""
    scalar = np.zeros(1, np.float32) if value is None else value
    if scalar.size != 1:
        raise ShapeError(f"value: expected one element, got shape {scalar.shape}")
    return Constant(np.broadcast_to(scalar.reshape(()), _checked_size(ctx.ints("shape", shape))))


@op("Shape", any_dtype=True)
def shape_of(ctx: Context, x: Value, *, start: int = 0, end: int | None = None) -> Value:  # noqa: ARG001
    """Shape of a value, known when its program is made."""
    return Constant(np.array(x.shape[start:end], np.int64))


@op("Size", any_dtype=True)
def count_of(ctx: Context, x: Value) -> Value:  # noqa: ARG001
    """Return the number of elements of a value."""
    return Constant(np.array(math.prod(x.shape), np.int64))


@op("Range")
def arange(ctx: Context, start: Value, limit: Value, delta: Value) -> Value:
    """Start, start + delta, ... below the limit."""
    values = {"start": start, "limit": limit, "delta": delta}
    for name, value in values.items():
        if math.prod(value.shape) != 1:
            raise ShapeError(f"{name}: expected one number, got shape {value.shape}")
    first, last, step = (ctx.array(name, value).reshape(())[()] for name, value in values.items())
    if not (np.isfinite([first, last, step]).all() and step != 0):
        raise ShapeError(f"start, limit, delta: expected numbers, delta not 0, got {first}, {last}, {step}")
    count = max(0, math.ceil((_number(last) - _number(first)) / _number(step)))
    _checked_size([count])
    return Constant((first + np.arange(count).astype(start.dtype) * step).astype(start.dtype))


def _number(value: Any) -> float | int:
    """Return a numpy number as Python's; those do not wrap around."""
    number: float | int = value.item()
    return number


@op("EyeLike")
def eye_like(ctx: Context, x: Value, *, dtype: int | None = None, k: int = 0) -> Value:  # noqa: ARG001
    """Ones on a diagonal of a matrix of x's shape."""
    if len(x.shape) != 2:
        raise ShapeError(f"x: expected 2 dimensions, got shape {x.shape}")
    kind = x.dtype if dtype is None else element_type("dtype", dtype)
    _checked_size(x.shape)
    return Constant(np.eye(*x.shape, k=max(-x.shape[0], min(k, x.shape[1])), dtype=kind))


# -- views ---------------------------------------------------------------------------------------------------


@op("Reshape", ignore=("consumed_inputs",))
def reshape(
    ctx: Context, x: Value, shape_input: Value | None = None, *, allowzero: int = 0, shape: Ints | None = None
) -> Value:
    """Another shape; 0 copies a dimension of x (without allowzero), -1 is what remains."""
    target = list(shape or ()) if shape_input is None else ctx.ints("shape", shape_input)
    if len(target) > MAX_DIMENSIONS:
        raise ShapeError(f"shape: expected at most {MAX_DIMENSIONS} dimensions, got {len(target)}")
    full = [x.shape[i] if n == 0 and not allowzero and i < len(x.shape) else n for i, n in enumerate(target)]
    size, known = math.prod(x.shape), math.prod(n for n in full if n != -1)
    if full.count(-1) == 1 and known > 0 and size % known == 0:
        full[full.index(-1)] = size // known
    if min(full, default=1) < 0 or math.prod(full) != size:
        raise ShapeError(f"shape: expected one that holds the {size} elements of {x.shape}, got {target}")
    return ctx.reshape(x, full)


@op("Flatten")
def flatten(ctx: Context, x: Value, *, axis: int = 1) -> Value:
    """Two dimensions: those before the axis and those from it on."""
    rank = len(x.shape)
    split = axis if axis == rank else normalized_axis("axis", axis, rank)
    return ctx.reshape(x, (math.prod(x.shape[:split]), math.prod(x.shape[split:])))


@op("Transpose")
def transpose(ctx: Context, x: Value, *, perm: Ints | None = None) -> Value:  # noqa: ARG001
    """Dimensions in another order (default: reversed)."""
    rank = len(x.shape)
    order = tuple(range(rank))[::-1] if perm is None else normalized_axes("perm", perm, rank)
    if len(order) != rank:
        raise ShapeError(f"perm: expected {rank} axes, got {list(order)}")
    return x.transpose(order)


@op("Squeeze")
def squeeze(ctx: Context, x: Value, axes_input: Value | None = None, *, axes: Ints | None = None) -> Value:
    """Without the given dimensions of size 1 (default: all of them)."""
    given = axes if axes_input is None else ctx.ints("axes", axes_input)
    rank = len(x.shape)
    dropped = (
        [i for i, n in enumerate(x.shape) if n == 1]
        if given is None
        else normalized_axes("axes", given, rank)
    )
    if any(x.shape[i] != 1 for i in dropped):
        raise ShapeError(f"axes: expected dimensions of size 1, got {list(dropped)} of shape {x.shape}")
    return ctx.reshape(x, [n for i, n in enumerate(x.shape) if i not in dropped])


@op("Unsqueeze")
def unsqueeze(ctx: Context, x: Value, axes_input: Value | None = None, *, axes: Ints | None = None) -> Value:
    """With new dimensions of size 1 at the given places of the result."""
    given = axes if axes_input is None else ctx.ints("axes", axes_input)
    if given is None:
        raise ModelError("axes: expected integers, got none")
    size_of((*x.shape, *[1] * len(given)))
    added = normalized_axes("axes", given, len(x.shape) + len(given))
    sizes = iter(x.shape)
    return ctx.reshape(x, [1 if i in added else next(sizes) for i in range(len(x.shape) + len(added))])


@op("Expand")
def expand(ctx: Context, x: Value, shape: Value) -> Value:
    """Broadcast to a shape; dimensions of size 1 in the shape keep those of x."""
    full = broadcast_shapes(x.shape, tuple(ctx.ints("shape", shape)))
    if isinstance(x, Constant):
        return x.broadcast_to(_checked_size(full))
    # Nothing is taken yet, but whoever reads it may need as much.
    ctx.budget.check(size_of(full, "shape") * x.dtype.itemsize)
    return x.broadcast_to(full)


@op("Slice")
def slice_(
    ctx: Context,
    x: Value,
    starts_input: Value | None = None,
    ends_input: Value | None = None,
    axes_input: Value | None = None,
    steps_input: Value | None = None,
    *,
    starts: Ints | None = None,
    ends: Ints | None = None,
    axes: Ints | None = None,
) -> Value:
    """x[start:end:step] along axes; attributes before opset 10, inputs after."""
    first = list(starts or ()) if starts_input is None else ctx.ints("starts", starts_input)
    last = list(ends or ()) if ends_input is None else ctx.ints("ends", ends_input)
    along = axes if axes_input is None else ctx.ints("axes", axes_input)
    step = [1] * len(first) if steps_input is None else ctx.ints("steps", steps_input)
    where = normalized_axes("axes", range(len(first)) if along is None else along, len(x.shape))
    if not len(first) == len(last) == len(where) == len(step):
        raise ShapeError(
            f"starts, ends, axes, steps: expected equal lengths, got {first}, {last}, {where}, {step}"
        )
    if 0 in step:
        raise ShapeError(f"steps: expected integers other than 0, got {step}")
    for start, end, axis, by in zip(first, last, where, step, strict=True):
        taken = range(*slice(start, end, by).indices(x.shape[axis]))
        x = x.slice(axis, taken.start if taken else 0, by, len(taken))
    return x


@op("Split")
def split(
    ctx: Context,
    x: Value,
    split_input: Value | None = None,
    *,
    axis: int = 0,
    num_outputs: int | None = None,
    split: Ints | None = None,
) -> tuple[Value, ...]:
    """Consecutive parts along an axis, equal ones unless their sizes are given."""
    axis = normalized_axis("axis", axis, len(x.shape))
    size, parts = x.shape[axis], len(ctx.node.outputs) if num_outputs is None else num_outputs
    given = split if split_input is None else ctx.ints("split", split_input)
    if given is None:
        if parts != len(ctx.node.outputs) or parts < 1:
            raise ShapeError(f"num_outputs: expected {len(ctx.node.outputs)}, one an output, got {parts}")
        if num_outputs is None and size % parts:  # from opset 18 on num_outputs allows a smaller last part
            raise ShapeError(f"x: expected a multiple of {parts} at axis {axis}, for equal parts, got {size}")
        most = -(-size // parts)
        given = [min(most, max(0, size - i * most)) for i in range(parts)]
    if sum(given) != size or len(given) != len(ctx.node.outputs) or min(given) < 0:
        raise ShapeError(
            f"split: expected {len(ctx.node.outputs)} sizes that add up to {size}, got {list(given)}"
        )
    starts = itertools.accumulate(given[:-1], initial=0)
    return tuple(x.slice(axis, start, 1, length) for start, length in zip(starts, given, strict=True))


# -- copies --------------------------------------------------------------------------------------------------


@op("Concat")
def concat(ctx: Context, *values: Value, axis: int = 1) -> Value:
    """Values joined along an axis. Those already written to their place in the result are not copied."""
    if not values:
        raise ModelError("expected at least 1 input, got 0")
    return join(ctx, ctx.node.inputs, values, axis)


def join(ctx: Context, names: Sequence[str], values: Sequence[Value], axis: int) -> Value:
    """Join values along an axis, as the current node's result.

    ``names`` are those under which nodes write the values, which may then write them to their place; a value
    that the current node itself made has none: it is copied there.
    """
    axis = normalized_axis("axis", axis, len(values[0].shape))
    dtype = values[0].dtype
    if any(v.dtype != dtype for v in values):
        raise DTypeError(f"expected one element type, got {', '.join(str(v.dtype) for v in values)}")
    rest = {tuple(-1 if i == axis else n for i, n in enumerate(v.shape)) for v in values}
    if len(rest) != 1:
        raise ShapeError(
            f"expected shapes equal but for axis {axis}, got {', '.join(str(v.shape) for v in values)}"
        )
    rank = len(values[0].shape)
    shape = [n if i != axis else sum(v.shape[axis] for v in values) for i, n in enumerate(values[0].shape)]
    if all(isinstance(v, Constant) for v in values):
        return ctx.call(lambda *arrays: np.concatenate(arrays, axis), values, shape, dtype)
    stack = all(v.shape[axis] == 1 for v in values)  # each part stays as it is, one after the other
    channels_last = axis == 1 and rank >= 3 and not stack
    order = channels_last_order(rank) if channels_last else _stack_order(values, axis) if stack else None
    result = ctx.result(shape, order, dtype)
    start, parts = 0, []
    for name, value in zip(names, values, strict=True):
        part = result.slice(axis, start, 1, value.shape[axis])
        if value != part:
            ctx.copy(ctx.typed(value), part)
        parts.append((name, start, value.shape[axis]))
        start += value.shape[axis]
    if channels_last:
        ctx.concatenations.append(Concatenation(ctx.node.outputs[0], tuple(shape), tuple(parts), dtype))
    return result


def _stack_order(values: Sequence[Value], axis: int) -> list[int] | None:
    """Return the order of axes in memory in which a stack of values keeps that of the first.

    The axis that they are stacked along comes as far out as the ones before it allow.
    """
    first = next(v for v in values if isinstance(v, Tensor))
    order = [i for i in first.order() if i != axis]
    order.insert(axis, axis)
    return order


_PAD_MODES = ("constant", "edge", "reflect", "wrap")


@op("Pad")
def pad(
    ctx: Context,
    x: Value,
    pads_input: Value | None = None,
    value_input: Value | None = None,
    axes_input: Value | None = None,
    *,
    mode: str = "constant",
    pads: Ints | None = None,
    paddings: Ints | None = None,
    value: float = 0.0,
) -> Value:
    """Surround with a border; negative sizes cut. Attributes before opset 11, then inputs."""
    if mode not in _PAD_MODES:
        raise UnsupportedOpError(f"mode: expected one of {', '.join(_PAD_MODES)}, got {mode!r}")
    rank = len(x.shape)
    given = list(pads or paddings or ()) if pads_input is None else ctx.ints("pads", pads_input)
    fill: Any = value
    if value_input is not None and value_input.shape != (0,):
        if math.prod(value_input.shape) != 1:
            raise ShapeError(f"constant_value: expected one number, got shape {value_input.shape}")
        fill = ctx.array("constant_value", value_input).reshape(())[()]
    axes = normalized_axes("axes", range(rank) if axes_input is None else ctx.ints("axes", axes_input), rank)
    if len(given) != 2 * len(axes):
        raise ShapeError(f"pads: expected {2 * len(axes)} integers, got {given}")
    borders = [(0, 0)] * rank
    for axis, lo, hi in zip(axes, given[: len(axes)], given[len(axes) :], strict=True):
        kept = x.shape[axis] + min(lo, 0) + min(hi, 0)
        if kept < 0:
            raise ShapeError(
                f"pads: expected to keep elements of axis {axis}, got {lo} and {hi} for {x.shape[axis]}"
            )
        x = x.slice(axis, max(-lo, 0), 1, kept)
        borders[axis] = max(lo, 0), max(hi, 0)
    if not any(map(any, borders)):
        return x
    padded = [n + lo + hi for n, (lo, hi) in zip(x.shape, borders, strict=True)]
    if isinstance(x, Constant):
        how: dict[str, Any] = {"mode": mode}
        if mode == "constant":
            how["constant_values"] = fill
        return ctx.call(lambda array: np.pad(array, borders, **how), [x], padded, x.dtype)
    result = ctx.empty(padded, x.order(), x.dtype)
    if mode == "constant":
        ctx.fill(result, fill)
    inner = result
    for axis, (lo, _) in enumerate(borders):
        inner = inner.slice(axis, lo, 1, x.shape[axis])
    ctx.copy(x, inner)
    if mode != "constant":
        _mirror(ctx, result, borders, x.shape, mode)
    return result


def _mirror(
    ctx: Context, result: Tensor, borders: Sequence[tuple[int, int]], shape: Sequence[int], mode: str
) -> None:
    """Fill the borders from the middle, axis by axis: those of later axes include those of earlier ones."""
    for axis, ((lo, hi), n) in enumerate(zip(borders, shape, strict=True)):
        if not lo and not hi:
            continue
        most = {"edge": lo + hi if n else 0, "reflect": n - 1, "wrap": n}[mode]
        if max(lo, hi) > most:
            raise UnsupportedOpError(
                f"pads: expected at most {most} at axis {axis} ({mode}), got {lo} and {hi}"
            )
        region = result
        for later in range(axis + 1, len(shape)):
            region = region.slice(later, borders[later][0], 1, shape[later])
        # (first element, step) of what is repeated before and after the middle, which is at lo, lo + 1, ...
        last = lo + n - 1
        before = {"edge": (lo, 0), "reflect": (2 * lo, -1), "wrap": (n, 1)}[mode]
        after = {"edge": (last, 0), "reflect": (last - 1, -1), "wrap": (lo, 1)}[mode]
        ctx.copy(region.slice(axis, *before, lo), region.slice(axis, 0, 1, lo))
        ctx.copy(region.slice(axis, *after, hi), region.slice(axis, lo + n, 1, hi))


@op("DepthToSpace")
def depth_to_space(ctx: Context, x: Value, *, blocksize: int, mode: str = "DCR") -> Value:
    """Channels moved into blocks of pixels (pixel shuffle)."""
    if mode not in ("DCR", "CRD"):
        raise ModelError(f"mode: expected DCR or CRD, got {mode!r}")
    n, c, h, w = _image_shape(x)
    b = blocksize
    if b < 1 or c % (b * b):
        raise ShapeError(f"blocksize: expected its square to divide the {c} channels, got {b}")
    if mode == "DCR":
        blocks = ctx.reshape(x, (n, b, b, c // (b * b), h, w)).transpose((0, 3, 4, 1, 5, 2))
    else:
        blocks = ctx.reshape(x, (n, c // (b * b), b, b, h, w)).transpose((0, 1, 4, 2, 5, 3))
    return ctx.reshape(blocks, (n, c // (b * b), h * b, w * b))


@op("SpaceToDepth")
def space_to_depth(ctx: Context, x: Value, *, blocksize: int, mode: str = "DCR") -> Value:
    """Blocks of pixels moved into channels."""
    if mode not in ("DCR", "CRD"):
        raise ModelError(f"mode: expected DCR or CRD, got {mode!r}")
    n, c, h, w = _image_shape(x)
    b = blocksize
    if b < 1 or h % b or w % b:
        raise ShapeError(f"blocksize: expected a divisor of {h} and {w}, got {b}")
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    blocks = ctx.reshape(x, (n, c, h // b, b, w // b, b)).transpose(order)
    return ctx.reshape(blocks, (n, c * b * b, h // b, w // b))


def _image_shape(x: Value) -> tuple[int, int, int, int]:
    if len(x.shape) != 4:
        raise ShapeError(f"x: expected 4 dimensions, got shape {x.shape}")
    n, c, h, w = x.shape
    return n, c, h, w


@op("Tile")
def tile(ctx: Context, x: Value, repeats: Value, axis: Value | None = None) -> Value:
    """X repeated along each dimension; before opset 6, along one axis."""
    rank = len(x.shape)
    times = ctx.ints("repeats", repeats)
    if axis is not None:
        (along,) = normalized_axes("axis", ctx.ints("axis", axis), rank)
        times = [times[0] if i == along else 1 for i in range(rank)]
    if len(times) != rank or any(n < 0 for n in times):
        raise ShapeError(f"repeats: expected {rank} integers of at least 0, got {times}")
    shape = _checked_size([n * t for n, t in zip(x.shape, times, strict=True)])
    # A dimension of n repeated t times is one of (t, n), the first broadcast.
    spread = ctx.reshape(x, [k for n in x.shape for k in (1, n)])
    return ctx.reshape(
        spread.broadcast_to([k for n, t in zip(x.shape, times, strict=True) for k in (t, n)]), shape
    )


@op("Trilu")
def trilu(ctx: Context, x: Value, k: Value | None = None, *, upper: int = 1) -> Value:
    """Upper or lower triangles of matrices, from the k-th diagonal on."""
    if len(x.shape) < 2:
        raise ShapeError(f"x: expected at least 2 dimensions, got shape {x.shape}")
    (first,) = (0,) if k is None else ctx.ints("k", k)
    first = max(-x.shape[-2] - 1, min(first, x.shape[-1] + 1))
    size_of(x.shape[-2:])
    ctx.budget.spend(math.prod(x.shape[-2:]))
    ones = np.ones(x.shape[-2:], bool)
    kept = Constant(np.triu(ones, first) if upper else np.tril(ones, first))
    return choose(ctx, kept, x, Constant(np.zeros((), x.dtype)))


@op("CenterCropPad")
def center_crop_pad(ctx: Context, x: Value, shape: Value, *, axes: Ints | None = None) -> Value:
    """Take the middle of x, cut or surrounded with zeros, at sizes given for some axes."""
    rank = len(x.shape)
    sizes = ctx.ints("shape", shape)
    along = tuple(range(rank)) if axes is None else normalized_axes("axes", axes, rank)
    if len(sizes) != len(along) or any(n < 0 for n in sizes):
        raise ShapeError(f"shape: expected {len(along)} sizes of at least 0, got {sizes}")
    target = list(x.shape)
    for axis, size in zip(along, sizes, strict=True):
        n, target[axis] = x.shape[axis], size
        if size < n:
            x = x.slice(axis, (n - size) // 2, 1, size)
    if x.shape == tuple(target):
        return x
    _checked_size(target)
    result = ctx.empty(target, dtype=x.dtype)
    ctx.fill(result, 0)
    inner = result
    for axis, (n, size) in enumerate(zip(x.shape, target, strict=True)):
        inner = inner.slice(axis, (size - n) // 2, 1, n)
    ctx.copy(ctx.typed(x), inner)
    return result
