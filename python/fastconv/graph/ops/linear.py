"""Matrix products. A constant right-hand matrix is packed once, as a fully connected layer."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fastconv import _core
from fastconv.errors import DTypeError, ShapeError, UnsupportedOpError
from fastconv.graph.context import Context, broadcast_shapes
from fastconv.graph.ir import NO_ACTIVATION, Activation
from fastconv.graph.registry import FASTCONV_DOMAIN, op
from fastconv.graph.value import F32, Array, Constant, Tensor, Value, size_of

MAX_EQUATION = 1000  # characters of an Einsum's
MAX_TERMS = 16  # of an Einsum: the search for an order grows with their cube
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
        product = _scaled(ctx, ctx.call(np.matmul, [a, b], (m, n), a.dtype), alpha)
        return product if c is None else ctx.binary("add", product, _scaled(ctx, c, beta), activation)
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
        result = ctx.call(np.matmul, [left, right], (*batch, left.shape[-2], n), a.dtype)
    elif isinstance(b, Constant) and len(b.shape) <= 2:
        rows = ctx.reshape(left, (math.prod(left.shape[:-1]), k))
        offset = None if bias is None else ctx.array("bias", bias).reshape(-1)
        y = fully_connected(
            ctx, rows, b, n, lambda w: w.reshape(k, n).T, bias, offset, activation, share="matmul"
        )
        result = ctx.reshape(y, (*left.shape[:-1], n))
    elif bias is None:
        result = _batched(ctx, left, b if len(b.shape) > 1 else ctx.reshape(b, (k, 1)), activation)
    else:
        raise UnsupportedOpError("b: expected a constant matrix next to a bias")
    shape = list(result.shape)
    if len(b.shape) == 1:
        shape.pop(-1)
    if len(a.shape) == 1:
        shape.pop(-2 if len(b.shape) > 1 else -1)
    return ctx.reshape(result, shape)


@op("Einsum")
def einsum(ctx: Context, *values: Value, equation: str) -> Value:
    """Sum of products by Einstein's notation, as numpy reads it."""
    if len(equation) > MAX_EQUATION or not 1 <= len(values) <= MAX_TERMS:
        raise ShapeError(
            f"equation: expected at most {MAX_EQUATION} characters and 1 to {MAX_TERMS} values,"
            f" got {len(equation)} and {len(values)}"
        )
    equation = equation.replace(" ", "")
    values, equation = _summed_first(ctx, values, equation)
    ctx.node = replace(ctx.node, attrs={**ctx.node.attrs, "equation": equation})  # what its step computes
    shape = _einsum_shape(equation, [v.shape for v in values])
    dtype = values[0].dtype
    size_of(shape)
    # Products of two of the values, in an order that makes the smallest, and none beyond the budget.
    tiny = [np.broadcast_to(np.zeros((), v.dtype), v.shape) for v in values]
    largest = max(size_of(shape), ctx.budget.room() // (4 * dtype.itemsize))
    path = np.einsum_path(equation, *tiny, optimize=("greedy", largest))[0]
    product = _einsum_by_products(ctx, equation, values)
    if product is not None:
        return product
    return ctx.call(
        lambda *arrays: np.einsum(equation, *arrays, optimize=path),
        values,
        shape,
        dtype,
        scratch=_intermediate_bytes(equation, values, path),
    )


def _intermediate_bytes(equation: str, values: Sequence[Value], path: Sequence[Any]) -> int:
    """Return the bytes of the products that an Einsum makes on its way, each with a copy of it."""
    if len(path) <= 2:  # the name of the method, and one product: the result
        return 0
    tiny = [np.broadcast_to(np.zeros((), v.dtype), v.shape) for v in values]
    report = np.einsum_path(equation, *tiny, optimize=path)[1]
    found = re.search(r"Largest intermediate: +([0-9.e+]+) elements", report)
    return 2 * int(float(found[1])) * values[0].dtype.itemsize if found else 0


def _summed_first(ctx: Context, values: Sequence[Value], equation: str) -> tuple[tuple[Value, ...], str]:
    """Sum over the letters of one term alone that the result does not have, where all is plainly written.

    ``ab,cd->ad`` of 400 x 400 matrices is a sum over 2.6 * 10^10 products otherwise.
    """
    terms, arrow, result = equation.partition("->")
    letters = terms.split(",")
    plain = arrow and len(letters) == len(values) > 1 and all(s.isalpha() or not s for s in letters)
    if not plain or any(len(s) != len(v.shape) for s, v in zip(letters, values, strict=False)):
        return tuple(values), equation
    found: list[Value] = []
    for i, (term, value) in enumerate(zip(letters, values, strict=True)):
        others = "".join((*letters[:i], *letters[i + 1 :], result))
        alone = [c for c in dict.fromkeys(term) if c not in others]
        once = [c for c in alone if term.count(c) == 1]  # of others the diagonal is summed
        axes = tuple(term.index(c) for c in once)
        letters[i] = "".join(c for c in term if c not in once)
        shape = [n for axis, n in enumerate(value.shape) if axis not in axes]

        def total(a: Array, axes: tuple[int, ...] = axes) -> Array:
            return np.asarray(a.sum(axis=axes, dtype=a.dtype))

        found.append(ctx.call(total, [value], shape, value.dtype, "sum") if axes else value)
    return tuple(found), f"{','.join(letters)}->{result}"


def _einsum_by_products(ctx: Context, equation: str, values: Sequence[Value]) -> Value | None:
    """Return a sum over products of two f32 values by the kernel of matrix products, or None.

    Letters of both terms are the batch where the result has them and summed over where not, those of one
    term are rows or columns. 128 products of 49 x 32 x 49, the windows of a MaxViT, took 0.79 ms with numpy.
    """
    terms, arrow, result = equation.partition("->")
    letters = terms.split(",")
    plain = len(letters) == 2 and arrow and all(s.isalpha() or not s for s in (*letters, result))
    if not plain or any(len(set(s)) != len(s) for s in (*letters, result)):
        return None
    if any(v.dtype != F32 for v in values) or all(isinstance(v, Constant) for v in values):
        return None
    left, right = letters
    sizes = dict(zip(left, values[0].shape, strict=True))
    if any(sizes.setdefault(c, n) != n for c, n in zip(right, values[1].shape, strict=True)):
        return None  # 1 stands for as many as the other term has
    batch = [c for c in result if c in left and c in right]
    rows, columns = ([c for c in result if c in s and c not in batch] for s in letters)
    summed = [c for c in left if c in right and c not in batch]
    matrices = [(left, rows, summed), (right, summed, columns)]
    if any(len(s) != len(batch) + len(up) + len(across) for s, up, across in matrices):
        return None  # a letter of one term alone is summed over
    if math.prod(sizes[c] for c in batch) > MAX_PRODUCTS or 0 in sizes.values():
        return None

    def count(group: list[str]) -> int:
        return math.prod(sizes[c] for c in group)

    stacks = []
    for value, (term, up, across) in zip(values, matrices, strict=True):
        view = value.transpose([term.index(c) for c in (*batch, *up, *across)])
        stacks.append(ctx.reshape(view, (*(sizes[c] for c in batch), count(up), count(across))))
    product = matmul(ctx, *stacks)
    assert not isinstance(product, tuple)
    y = ctx.reshape(product, [sizes[c] for c in (*batch, *rows, *columns)])
    order = [*batch, *rows, *columns]
    return y.transpose([order.index(c) for c in result])


def _einsum_shape(equation: str, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the shape of a result; np.einsum_path has checked the equation."""
    terms, arrow, result = equation.replace(" ", "").partition("->")
    sizes: dict[str, int] = {}
    ellipsis: tuple[int, ...] = ()
    for term, shape in zip(terms.split(","), shapes, strict=True):
        head, dots, tail = term.partition("...")
        if dots:
            inner = shape[len(head) : len(shape) - len(tail)]
            ellipsis = broadcast_shapes(ellipsis, inner)
            shape = shape[: len(head)] + shape[len(shape) - len(tail) :]
        for letter, n in zip(head + tail, shape, strict=True):
            sizes[letter] = max(n, sizes.get(letter, 1)) if n else 0
    if not arrow:  # implicit: what occurs once, in alphabetical order
        once = sorted(letter for letter in sizes if terms.count(letter) == 1)
        result = ("..." if "..." in terms else "") + "".join(once)
    head, dots, tail = result.partition("...")
    middle = ellipsis if dots else ()
    return (*(sizes[a] for a in head), *middle, *(sizes[a] for a in tail))


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
) -> Tensor:
    """Multiply by packed weights; ``weight`` turns the array of ``w`` into (n, k), and ``bias`` is b's.

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
            exact=ctx.plans.exact,
            algorithm="auto",
            stored=stored,
        )

    whole = None if share is None else ("linear", share, n, activation, key)
    conv = ctx.pack((w, b), (activation, key), build, piece=piece, share=whole)
    return ctx.convolve(conv, ctx.tensor(x), None, ctx.empty((x.shape[0], n)))


def _batched(ctx: Context, a: Value, b: Value, activation: Activation) -> Value:
    """One product a matrix of the broadcast batch."""
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
            1.0,
            0.0,
            *activation,
        )
    return result
