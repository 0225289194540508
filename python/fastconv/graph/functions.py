"""Elementwise functions by numpy, for the element types that have no kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv.errors import UnsupportedOpError
from fastconv.graph.ir import Activation
from fastconv.graph.value import Array

_GELU_TANH = 2 * math.sqrt(2 / math.pi)

# What kernels compute for f32 alone, for other element types: of x, alpha and beta.
ACTIVATIONS: dict[str, Callable[[Array, float, float], Array]] = {
    "abs": lambda x, _a, _b: np.abs(x),
    "neg": lambda x, _a, _b: np.negative(x),
    "leaky_relu": lambda x, a, _: np.where(x < 0, a * x, x),
    "sigmoid": lambda x, _a, _b: 1 / (1 + np.exp(-x)),
    "silu": lambda x, _a, _b: x / (1 + np.exp(-x)),
    "hardsigmoid": lambda x, a, b: np.clip(a * x + b, 0, 1),
    "hardswish": lambda x, _a, _b: x * np.clip(x / 6 + 0.5, 0, 1),
    "gelu_tanh": lambda x, _a, _b: x / (1 + np.exp(-_GELU_TANH * (x + 0.044715 * x**3))),
    "mish": lambda x, _a, _b: x * np.tanh(np.logaddexp(x, 0)),
    "tanh": lambda x, _a, _b: np.tanh(x),
    "elu": lambda x, a, _: np.where(x < 0, a * np.expm1(x), x),
    "exp": lambda x, _a, _b: np.exp(x),
    "sqrt": lambda x, _a, _b: np.sqrt(x),
    "erf": lambda x, _a, _b: np.vectorize(math.erf, otypes=[np.float64])(x) if x.size else x,
    "log": lambda x, _a, _b: np.log(x),
    "softplus": lambda x, _a, _b: np.logaddexp(x, 0),
    "softsign": lambda x, _a, _b: x / (1 + np.abs(x)),
    "reciprocal": lambda x, _a, _b: 1 / x,
    "thresholded_relu": lambda x, a, _: np.where(x > a, x, 0),
    "selu": lambda x, a, b: np.where(x < 0, a * np.expm1(np.minimum(x, 0)), b * x),
    "celu": lambda x, a, _: np.where(x < 0, a * np.expm1(np.minimum(x, 0) / a), x),
}
BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": lambda a, b: truncated_quotient(a, b) if a.dtype.kind in "iu" else a / b,
    "min": np.minimum,
    "max": np.maximum,
    "pow": lambda a, b: np.power(a, b).astype(a.dtype),
}


def activation_of(activation: Activation, dtype: np.dtype[Any]) -> Callable[[Array], Array]:
    """Return an activation as a function of arrays of a dtype other than f32."""
    kind, alpha, beta = activation
    if kind == "clamp":
        least: float = -math.inf
        most: float = math.inf
        if dtype.kind in "iu":
            least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
        low, high = (np.asarray(min(max(n, least), most), dtype) for n in (alpha, beta))
        return lambda x: np.clip(x, low, high)
    function = ACTIVATIONS.get(kind)
    if function is None or (dtype.kind != "f" and kind not in ("abs", "neg")):
        raise UnsupportedOpError(f"expected float32 values, got {dtype}")
    return lambda x: np.asarray(function(x, alpha, beta), x.dtype)


def truncated_quotient(a: Array, b: Array) -> Array:
    """Divide integers as C does, towards zero; 0 where the divisor is 0."""
    quotient: Array = np.floor_divide(a, b)
    quotient += ((quotient < 0) & (quotient * b != a)).astype(a.dtype)
    return quotient


def rounded_to_bf16(x: Array, out: Array | None = None) -> Array:
    """Return the numbers of bf16 nearest to f32 ones, ties to even, as f32; what is NaN stays so.

    >>> rounded_to_bf16(np.array([1 + 2**-8, 1 + 3 * 2**-8, 3.4e38, -0.0], np.float32)).tolist()
    [1.0, 1.015625, inf, -0.0]
    """
    y = np.empty_like(x) if out is None else out
    bits, rounded = x.view(np.uint32), y.view(np.uint32)
    np.right_shift(bits, 16, out=rounded)
    rounded &= 1
    rounded += 0x7FFF
    rounded += bits
    rounded &= 0xFFFF0000
    np.copyto(y, x, where=np.isnan(x))
    return y
