"""Normalisations, and softmax."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fastconv.errors import ShapeError, UnsupportedOpError
from fastconv.graph.context import MAX_RANK, Context
from fastconv.graph.ir import NO_ACTIVATION, Activation
from fastconv.graph.ops.reduce import reduce
from fastconv.graph.registry import op
from fastconv.graph.value import F32, Array, Constant, Ints, Tensor, Value, normalized_axes, normalized_axis


def batch_norm_affine(
    scale: Array, bias: Array, mean: Array, var: Array, epsilon: float
) -> tuple[Array, Array]:
    """Return the float64 factor and offset a channel that batch normalisation with known statistics is."""
    factor = scale.astype(np.float64) / np.sqrt(var.astype(np.float64) + epsilon)
    return factor, bias - mean * factor


# is_test and consumed_inputs are of opsets 1 to 6, where what follows is inference already.
@op("BatchNormalization", ignore=("is_test", "consumed_inputs"))
def batch_normalization(
    ctx: Context,
    x: Value,
    scale: Value,
    bias: Value,
    mean: Value,
    var: Value,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    spatial: int = 1,
    training_mode: int = 0,
    activation: Activation = NO_ACTIVATION,
) -> Value | tuple[Value, ...]:
    """(x - mean) / sqrt(var + epsilon) * scale + bias, by channel (by element of an image, not spatial).

    In training mode mean and variance are those of the batch; further outputs are the running ones.
    """
    if training_mode:
        y, *batch = _batch_statistics(ctx, x, scale, bias, epsilon)
        running = (
            ctx.binary("add", _scaled(ctx, old, momentum), _scaled(ctx, new, 1 - momentum))
            for old, new in zip((mean, var), batch, strict=True)
        )
        return (ctx.activate(y, activation), *running)
    if not spatial and len(x.shape) > 2:
        n, *sizes = x.shape
        flat = (ctx.reshape(v, (math.prod(sizes),)) for v in (scale, bias, mean, var))
        rows = ctx.reshape(x, (n, math.prod(sizes)))
        result = batch_normalization(ctx, rows, *flat, epsilon=epsilon, activation=activation)
        assert not isinstance(result, tuple)
        return ctx.reshape(result, x.shape)
    named = {"scale": scale, "bias": bias, "mean": mean, "var": var}
    arrays = {name: ctx.array(name, value) for name, value in named.items()}
    for name, array in arrays.items():
        if array.shape != x.shape[1:2]:
            raise ShapeError(f"{name}: expected shape {x.shape[1:2]}, one a channel of x, got {array.shape}")
    affine = batch_norm_affine(**arrays, epsilon=epsilon)
    factor, offset = (Constant(v.astype(x.dtype)) for v in affine)
    if x.dtype != F32 or len(x.shape) > MAX_RANK:
        return ctx.activate(_affine(ctx, x, factor, offset, 1), activation)
    x = ctx.tensor(x)
    vectors = (ctx.tensor(factor), ctx.tensor(offset))
    return ctx.emit("channel_affine", (x, *vectors), ctx.result(x.shape, x.order()), *activation)


def _scaled(ctx: Context, x: Value, factor: float) -> Value:
    return ctx.binary("mul", x, Constant(np.asarray(factor, x.dtype)))


def _batch_statistics(
    ctx: Context, x: Value, scale: Value, bias: Value, epsilon: float
) -> tuple[Value, Value, Value]:
    """Return x normalised by its own mean and variance by channel, and those."""
    _check_vectors(x, 2, scale=scale, bias=bias)
    axes = [i for i in range(len(x.shape)) if i != 1]
    mean, centred = _centred(ctx, x, axes)
    var = reduce(ctx, "mean", ctx.binary("mul", centred, centred), axes)
    y = ctx.binary("mul", centred, _inverse_deviation(ctx, centred, axes, epsilon))
    vector = x.shape[1:2]
    return _affine(ctx, y, scale, bias, 1), ctx.reshape(mean, vector), ctx.reshape(var, vector)


def _affine(ctx: Context, x: Value, scale: Value | None, bias: Value | None, axis: int) -> Value:
    """Multiply by and add vectors along an axis; ones and zeros, as exporters write them, need no step."""
    for kind, vector, neutral in (("mul", scale, 1), ("add", bias, 0)):
        idle = vector is None or (isinstance(vector, Constant) and bool((vector.array == neutral).all()))
        if vector is not None and not idle:
            shape = (*vector.shape, *[1] * (len(x.shape) - axis - 1))
            x = ctx.binary(kind, x, ctx.reshape(vector, shape))
    return x


def _centred(ctx: Context, x: Value, axes: Sequence[int]) -> tuple[Value, Value]:
    """Return the mean over axes, and what is left without it."""
    mean = reduce(ctx, "mean", x, axes)
    return mean, ctx.binary("sub", x, mean)


def _inverse_deviation(ctx: Context, centred: Value, axes: Sequence[int], epsilon: float) -> Value:
    """Return 1 / sqrt(mean(x^2) + epsilon)."""
    square = reduce(ctx, "mean", ctx.binary("mul", centred, centred), axes)
    small = Constant(np.asarray(epsilon, centred.dtype))
    root = ctx.activate(ctx.binary("add", square, small), Activation("sqrt"))
    return ctx.binary("div", Constant(np.ones((), centred.dtype)), root)


def _in_one_step(
    ctx: Context, x: Value, axes: Sequence[int], epsilon: float, scale: Value, shift: Value
) -> Value | None:
    """Return (x - mean) / sqrt(var + epsilon) * scale + shift, or None where the kernel does not apply.

    ``axes`` are the last ones. Scale and shift have one element, or one each for those of the axes.
    """
    if x.dtype != F32 or isinstance(x, Constant) or 0 in x.shape or len(x.shape) > MAX_RANK:
        return None
    first, perm = axes[0], list(range(len(x.shape)))
    if scale.shape == (1,):  # the elements may come in any order: in that of memory
        perm[first:] = [i for i in x.order() if i >= first]
    shape = (*(x.shape[:first] or (1,)), math.prod(x.shape[first:]))
    copied: Tensor | None = None
    view = x.transpose(perm)
    rows = view.reshape(shape)
    if rows is None or (shape[-1] > 1 and rows.strides[-1] != 1):
        # A mean over channels-last pixels adds them up one after the other, and loses digits to a large one.
        perm = list(range(len(x.shape)))
        view = copied = ctx.copy(x, ctx.empty(x.shape))
        rows = view.reshape(shape)
        assert rows is not None
    last = len(shape) - 1
    y = ctx.empty(shape, [*(i for i in rows.order() if i != last), last])
    vectors = [ctx.tensor(v) for v in (scale, shift)]
    vectors = [v if v.is_row_major() else ctx.copy(v, ctx.empty(v.shape)) for v in vectors]
    whole = ctx.reshape(ctx.emit("layer_norm", (rows, *vectors), y, epsilon), view.shape)
    whole = whole.transpose([perm.index(i) for i in range(len(perm))])
    if scale.shape == (1,) and copied is not None:  # an image stays one
        whole = ctx.copy(ctx.tensor(whole), ctx.empty(x.shape, x.order()))
    return whole


def _standardized(ctx: Context, x: Value, axes: Sequence[int], epsilon: float) -> Value:
    """Return (x - mean) / sqrt(var + epsilon) over axes."""
    if list(axes) == list(range(axes[0], len(x.shape))):
        one, zero = (Constant(np.full(1, v, np.float32)) for v in (1, 0))
        y = _in_one_step(ctx, x, axes, epsilon, one, zero)
        if y is not None:
            return y
    _, centred = _centred(ctx, x, axes)
    return ctx.binary("mul", centred, _inverse_deviation(ctx, centred, axes, epsilon))


@op("InstanceNormalization", ignore=("consumed_inputs",))
def instance_normalization(
    ctx: Context, x: Value, scale: Value, bias: Value, *, epsilon: float = 1e-5
) -> Value:
    """Each channel of each image with mean 0 and variance 1, times scale plus bias."""
    _check_vectors(x, scale=scale, bias=bias)
    return _affine(ctx, _standardized(ctx, x, range(2, len(x.shape)), epsilon), scale, bias, 1)


def _check_vectors(x: Value, rank: int = 3, **vectors: Value) -> None:
    if len(x.shape) < rank:
        raise ShapeError(f"x: expected at least {rank} dimensions, got shape {x.shape}")
    for name, vector in vectors.items():
        if vector.shape != x.shape[1:2]:
            raise ShapeError(f"{name}: expected shape {x.shape[1:2]}, one a channel of x, got {vector.shape}")


@op("GroupNormalization", ignore=("stash_type",))
def group_normalization(
    ctx: Context, x: Value, scale: Value, bias: Value, *, epsilon: float = 1e-5, num_groups: int
) -> Value:
    """Each group of channels with mean 0 and variance 1; scale, bias by channel, before opset 21 by group."""
    n, c, *size = x.shape if len(x.shape) > 2 else (0, 0)
    if num_groups < 1 or not size or c % num_groups:
        raise ShapeError(f"num_groups: expected a divisor of the channels of x, {x.shape}, got {num_groups}")
    groups = ctx.reshape(x, (n, num_groups, c // num_groups, *size))
    y = _standardized(ctx, groups, range(2, len(groups.shape)), epsilon)
    if ctx.opset < 21 and scale.shape == bias.shape == (num_groups,):
        return ctx.reshape(_affine(ctx, y, scale, bias, 1), x.shape)
    _check_vectors(x, scale=scale, bias=bias)
    return _affine(ctx, ctx.reshape(y, x.shape), scale, bias, 1)


@op("LayerNormalization", ignore=("stash_type",))
def layer_normalization(
    ctx: Context, x: Value, scale: Value, bias: Value | None = None, *, axis: int = -1, epsilon: float = 1e-5
) -> Value | tuple[Value, ...]:
    """Mean 0 and variance 1 over the axes from ``axis`` on, times scale plus bias; mean and 1 / deviation."""
    axes = range(normalized_axis("axis", axis, len(x.shape)), len(x.shape))
    inner = x.shape[axes[0] :]
    size = math.prod(inner)
    vectors = (scale, Constant(np.zeros(inner, x.dtype)) if bias is None else bias)
    if not any(ctx.node.outputs[1:]) and all(v.shape == inner and v.dtype == F32 for v in vectors):
        flat = [v if len(inner) == 1 else ctx.reshape(v, (size,)) for v in vectors]
        y = _in_one_step(ctx, x, axes, epsilon, *flat)
        if y is not None:
            return y
    mean, centred = _centred(ctx, x, axes)
    inverse = _inverse_deviation(ctx, centred, axes, epsilon)
    y = ctx.binary("mul", ctx.binary("mul", centred, inverse), scale)
    return (y if bias is None else ctx.binary("add", y, bias)), mean, inverse


@op("RMSNormalization", ignore=("stash_type",))
def rms_normalization(
    ctx: Context, x: Value, scale: Value, *, axis: int = -1, epsilon: float = 1e-5
) -> Value:
    """X / sqrt(mean(x^2) + epsilon) over the axes from ``axis`` on, times scale."""
    axes = range(normalized_axis("axis", axis, len(x.shape)), len(x.shape))
    return ctx.binary("mul", ctx.binary("mul", x, _inverse_deviation(ctx, x, axes, epsilon)), scale)


@op("MeanVarianceNormalization")
def mean_variance_normalization(ctx: Context, x: Value, *, axes: Ints = (0, 2, 3)) -> Value:
    """(x - mean) / (sqrt(var) + 1e-9) over axes."""
    along = normalized_axes("axes", axes, len(x.shape))
    _, nearly = _centred(ctx, x, along)
    _, centred = _centred(ctx, nearly, along)  # without what a large mean lost as a sum of float32
    square = reduce(ctx, "mean", ctx.binary("mul", centred, centred), along)
    deviation = ctx.activate(square, Activation("sqrt"))
    return ctx.binary("div", centred, ctx.binary("add", deviation, Constant(np.asarray(1e-9, x.dtype))))


@op("LpNormalization")
def lp_normalization(ctx: Context, x: Value, *, axis: int = -1, p: int = 2) -> Value:
    """X divided by its 1- or 2-norm along an axis; 0 where that is 0."""
    if p not in (1, 2):
        raise UnsupportedOpError(f"p: expected 1 or 2, got {p}")
    axis = normalized_axis("axis", axis, len(x.shape))
    if p == 1:
        norm = reduce(ctx, "sum", ctx.activate(x, Activation("abs")), [axis])
    else:
        norm = ctx.activate(reduce(ctx, "sum", ctx.binary("mul", x, x), [axis]), Activation("sqrt"))
    safe = ctx.call(lambda a: np.where(a == 0, a.dtype.type(1), a), [norm], norm.shape, norm.dtype)
    return ctx.binary("div", x, safe)


@op("LRN")
def lrn(
    ctx: Context, x: Value, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0
) -> Value:
    """X / (bias + alpha / size * sum of squares over size neighbouring channels) ** beta."""
    if not 1 <= size < 1 << 31 or len(x.shape) < 2:
        raise ShapeError(
            f"x, size: expected at least 2 dimensions and a size of at least 1, got {x.shape}, {size}"
        )
    x = ctx.tensor(x)
    return ctx.emit("lrn", (x,), ctx.result(x.shape, x.order()), size, alpha, beta, bias)


def _rows(ctx: Context, x: Value, axis: int | None) -> tuple[Value, int]:
    """Return what a softmax works on, and its axis: before opset 13, all dimensions from the axis on."""
    rank = len(x.shape)
    axis = (-1 if ctx.opset >= 13 else 1) if axis is None else axis
    if not -rank <= axis < max(rank, 1 if ctx.opset >= 13 else 2):
        raise ShapeError(f"axis: expected -{rank} to {rank - 1}, got {axis}")
    axis += rank if axis < 0 else 0
    if ctx.opset >= 13 or axis == rank - 1:
        return x, axis
    return ctx.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))), 1


def _softmax(ctx: Context, x: Value, axis: int) -> Value:
    if x.dtype == F32 and len(x.shape) <= MAX_RANK:
        x = ctx.tensor(x)
        return ctx.emit("softmax", (x,), ctx.empty(x.shape, x.order()), axis)
    powers = ctx.activate(ctx.binary("sub", x, reduce(ctx, "max", x, [axis])), Activation("exp"))
    return ctx.binary("div", powers, reduce(ctx, "sum", powers, [axis]))


@op("Softmax")
def softmax(ctx: Context, x: Value, *, axis: int | None = None) -> Value:
    """exp(x) / sum(exp(x)) along an axis; before opset 13, over all dimensions from the axis on."""
    rows, along = _rows(ctx, x, axis)
    return ctx.reshape(_softmax(ctx, rows, along), x.shape)


@op("LogSoftmax")
def log_softmax(ctx: Context, x: Value, *, axis: int | None = None) -> Value:
    """Logarithm of the softmax, computed as x - max - log(sum(exp(x - max)))."""
    rows, along = _rows(ctx, x, axis)
    rest = ctx.binary("sub", rows, reduce(ctx, "max", rows, [along]))
    total = reduce(ctx, "sum", ctx.activate(rest, Activation("exp")), [along])
    return ctx.reshape(
        ctx.binary("sub", rest, ctx.call(np.log, [total], total.shape, x.dtype, "log")), x.shape
    )


@op("Hardmax")
def hardmax(ctx: Context, x: Value, *, axis: int | None = None) -> Value:
    """1 at the first largest element along an axis, 0 elsewhere; axes as for Softmax."""
    rows, along = _rows(ctx, x, axis)

    def function(a: Array) -> Array:
        first = np.expand_dims(np.argmax(a, along), along)
        result = np.zeros_like(a)
        np.put_along_axis(result, first, 1, along)
        return result

    return ctx.reshape(ctx.call(function, [rows], rows.shape, x.dtype), x.shape)
