"""Matrix products. A constant right-hand matrix is packed once, as a fully connected layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping

import numpy as np

from fastconv import _core
from fastconv.errors import DTypeError, ShapeError, UnsupportedOpError
from fastconv.graph.context import Context, broadcast_shapes
from fastconv.graph.ir import NO_ACTIVATION, Activation
from fastconv.graph.ops.products import product
from fastconv.graph.packing import derived, pack
from fastconv.graph.registry import FASTCONV_DOMAIN, MICROSOFT, op
from fastconv.graph.value import F32, Array, Constant, Tensor, Value

MAX_PRODUCTS = 4096  # steps that one batched MatMul may become


@op("Gemm", ignore=("broadcast",))  # of opsets 1 and 6, where c broadcasts on demand
def gemm(
    ctx: Context,
    a: Value,
    b: Value,
    c: Value | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
    activation: Activation = NO_ACTIVATION,
) -> Value:
    """Alpha * a @ b + beta * c of 2-D values, either transposed first."""
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise ShapeError(f"a, b: expected 2 dimensions each, got shapes {a.shape} and {b.shape}")
    if a.dtype != b.dtype:
        raise DTypeError(f"a, b: expected one element type, got {a.dtype} and {b.dtype}")
    a = a.transpose((1, 0)) if transA else a
    m, n = a.shape[0], b.shape[0 if transB else 1]
    if a.shape[1] != b.shape[1 if transB else 0]:
        raise ShapeError(
            f"a, b: expected equal inner sizes, got {a.shape[1]} and {b.shape[1 if transB else 0]}"
        )
    if a.dtype != F32:
        b = b.transpose((1, 0)) if transB else b
        result = _scaled(ctx, ctx.call(product, [a, b], (m, n), a.dtype), alpha)
        return result if c is None else ctx.binary("add", result, _scaled(ctx, c, beta), activation)
    bias = None if c is None else _bias_of(c, n, beta)
    if isinstance(b, Constant) and (c is None or bias is not None):

        def weight(w: Array) -> Array:
            rows = w if transB else w.T
            return rows if alpha == 1 else np.float32(alpha) * rows

        share = ("gemm", transB, alpha, beta)
        return fully_connected(ctx, a, b, n, weight, c, bias, activation, share=share)
    b = b.transpose((1, 0)) if transB else b
    addend = None if c is None else ctx.tensor(c).broadcast_to((m, n))
    inputs = (ctx.tensor(a), ctx.tensor(b), addend)
    return ctx.emit("gemm", inputs, ctx.empty((m, n)), alpha, beta, *activation)


@op("MatMul", inputs=2)
@op("FusedMatMul", FASTCONV_DOMAIN)
def matmul(
    ctx: Context, a: Value, b: Value, bias: Value | None = None, *, activation: Activation = NO_ACTIVATION
) -> Value:
    """numpy.matmul, plus a bias along the last dimension when b is a constant matrix."""
    return _product(ctx, a, b, bias, 1.0, activation)


@op("FusedMatMul", MICROSOFT)
@op("TransposeMatMul", MICROSOFT)
def transposed_matmul(
    ctx: Context,
    a: Value,
    b: Value,
    *,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
    transBatchA: int = 0,
    transBatchB: int = 0,
    activation: Activation = NO_ACTIVATION,
) -> Value:
    """Alpha * a @ b as ONNX Runtime writes it, of stacks of matrices that are transposed first.

    One whose batch is transposed has its rows (its columns, where it is transposed itself too) as the first
    dimension, before the batch.
    """
    operands = []
    for x, swapped, batch in ((a, transA, transBatchA), (b, transB, transBatchB)):
        rank = len(x.shape)
        perm = [*range(1, rank - 1), 0, rank - 1] if batch and rank > 2 else list(range(rank))
        perm = [*perm[:-2], *perm[:-3:-1]] if swapped and rank > 1 else perm
        operands.append(x if perm == list(range(rank)) else _permuted(ctx, x, perm))
    left, right = operands
    return _product(ctx, left, right, None, alpha, activation)


def _permuted(ctx: Context, x: Value, perm: list[int]) -> Value:
    """Return a value's transpose; of the model's own constants one for all programs."""
    if isinstance(x, Tensor):
        return x.transpose(perm)
    return derived(ctx, x, ("transposed", tuple(perm)), lambda: x.array.transpose(perm))


def _product(
    ctx: Context, a: Value, b: Value, bias: Value | None, alpha: float, activation: Activation
) -> Value:
    """Alpha * numpy.matmul(a, b) + bias."""
    if not a.shape or not b.shape:
        raise ShapeError(f"a, b: expected at least 1 dimension each, got shapes {a.shape} and {b.shape}")
    if a.dtype != b.dtype:
        raise DTypeError(f"a, b: expected one element type, got {a.dtype} and {b.dtype}")
    left = a if len(a.shape) > 1 else ctx.reshape(a, (1, *a.shape))
    k, n = b.shape[-2:] if len(b.shape) > 1 else (*b.shape, 1)
    if left.shape[-1] != k:
        raise ShapeError(f"a, b: expected equal inner sizes, got shapes {a.shape} and {b.shape}")
    if a.dtype != F32:
        batch = broadcast_shapes(left.shape[:-2], b.shape[:-2])
        right = b if len(b.shape) > 1 else ctx.reshape(b, (k, 1))
        products = ctx.call(product, [left, right], (*batch, left.shape[-2], n), a.dtype)
        result = ctx.activate(_scaled(ctx, products, alpha), activation)
    elif isinstance(b, Constant) and len(b.shape) <= 2:
        rows = ctx.reshape(left, (math.prod(left.shape[:-1]), k))
        offset = None if bias is None else ctx.array("bias", bias).reshape(-1)

        def weight(w: Array) -> Array:
            columns = w.reshape(k, n).T
            return columns if alpha == 1 else np.float32(alpha) * columns

        share = ("matmul", alpha)
        y = fully_connected(ctx, rows, b, n, weight, bias, offset, activation, share=share)
        result = ctx.reshape(y, (*left.shape[:-1], n))
    elif bias is None:
        result = _batched(ctx, left, b if len(b.shape) > 1 else ctx.reshape(b, (k, 1)), alpha, activation)
    else:
        raise UnsupportedOpError("b: expected a constant matrix next to a bias")
    shape = list(result.shape)
    if len(b.shape) == 1:
        shape.pop(-1)
    if len(a.shape) == 1:
        shape.pop(-2 if len(b.shape) > 1 else -1)
    return ctx.reshape(result, shape)


def _scaled(ctx: Context, x: Value, factor: float) -> Value:
    """Multiply by a number, in the value's own type."""
    return x if factor == 1 else ctx.binary("mul", x, Constant(np.asarray(factor, x.dtype)))


def _bias_of(c: Value, n: int, beta: float) -> Array | None:
    """Return beta * c as a vector of n values, where c is a constant that is the same for every row."""
    if not isinstance(c, Constant) or c.shape not in ((), (1,), (n,), (1, 1), (1, n)):
        return None
    return np.broadcast_to(beta * c.array.reshape(-1), (n,))


def fully_connected(
    ctx: Context,
    x: Value,
    w: Constant,
    n: int,
    weight: Callable[[Array], Array],
    b: Value | None,
    bias: Array | None,
    activation: Activation = NO_ACTIVATION,
    *,
    key: Hashable = None,
    piece: str = "",
    share: Hashable = None,
    signs: tuple[float, float] | None = None,
) -> Tensor:
    """Multiply by packed weights; ``weight`` turns the array of ``w`` into (n, k), and ``bias`` is b's.

    With ``signs``, those of 0 and NaN, the signs of x are multiplied, by rows of weights of one magnitude.

    Where that is but a piece of w, ``key`` and ``piece`` say which; ``share`` says what ``weight`` and
    ``bias`` do, so that nodes with the same weights share them.
    """

    def build(array: Array, *, stored: Mapping[str, Array]) -> _core.Conv:
        rows = weight(array)  # not read, and so not copied, where the packed ones are stored
        return _core.Conv(
            rows if stored else np.ascontiguousarray(rows, np.float32),
            None if bias is None else np.ascontiguousarray(bias, np.float32),
            spatial=0,
            stride=[],
            padding_lo=[],
            padding_hi=[],
            dilation=[],
            groups=1,
            auto_pad="explicit",
            transposed=False,
            output_padding=[],
            act=activation.kind,
            alpha=activation.alpha,
            beta=activation.beta,
            precision=ctx.precision,
            algorithm="auto",
            stored=stored,
            signs=signs,
        )

    whole = None if share is None else ("linear", share, n, activation, key, ctx.precision)
    conv = pack(ctx, (w, b), (activation, key), build, piece=piece, share=whole)
    return ctx.convolve(conv, ctx.tensor(x), None, ctx.empty((x.shape[0], n)))


def _batched(ctx: Context, a: Value, b: Value, alpha: float, activation: Activation) -> Value:
    """One product a matrix of the broadcast batch, times a number."""
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    m, n = a.shape[-2], b.shape[-1]
    if math.prod(batch) > MAX_PRODUCTS:
        raise UnsupportedOpError(
            f"a, b: expected at most {MAX_PRODUCTS} matrix products, got a batch of {batch}"
        )
    left = ctx.tensor(a).broadcast_to((*batch, *a.shape[-2:]))
    right = ctx.tensor(b).broadcast_to((*batch, *b.shape[-2:]))
    result = ctx.empty((*batch, m, n))
    for index in np.ndindex(*batch):
        ctx.emit(
            "gemm",
            (left.at(index), right.at(index), None),
            result.at(index),
            alpha,
            0.0,
            *activation,
        )
    return result
