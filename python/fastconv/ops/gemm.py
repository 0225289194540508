"""Matrix products on numpy arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv import _arguments as arguments
from fastconv import _core
from fastconv._arguments import FloatArray
from fastconv._kept_kind import kept_kind
from fastconv._types import Activation, ArrayLike, Precision
from fastconv.errors import ShapeError


@kept_kind("a", "b", "c", "bias")
def gemm(
    a: ArrayLike,
    b: ArrayLike,
    c: ArrayLike | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 0.0,
    trans_a: bool = False,
    trans_b: bool = False,
    bias: ArrayLike | None = None,
    activation: Activation = None,
    precision: Precision = "fast",
    out: Any = None,
) -> FloatArray:
    """Multiply matrices: ``act(alpha * op(a) @ op(b) + beta * c + bias)``; op transposes where asked to.

    Blocked after Goto and van de Geijn, "Anatomy of high-performance matrix multiplication" (TOMS 2008).

    Parameters
    ----------
    a : array, shape (m, k), or (k, m) with `trans_a`, float32
        Any strides: views, transposed or reversed, are packed block by block, never copied whole.
    b : array, shape (k, n), or (n, k) with `trans_b`, float32
        A row of `a` has the same bits alone and among others, but where it is the only one and `b` has
        several columns, which are contiguous.
    c : array that broadcasts to (m, n), float32, optional
        Read only where `beta` is not 0.
    alpha, beta : float
    bias : array, shape (n,), float32, optional
    activation : str or tuple, optional
        As for :func:`fastconv.conv2d`.
    precision : {"fast", "exact", "bf16"}
        With "bf16" `a` and `b` are rounded to bfloat16 and their products summed in float32, which is
        faster where the processor has instructions for it (docs/numbers.md). "fast" and "exact" are the
        same here.
    out : array, shape (m, n), float32, optional
        Receives the result; it may be `c`, but not overlap `a` or `b`.

    Returns
    -------
    array, shape (m, n), float32

    Raises
    ------
    ShapeError, ArgumentError, DTypeError
        Named after the argument at fault.

    Examples
    --------
    >>> import numpy as np
    >>> a = np.arange(6, dtype=np.float32).reshape(2, 3)
    >>> gemm(a, a, trans_b=True)
    array([[ 5., 14.],
           [14., 50.]], dtype=float32)
    """
    plain = c is None and bias is None and activation is None and out is None and precision == "fast"
    plain = plain and trans_a is False and trans_b is False and type(alpha) is type(beta) is float
    if plain and alpha == 1.0 and beta == 0.0:
        y = _product(a, b)
        if y is not None:
            return y
    arguments.check_precision(precision)
    a = arguments.as_array("a", a, rank=2)
    b = arguments.as_array("b", b, rank=2)
    if arguments.flag("trans_a", trans_a):
        a = a.T
    trans_b = arguments.flag("trans_b", trans_b)
    if trans_b:
        b = b.T
    m, k = a.shape
    if b.shape[0] != k:
        raise ShapeError(f"b: expected k = {k} {'columns' if trans_b else 'rows'}, got {b.shape[0]}")
    n = b.shape[1]
    alpha, beta = arguments.number("alpha", alpha), arguments.number("beta", beta)
    if c is not None:
        c = arguments.as_array("c", c)
        try:
            c = np.broadcast_to(c, (m, n))
        except ValueError:
            raise ShapeError(f"c: expected a shape that broadcasts to {(m, n)}, got {c.shape}") from None
    if bias is not None:
        bias = arguments.as_vector("bias", bias, n, "columns of b")
    if out is None:
        y = arguments.empty((m, n))
    else:
        y = arguments.checked_output(out, (m, n), [a, b])
        if bias is not None and np.may_share_memory(y, bias):
            bias = bias.copy()
        if (
            c is not None
            and np.shares_memory(y, c)
            and (c.strides != y.strides or c.ctypes.data != y.ctypes.data)
        ):
            c = c.copy()
    act, act_alpha, act_beta = arguments.activation("activation", activation)
    _core.gemm(a, b, c, y, alpha, beta, bias, act, act_alpha, act_beta, precision == "bf16")
    return y


@kept_kind("x", "w", "bias")
def linear(
    x: ArrayLike,
    w: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    activation: Activation = None,
    out: Any = None,
) -> FloatArray:
    """Multiply the last axis by a matrix: ``act(x @ w.T + bias)``.

    Parameters
    ----------
    x : array, shape (..., k), float32
    w : array, shape (n, k), float32
    bias : array, shape (n,), float32, optional
    activation : str or tuple, optional
        As for :func:`fastconv.conv2d`.
    out : array, shape (..., n), float32, optional
        Receives the result; it may not overlap `x` or `w`.

    Returns
    -------
    array, shape (..., n), float32

    Raises
    ------
    ShapeError, ArgumentError, DTypeError
        Named after the argument at fault.

    Examples
    --------
    >>> import numpy as np
    >>> linear(np.float32([1, 2]), np.float32([[1, 0], [1, 1], [0, -1]]), activation="relu")
    array([1., 3., 0.], dtype=float32)
    """
    x, w = arguments.as_array("x", x), arguments.as_array("w", w, rank=2)
    if x.ndim < 1:
        raise ShapeError("x: expected at least 1 dimension, got 0")
    n, k = w.shape
    if x.shape[-1] != k:
        raise ShapeError(f"w: expected k = {x.shape[-1]} columns, got {k}")
    if bias is not None:
        bias = arguments.as_vector("bias", bias, n, "rows of w")
    shape = (*x.shape[:-1], n)
    m = math.prod(x.shape[:-1])
    if out is not None:
        arguments.checked_output(out, shape, [x, w, *([] if bias is None else [bias])])
    in_place = out is not None and out.flags.c_contiguous
    y = gemm(
        x.reshape(m, k), w, trans_b=True, bias=bias, activation=activation,
        out=out.reshape(m, n) if in_place else None,
    )  # fmt: skip
    if out is None:
        return y.reshape(shape)
    if not in_place:
        np.copyto(out, y.reshape(shape))
    result: FloatArray = out
    return result


@kept_kind("a", "b")
def matmul(a: ArrayLike, b: ArrayLike, *, out: Any = None) -> FloatArray:
    """Multiply matrices, vectors, or stacks of matrices, as ``numpy.matmul`` does.

    Parameters
    ----------
    a : array, shape (..., m, k) or (k,), float32
    b : array, shape (..., k, n) or (k,), float32
        Leading dimensions broadcast.
    out : array of the result's shape, float32, optional

    Returns
    -------
    array, shape (..., m, n), without the dimensions that a vector operand lacks, float32

    Examples
    --------
    >>> import numpy as np
    >>> matmul(np.ones((4, 2, 3), np.float32), np.ones((3, 5), np.float32)).shape
    (4, 2, 5)
    """
    if out is None:
        product = _product(a, b)
        if product is not None:
            return product
    a = arguments.as_array("a", a)
    b = arguments.as_array("b", b)
    for name, operand in (("a", a), ("b", b)):
        if operand.ndim == 0:
            raise ShapeError(f"{name}: expected at least 1 dimension, got 0")
    left = a[np.newaxis] if a.ndim == 1 else a
    right = b[:, np.newaxis] if b.ndim == 1 else b
    if left.shape[-1] != right.shape[-2]:
        raise ShapeError(f"b: expected k = {left.shape[-1]} rows, got {right.shape[-2]}")
    try:
        stack = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    except ValueError:
        raise ShapeError(
            f"b: expected leading dimensions that broadcast with {a.shape[:-2]}, got {b.shape[:-2]}"
        ) from None
    m, n = left.shape[-2], right.shape[-1]
    shape = (*stack, *(() if a.ndim == 1 else (m,)), *(() if b.ndim == 1 else (n,)))
    result = arguments.empty(shape) if out is None else arguments.checked_output(out, shape, [a, b])
    if result.size == 0:
        return result
    # Views with both matrix dimensions back in place; they share the result's memory.
    y = result
    if a.ndim == 1:
        y = np.expand_dims(y, len(stack))
    if b.ndim == 1:
        y = np.expand_dims(y, -1)
    if right.ndim == 2 and left.flags.c_contiguous and y.flags.c_contiguous:
        # One matrix for the whole stack: its rows are one long product.
        rows = math.prod(left.shape[:-1])
        _multiply(left.reshape(rows, left.shape[-1]), right, y.reshape(rows, n))
        return result
    left = np.broadcast_to(left, (*stack, *left.shape[-2:]))
    right = np.broadcast_to(right, (*stack, *right.shape[-2:]))
    for i in np.ndindex(*stack):
        _multiply(left[i], right[i], y[i])
    return result


def _product(a: Any, b: Any) -> FloatArray | None:
    """Multiply two matrices; None where they are anything else, or do not fit: small ones are not to wait."""
    return _core.product(a, b) if type(a) is type(b) is np.ndarray else None


def _multiply(a: FloatArray, b: FloatArray, y: FloatArray) -> None:
    _core.gemm(a, b, None, y, 1.0, 0.0, None, "none", 0.0, 0.0)
