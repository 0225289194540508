"""Elementwise functions of one value; each is also what a pass can fuse into the node before it."""

from __future__ import annotations

import math

import numpy as np

from fastconv.errors import ShapeError, UnsupportedOpError
from fastconv.graph.context import Context
from fastconv.graph.ir import Activation
from fastconv.graph.registry import FASTCONV_DOMAIN, activation_op
from fastconv.graph.value import Array, Constant, Value


@activation_op("Relu")
def relu() -> Activation:
    """max(x, 0)."""
    return Activation("clamp", 0.0, math.inf)


@activation_op("Clip")
def clip(
    lo: Constant | None = None,
    hi: Constant | None = None,
    *,
    min: float = -math.inf,
    max: float = math.inf,
) -> Activation:
    """min(max(x, lo), hi); limits are attributes up to opset 6 and inputs from 11 on."""
    return Activation("clamp", _scalar("min", lo, min), _scalar("max", hi, max))


@activation_op("LeakyRelu")
def leaky_relu(*, alpha: float = 0.01) -> Activation:
    """X where x >= 0, else alpha * x."""
    return Activation("leaky_relu", alpha)


@activation_op("Sigmoid")
def sigmoid() -> Activation:
    """1 / (1 + exp(-x))."""
    return Activation("sigmoid")


@activation_op("Silu", FASTCONV_DOMAIN)
def silu() -> Activation:
    """X * sigmoid(x)."""
    return Activation("silu")


def _swish(ctx: Context, x: Value, *, alpha: float) -> Value:
    scaled = ctx.binary("mul", x, Constant(np.asarray(alpha, x.dtype)))
    return ctx.binary("mul", x, ctx.activate(scaled, Activation("sigmoid")))


@activation_op("FakeQuantize", FASTCONV_DOMAIN)
def fake_quantize(*, scale: float, least: float) -> Activation:
    """Nearest of 256 multiples of a scale, from ``least`` of them on: quantised to 8 bits and back."""
    return Activation("fake_quantize", scale, least)


@activation_op("Swish", otherwise=_swish)
def swish(*, alpha: float = 1.0) -> Activation | None:
    """X * sigmoid(alpha * x), which has a kernel for alpha = 1."""
    return Activation("silu") if alpha == 1 else None


@activation_op("HardSigmoid")
def hard_sigmoid(*, alpha: float = 0.2, beta: float = 0.5) -> Activation:
    """clamp(alpha * x + beta, 0, 1)."""
    return Activation("hardsigmoid", alpha, beta)


@activation_op("HardSwish")
def hard_swish() -> Activation:
    """X * clamp(x / 6 + 1/2, 0, 1)."""
    return Activation("hardswish")


@activation_op("Gelu")
def gelu(*, approximate: str = "none") -> Activation:
    """X * (1 + erf(x / sqrt 2)) / 2, or its approximation by tanh."""
    if approximate not in ("none", "tanh"):
        raise UnsupportedOpError(f"approximate: expected 'none' or 'tanh', got {approximate!r}")
    return Activation("gelu" if approximate == "none" else "gelu_tanh")


@activation_op("Mish")
def mish() -> Activation:
    """X * tanh(log(1 + exp(x)))."""
    return Activation("mish")


@activation_op("Tanh")
def tanh() -> Activation:
    """Hyperbolic tangent."""
    return Activation("tanh")


@activation_op("Elu")
def elu(*, alpha: float = 1.0) -> Activation:
    """X where x >= 0, else alpha * (exp(x) - 1)."""
    return Activation("elu", alpha)


@activation_op("Exp")
def exp() -> Activation:
    """Exponential."""
    return Activation("exp")


@activation_op("Sqrt")
def sqrt() -> Activation:
    """Square root."""
    return Activation("sqrt")


@activation_op("Erf")
def erf() -> Activation:
    """Error function."""
    return Activation("erf")


@activation_op("Log")
def log() -> Activation:
    """Natural logarithm."""
    return Activation("log")


@activation_op("Softplus")
def softplus() -> Activation:
    """log(1 + exp(x))."""
    return Activation("softplus")


@activation_op("Softsign")
def softsign() -> Activation:
    """X / (1 + |x|)."""
    return Activation("softsign")


@activation_op("Reciprocal")
def reciprocal() -> Activation:
    """1 / x."""
    return Activation("reciprocal")


@activation_op("ThresholdedRelu")
def thresholded_relu(*, alpha: float = 1.0) -> Activation:
    """X where x > alpha, else 0."""
    return Activation("thresholded_relu", alpha)


@activation_op("Selu")
def selu(*, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875) -> Activation:
    """Gamma * x where x >= 0, else gamma * alpha * (exp(x) - 1)."""
    return Activation("selu", gamma * alpha, gamma)


def _celu(ctx: Context, x: Value, *, alpha: float) -> Value:
    def function(a: Array) -> Array:
        return np.asarray(np.maximum(a, 0) + np.minimum(alpha * np.expm1(a / alpha), 0), a.dtype)

    return ctx.call(function, [x], x.shape, x.dtype)


@activation_op("Celu", otherwise=_celu)
def celu(*, alpha: float = 1.0) -> Activation | None:
    """max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0), which has a kernel for alpha above 0."""
    return Activation("celu", alpha) if alpha > 0 else None


@activation_op("Abs")
def absolute() -> Activation:
    """Absolute value."""
    return Activation("abs")


@activation_op("Neg")
def negative() -> Activation:
    """-x."""
    return Activation("neg")


def _scalar(name: str, value: Constant | None, default: float) -> float:
    if value is None:
        return default
    if value.array.size != 1:
        raise ShapeError(f"{name}: expected one number, got shape {value.shape}")
    return float(np.reshape(value.array, ()))
