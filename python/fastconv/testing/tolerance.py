"""Error bounds, derived once for all tests: how far a correct f32 result may lie from the float64 reference.

A sum of n products evaluated in any order, with or without fused multiply-adds, satisfies (Higham, Accuracy
and Stability of Numerical Algorithms, section 3.1)

    |computed - exact| <= gamma_n * sum |a| |b|,    gamma_n = n u / (1 - n u),    u = 2^-24 for f32,

so a bound needs the reference's magnitude (the sum of absolute values) and n, and nothing is tuned.
Algorithms that do not sum the plain products have another magnitude: Winograd's is
``winograd.winograd_conv`` of the absolute values, transforms included, with the roundings of
:func:`winograd_terms`.
Exactness on small integers, which tests demand besides, catches what such a bound forgives for large n.

The functions of one value (exp, sigmoid, gelu...) have bounds of their own, in units in the last place.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]

UNIT_ROUNDOFF = {"f32": 2.0**-24, "f16": 2.0**-11, "bf16": 2.0**-8}
SMALLEST_NORMAL = {"f32": 2.0**-126, "f16": 2.0**-14, "bf16": 2.0**-126}

# Roundings besides the K of the sum: scaling by alpha, beta * c, adding c, the bias and the residual.
EPILOGUE_ROUNDINGS = 5

# An upper bound of |f'|, by which an error of the argument grows; and the error of the function's own
# evaluation, in unit roundoffs of |x| (where it multiplies by x or subtracts near it) and of 1 (where it
# saturates).
_DERIVATIVE = {
    "relu": 1.0,
    "relu6": 1.0,
    "clamp": 1.0,
    "abs": 1.0,
    "neg": 1.0,
    "tanh": 1.0,
    "sigmoid": 0.25,
    "silu": 1.1,
    "hardswish": 1.5,
    "gelu": 1.13,
    "gelu_tanh": 1.13,
    "mish": 1.09,
}
_ROUNDED = frozenset(
    {"leaky_relu", "hardsigmoid", "hardswish", "sigmoid", "silu", "gelu", "gelu_tanh", "mish", "tanh", "elu"}
)
EVALUATION_ROUNDINGS = 8


# Units in the last place that a function of one value may be off, for every float32 and on every tier: what
# bench/ulp.py found over all of them, up to the next quarter. gelu is off by 7 where there is a fused
# multiply-add; gelu_tanh by 8 above -2, and by 2 |u| where it is x exp(-2 |u|), u a rounded polynomial.
# hardsigmoid's, whose sum cancels near -beta / alpha, are units of 1/2 (`least` of ulp_error), and affine's
# of beta. Those from erf on were found over a sample.
ULPS = {
    "none": 0.0,
    "clamp": 0.0,
    "leaky_relu": 0.5,
    "sigmoid": 2.5,
    "silu": 2.5,
    "hardsigmoid": 0.75,
    "hardswish": 2.5,
    "gelu": 8.25,
    "gelu_tanh": 215.0,
    "mish": 4.25,
    "tanh": 2.5,
    "elu": 1.25,
    "exp": 1.25,
    "sqrt": 0.5,
    "abs": 0.0,
    "neg": 0.0,
    "erf": 2.0,
    "log": 1.25,
    "softplus": 2.5,
    "softsign": 1.75,
    "reciprocal": 0.5,
    "thresholded_relu": 0.0,
    "affine": 1.75,
    "scaled_tanh": 4.0,
    "selu": 2.5,
    "celu": 2.5,
}


def gamma(n: int, dtype: str = "f32") -> float:
    """Return gamma_n = n u / (1 - n u), the relative error of n roundings.

    Examples
    --------
    >>> round(gamma(1000) / 2**-24)
    1000
    """
    nu = n * UNIT_ROUNDOFF[dtype]
    if nu >= 1:
        raise ValueError(f"n: a sum of {n} terms in {dtype} has no bound")
    return nu / (1 - nu)


def winograd_terms(ic: int) -> int:
    """Return the roundings on the longest path through a Winograd convolution of `ic` input channels.

    The sum over channels, one rounding of the transformed weights, and in each of the four passes of the two
    transforms at most four (three operations in a chain and, without fused multiply-adds, a product).
    """
    return ic + 1 + 4 * 4


def sum_bound(magnitude: Array, k: int, *, dtype: str = "f32") -> Array:
    """Bound the error of sums of `k` products, with their epilogue's additions.

    Parameters
    ----------
    magnitude : ndarray
        The sums of the terms' absolute values, ``reference.conv_magnitude`` or ``reference.gemm_magnitude``.
    k : int
        Terms of each sum.
    dtype : str
        Type of the accumulator: "f32", "f16" or "bf16".

    Returns
    -------
    ndarray
        The largest |computed - exact| that is no mistake, element by element.
    """
    n = k + EPILOGUE_ROUNDINGS
    return (
        gamma(n, dtype) * magnitude + n * SMALLEST_NORMAL[dtype]
    )  # what underflow to zero can lose at each step


def bf16_bound(magnitude: Array, k: int) -> Array:
    """Bound the error of sums of `k` products whose factors are rounded to bf16 before.

    Parameters
    ----------
    magnitude : ndarray
        The sums of the terms' absolute values, before they are rounded.
    k : int
        Terms of each sum.

    Returns
    -------
    ndarray
        The largest |computed - exact| that is no mistake, where no factor is denormal or beyond what bf16
        holds.

    Examples
    --------
    >>> round(float(bf16_bound(np.float64(1), 1)) * 2**8, 2)
    2.0
    """
    u = UNIT_ROUNDOFF["bf16"]
    return (2 * u + u * u) * magnitude + sum_bound((1 + u) ** 2 * magnitude, k)


def activation_bound(
    bound: Array, argument: Array, activation: str | tuple[Any, ...] | None, *, dtype: str = "f32"
) -> Array:
    """Bound the error of act(v) where |v - argument| <= bound: the argument's error, grown, and act's own."""
    if activation is None:
        return bound
    name, *parameters = (activation,) if isinstance(activation, str) else activation
    if name == "leaky_relu":
        slope = max(1.0, abs(parameters[0] if parameters else 0.01))
    elif name == "elu":
        slope = max(1.0, abs(parameters[0] if parameters else 1.0))
    elif name == "hardsigmoid":
        slope = abs(parameters[0] if parameters else 1 / 6)
    else:
        slope = _DERIVATIVE[name]
    own = EVALUATION_ROUNDINGS * UNIT_ROUNDOFF[dtype] if name in _ROUNDED else 0.0
    return np.asarray(slope * bound + own * (1.0 + np.abs(argument)))


def assert_within(
    actual: npt.NDArray[Any], expected: Array, bound: Array | float, context: object = ""
) -> None:
    """Fail unless |actual - expected| <= bound everywhere; the message shows the element furthest out."""
    assert actual.shape == expected.shape, f"expected shape {expected.shape}, got {actual.shape} {context}"
    error = np.abs(actual.astype(np.float64) - expected)
    outside = ~(error <= bound)  # a NaN is outside too
    if outside.any():
        excess = np.where(outside, error / np.maximum(bound, np.finfo(np.float64).tiny), -math.inf)
        at = np.unravel_index(int(np.argmax(np.nan_to_num(excess, nan=math.inf))), actual.shape)
        allowed = np.broadcast_to(bound, actual.shape)[at]
        raise AssertionError(
            f"{int(outside.sum())} of {actual.size} elements are out of bounds; at {tuple(map(int, at))} "
            f"expected {expected[at]!r} +- {allowed:.3g}, got {actual[at]!r} {context}"
        )


_F64_EXPONENT = np.int64(0x7FF << 52)
_F32_OVERFLOW = 2.0**128  # what follows the largest float32, and what infinity counts as


def ulp_error(actual: npt.NDArray[Any], exact: Array, least: float = 0.0) -> Array:
    """Return |actual - exact| in units in the last place of float32 at the exact value.

    Parameters
    ----------
    actual : ndarray of float32
        Infinity counts as 2^128, and so does an exact value beyond it. NaN for NaN is no error; for anything
        else, or anything else for NaN, it is an infinite one.
    exact : ndarray of float64
        What it should be.
    least : float
        The units are not smaller than those of this number.

    Returns
    -------
    ndarray
        At most 0.5 where `actual` is the correctly rounded value.

    Examples
    --------
    >>> ulp_error(np.float32([1.0, 2.0]), np.array([1 + 2.0**-23, 2 - 2.0**-23])).tolist()
    [1.0, 1.0]
    """
    with np.errstate(invalid="ignore"):  # NaN that signals
        exact = np.clip(exact, -_F32_OVERFLOW, _F32_OVERFLOW)
        actual = np.clip(actual.astype(np.float64), -_F32_OVERFLOW, _F32_OVERFLOW)
    # 2^-23 of the binade, from the exponent's bits: of 2^-126 for denormals, of 2^127 at 2^128.
    at = np.clip(np.abs(exact), max(least, SMALLEST_NORMAL["f32"]), 2.0**127)
    unit = ((at.view(np.int64) & _F64_EXPONENT) - (23 << 52)).view(np.float64)
    error = np.abs(actual - exact) / unit
    undefined = np.isnan(error)
    error[undefined] = np.where(np.isnan(exact[undefined]) & np.isnan(actual[undefined]), 0.0, math.inf)
    return np.asarray(error)
