"""Matrix products of arrays, for what is computed by functions of numpy.

``numpy.matmul`` of floating-point numbers is BLAS's, whose threads are its own: they run whatever
:func:`fastconv.threads` says, and beside other callers' work. So are ``tensordot``, ``dot``, and ``einsum``
with an order of its terms. What is multiplied here is multiplied by our kernels.
"""

from __future__ import annotations

import numpy as np

from fastconv import _core
from fastconv.graph.value import F32, F64, Array

EXACT_DEPTH = 256  # products of two numbers of up to 255 that f32 sums without rounding: 2^24 / 255^2 is 258


def product(a: Array, b: Array) -> Array:
    """Return what ``numpy.matmul`` does of two matrices, or stacks of them that broadcast."""
    if a.dtype not in (F32, F64):  # numpy's own loops
        return np.asarray(np.matmul(a, b))
    stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    y = np.empty((*stack, a.shape[-2], b.shape[-1]), a.dtype)
    if b.ndim == 2 and a.ndim > 2 and a.flags.c_contiguous:  # one matrix for all: their rows are one product
        _multiply(a.reshape(-1, a.shape[-1]), b, y.reshape(-1, b.shape[-1]))
        return y
    left, right = (np.broadcast_to(v, (*stack, *v.shape[-2:])) for v in (a, b))
    for i in np.ndindex(*stack):
        _multiply(left[i], right[i], y[i])
    return y


def exact_product(a: Array, b: Array) -> Array:
    """Return products in f64 of f32 matrices of whole numbers from -255 to 255: no sum is rounded."""
    depth = a.shape[-1]
    stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    y = np.zeros((*stack, a.shape[-2], b.shape[-1]), F64)
    for k in range(0, depth, EXACT_DEPTH):
        y += product(a[..., k : k + EXACT_DEPTH], b[..., k : k + EXACT_DEPTH, :])
    return y


def _multiply(a: Array, b: Array, y: Array) -> None:
    if not y.size:
        return
    if a.dtype == F32:
        _core.gemm(a, b, None, y, 1.0, 0.0, None, "none", 0.0, 0.0)
    else:
        _core.gemm_f64(a, b, y)
