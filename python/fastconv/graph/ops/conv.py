"""Convolutions: Conv, ConvTranspose and the FusedConv that passes write (Conv with a residual)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastconv import _core
from fastconv.errors import ArgumentError, ShapeError
from fastconv.graph.context import Context, broadcast_shapes
from fastconv.graph.ir import NO_ACTIVATION, Activation
from fastconv.graph.registry import FASTCONV_DOMAIN, op
from fastconv.graph.value import Array, Ints, Value
from fastconv.tuning import best_algorithm

AUTO_PAD = {
    "NOTSET": "explicit",
    "VALID": "explicit",
    "SAME_UPPER": "same_upper",
    "SAME_LOWER": "same_lower",
}


def auto_padding(name: str) -> str:
    """Return the binding's name of an ONNX ``auto_pad``."""
    if name not in AUTO_PAD:
        raise ArgumentError(f"auto_pad: expected one of {', '.join(AUTO_PAD)}, got {name!r}")
    return AUTO_PAD[name]


def spatial_ints(name: str, value: Ints | None, length: int, default: int) -> list[int]:
    """Return an attribute with one integer a spatial dimension (two for pads)."""
    ints = [default] * length if value is None else [int(v) for v in value]
    if len(ints) != length:
        raise ShapeError(f"{name}: expected {length} integers, got {ints}")
    return ints


def _pack(
    ctx: Context,
    x: Value,
    w: Value,
    b: Value | None,
    padding: list[int],
    activation: Activation,
    **parameters: Any,
) -> _core.Conv:
    bias = None if b is None else np.ascontiguousarray(ctx.array("b", b))
    spatial = len(w.shape) - 2

    parameters |= {
        "padding_lo": padding[:spatial],
        "padding_hi": padding[spatial:],
        "exact": ctx.plans.exact,
    }

    def build(weight: Array, algorithm: str = "auto", *, stored: Mapping[str, Array]) -> _core.Conv:
        return _core.Conv(
            np.ascontiguousarray(weight),
            bias,
            act=activation.kind,
            alpha=activation.alpha,
            beta=activation.beta,
            algorithm=algorithm,
            x_shape=x.shape if ctx.plans.fixed else (),
            borrow=ctx.plans.keep,
            stored=stored,
            **parameters,
        )

    def build_tuned(weight: Array, *, stored: Mapping[str, Array]) -> _core.Conv:
        geometry = {"w": w.shape, **parameters}
        best = best_algorithm(lambda name: build(weight, name, stored=stored), geometry, x.shape)
        return build(weight, best, stored=stored)

    key = (*padding, *parameters["output_padding"], activation)
    if ctx.plans.tune:
        return ctx.pack(w, (*key, x.shape, _core.get_num_threads()), build_tuned)
    return ctx.pack(w, key, build)


def _common_parameters(
    w: Value,
    auto_pad: str,
    dilations: Ints | None,
    group: int,
    kernel_shape: Ints | None,
    strides: Ints | None,
) -> dict[str, Any]:
    spatial = len(w.shape) - 2
    if not 1 <= spatial <= 3:
        raise ShapeError(f"w: expected 3 to 5 dimensions, got shape {w.shape}")
    if kernel_shape is not None and tuple(kernel_shape) != w.shape[2:]:
        raise ShapeError(
            f"kernel_shape: expected {list(w.shape[2:])} as in the weights, got {list(kernel_shape)}"
        )
    return {
        "spatial": spatial,
        "stride": spatial_ints("strides", strides, spatial, 1),
        "dilation": spatial_ints("dilations", dilations, spatial, 1),
        "groups": group,
        "auto_pad": auto_padding(auto_pad),
    }


@op("Conv", inputs=3)
@op("FusedConv", FASTCONV_DOMAIN)
def conv(
    ctx: Context,
    x: Value,
    w: Value,
    b: Value | None = None,
    residual: Value | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
    activation: Activation = NO_ACTIVATION,
) -> Value:
    """Convolution of (n, ic, spatial...) with (oc, ic / group, spatial...), plus a residual."""
    parameters = _common_parameters(w, auto_pad, dilations, group, kernel_shape, strides)
    parameters |= {"transposed": False, "output_padding": [0] * parameters["spatial"]}
    padding = spatial_ints("pads", None if auto_pad != "NOTSET" else pads, 2 * parameters["spatial"], 0)
    x = ctx.tensor(x)
    plan = _pack(ctx, x, w, b, padding, activation, **parameters)
    shape = plan.out_shape(x.shape)
    if residual is None:
        return ctx.convolve(plan, x, None, ctx.image(shape))
    if broadcast_shapes(residual.shape, shape) == shape:
        return ctx.convolve(plan, x, ctx.tensor(residual).broadcast_to(shape), ctx.image(shape))
    plain = _pack(ctx, x, w, b, padding, NO_ACTIVATION, **parameters)  # the result broadcasts to the residual
    return ctx.binary("add", ctx.convolve(plain, x, None, ctx.image(shape)), residual, activation)


@op("ConvTranspose")
def conv_transpose(
    ctx: Context,
    x: Value,
    w: Value,
    b: Value | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    output_padding: Ints | None = None,
    output_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
    activation: Activation = NO_ACTIVATION,
) -> Value:
    """Transposed convolution of (n, ic, spatial...) with (ic, oc / group, spatial...)."""
    parameters = _common_parameters(w, auto_pad, dilations, group, kernel_shape, strides)
    spatial = parameters["spatial"]
    extra = spatial_ints("output_padding", output_padding, spatial, 0)
    padding = spatial_ints("pads", None if auto_pad != "NOTSET" else pads, 2 * spatial, 0)
    if output_shape is not None:
        target = spatial_ints("output_shape", output_shape, spatial, 0)
        padding, extra = _padding_for(parameters, x.shape[2:], w.shape[2:], extra, target, auto_pad)
        parameters["auto_pad"] = "explicit"
    plan = _pack(ctx, x, w, b, padding, activation, transposed=True, output_padding=extra, **parameters)
    x = ctx.tensor(x)
    return ctx.convolve(plan, x, None, ctx.image(plan.out_shape(x.shape)))


def _padding_for(
    parameters: dict[str, Any],
    x_size: Ints,
    kernel: Ints,
    output_padding: Ints,
    output_size: Ints,
    auto_pad: str,
) -> tuple[list[int], list[int]]:
    """Return the padding and output padding of a transposed convolution that gives ``output_size``."""
    lo, hi, more = [], [], []
    stride, dilation = parameters["stride"], parameters["dilation"]
    for n, k, s, d, extra, out in zip(
        x_size, kernel, stride, dilation, output_padding, output_size, strict=True
    ):
        total = s * (n - 1) + extra + (k - 1) * d + 1 - out
        more.append(extra + max(0, -total))
        half = max(0, total) // 2
        rest = max(0, total) - half
        lo.append(half if auto_pad == "SAME_UPPER" else rest)
        hi.append(rest if auto_pad == "SAME_UPPER" else half)
    return lo + hi, more
