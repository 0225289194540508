"""Normalisations along channels, and softmax."""

from __future__ import annotations

import math

import numpy as np

from fastconv.errors import ShapeError, UnsupportedOpError
from fastconv.graph.context import Context
from fastconv.graph.ir import NO_ACTIVATION, Activation
from fastconv.graph.registry import op
from fastconv.graph.value import Array, Constant, Value


def batch_norm_affine(
    scale: Array, bias: Array, mean: Array, var: Array, epsilon: float
) -> tuple[Array, Array]:
    """Return the float64 factor and offset a channel that batch normalisation with known statistics is."""
    factor = scale.astype(np.float64) / np.sqrt(var.astype(np.float64) + epsilon)
    return factor, bias - mean * factor


# is_test and consumed_inputs are of opsets 1 to 6, where what follows is inference already.
@op("BatchNormalization", ignore=("momentum", "is_test", "consumed_inputs"))
def batch_normalization(
    ctx: Context,
    x: Value,
    scale: Value,
    bias: Value,
    mean: Value,
    var: Value,
    *,
    epsilon: float = 1e-5,
    spatial: int = 1,
    training_mode: int = 0,
    activation: Activation = NO_ACTIVATION,
) -> Value:
    """(x - mean) / sqrt(var + epsilon) * scale + bias, by channel."""
    if not spatial or training_mode:
        raise UnsupportedOpError("expected inference by channel (spatial=1, training_mode=0)")
    named = {"scale": scale, "bias": bias, "mean": mean, "var": var}
    arrays = {name: ctx.array(name, value) for name, value in named.items()}
    for name, array in arrays.items():
        if array.shape != x.shape[1:2]:
            raise ShapeError(f"{name}: expected shape {x.shape[1:2]}, one a channel of x, got {array.shape}")
    factor, offset = (
        ctx.tensor(Constant(v.astype(np.float32))) for v in batch_norm_affine(**arrays, epsilon=epsilon)
    )
    x = ctx.tensor(x)
    return ctx.emit("channel_affine", (x, factor, offset), ctx.result(x.shape, x.order()), *activation)


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


@op("Softmax")
def softmax(ctx: Context, x: Value, *, axis: int | None = None) -> Value:
    """exp(x) / sum(exp(x)) along an axis; before opset 13, over all dimensions from the axis on."""
    rank = len(x.shape)
    axis = (-1 if ctx.opset >= 13 else 1) if axis is None else axis
    if not -rank <= axis < max(rank, 1 if ctx.opset >= 13 else 2):
        raise ShapeError(f"axis: expected -{rank} to {rank - 1}, got {axis}")
    axis += rank if axis < 0 else 0
    x = ctx.tensor(x)
    if ctx.opset >= 13 or axis == rank - 1:
        return ctx.emit("softmax", (x,), ctx.empty(x.shape, x.order()), axis)
    rows = ctx.tensor(ctx.reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))))
    return ctx.reshape(ctx.emit("softmax", (rows,), ctx.empty(rows.shape), 1), x.shape)
