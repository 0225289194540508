"""Einsum: sums of products by Einstein's notation, as numpy reads it.

They are computed two terms at a time, in an order that makes the smallest of what lies between: by the
kernels of matrix products where they are such products, else by numpy's loops. numpy's own way with an order
is BLAS, whose threads are its own.
"""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fastconv.errors import ShapeError
from fastconv.graph.context import Context, broadcast_shapes
from fastconv.graph.ops.linear import MAX_PRODUCTS, matmul
from fastconv.graph.registry import op
from fastconv.graph.value import F32, F64, Array, Constant, Value, size_of

MAX_EQUATION = 1000  # characters
MAX_TERMS = 16  # the search for an order grows with their cube


@op("Einsum")
def einsum(ctx: Context, *values: Value, equation: str) -> Value:
    """Sum of products by Einstein's notation, as numpy reads it."""
    if len(equation) > MAX_EQUATION or not 1 <= len(values) <= MAX_TERMS:
        raise ShapeError(
            f"equation: expected at most {MAX_EQUATION} characters and 1 to {MAX_TERMS} values,"
            f" got {len(equation)} and {len(values)}"
        )
    tiny = [np.broadcast_to(np.zeros((), v.dtype), v.shape) for v in values]
    np.einsum_path(equation, *tiny, optimize=False)  # which knows what is wrong with an equation
    equation = _spelled_out(equation.replace(" ", ""), [v.shape for v in values])
    values, equation = _summed_first(ctx, values, equation)
    shape = _einsum_shape(equation, [v.shape for v in values])
    size_of(shape)
    # Products of two of the values, in an order that makes the smallest, and none beyond the budget.
    tiny = [np.broadcast_to(np.zeros((), v.dtype), v.shape) for v in values]
    largest = max(size_of(shape), ctx.budget.room() // (4 * values[0].dtype.itemsize))
    path = np.einsum_path(equation, *tiny, optimize=("greedy", largest))[0]
    terms, _, result = equation.partition("->")
    waiting = list(zip(terms.split(","), values, strict=True))
    for together in path[1:]:
        taken = [waiting.pop(i) for i in sorted(together, reverse=True)][::-1]
        letters = ",".join(term for term, _ in taken)
        wanted = set(result).union(*(term for term, _ in waiting))
        kept = "".join(c for c in dict.fromkeys(letters) if c in wanted) if waiting else result
        waiting.append((kept, _contracted(ctx, [v for _, v in taken], f"{letters}->{kept}")))
    return waiting[0][1]


def _contracted(ctx: Context, values: Sequence[Value], equation: str) -> Value:
    """Return what an equation says of values, by a product of two matrices or by loops over all letters."""
    values, equation = _summed_first(ctx, values, equation)
    ctx.node = replace(ctx.node, attrs={**ctx.node.attrs, "equation": equation})  # what its step computes
    product = _by_products(ctx, equation, values)
    if product is not None:
        return product
    shape, dtype = _einsum_shape(equation, [v.shape for v in values]), values[0].dtype
    return ctx.call(lambda *arrays: np.asarray(np.einsum(equation, *arrays)), values, shape, dtype)


def _spelled_out(equation: str, shapes: Sequence[tuple[int, ...]]) -> str:
    """Return an equation that names its result, with letters for what an ellipsis stands for."""
    terms, arrow, result = equation.partition("->")
    letters = terms.split(",")
    if not arrow:  # what occurs once, in alphabetical order, after what the ellipses stand for
        once = sorted(c for c in set(terms) if c.isalpha() and terms.count(c) == 1)
        result = ("..." if "..." in terms else "") + "".join(once)
    free = [c for c in string.ascii_letters if c not in equation]
    hidden = [len(shape) - len(s.replace("...", "")) for s, shape in zip(letters, shapes, strict=True)]
    most = max((n for s, n in zip(letters, hidden, strict=True) if "..." in s), default=0)
    if most > len(free):
        raise ShapeError(f"equation: expected at most {len(free)} dimensions of an ellipsis, got {most}")
    named = "".join(free[:most])
    spelled = [s.replace("...", named[most - n :]) for s, n in zip(letters, hidden, strict=True)]
    return f"{','.join(spelled)}->{result.replace('...', named)}"


def _summed_first(ctx: Context, values: Sequence[Value], equation: str) -> tuple[tuple[Value, ...], str]:
    """Sum over the letters of one term alone that the result does not have.

    ``ab,cd->ad`` of 400 x 400 matrices is a sum over 2.6 * 10^10 products otherwise.
    """
    terms, _, result = equation.partition("->")
    letters = terms.split(",")
    if len(letters) < 2:
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


def _by_products(ctx: Context, equation: str, values: Sequence[Value]) -> Value | None:
    """Return a sum over products of two values by the kernels of matrix products, or None.

    Letters of both terms are the batch where the result has them and summed over where not, those of one
    term are rows or columns. 128 products of 49 x 32 x 49, the windows of a MaxViT, took 0.79 ms with numpy.
    """
    terms, _, result = equation.partition("->")
    letters = terms.split(",")
    if len(letters) != 2 or any(len(set(s)) != len(s) for s in (*letters, result)):
        return None
    dtypes = {v.dtype for v in values}
    if len(dtypes) > 1 or not dtypes < {F32, F64} or all(isinstance(v, Constant) for v in values):
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


def _einsum_shape(equation: str, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the shape of a result: of a letter's sizes, of which some may be 1, the other one."""
    terms, _, result = equation.partition("->")
    sizes: dict[str, tuple[int, ...]] = {}
    for term, shape in zip(terms.split(","), shapes, strict=True):
        for letter, n in zip(term, shape, strict=True):
            sizes[letter] = broadcast_shapes(sizes.get(letter, ()), (n,))
    return tuple(sizes[letter][0] for letter in result)
