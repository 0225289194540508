"""Convolutions: Conv, ConvTranspose, Col2Im and the FusedConv that passes write (Conv with a residual).

Kernels are for f32; float64 is convolved by numpy, in float64.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fastconv import _core
from fastconv.errors import ArgumentError, DTypeError, ShapeError
from fastconv.graph.context import Context, broadcast_shapes
from fastconv.graph.ir import NO_ACTIVATION, Activation
from fastconv.graph.ops.windows import SlidingWindows, convolve, convolve_transposed
from fastconv.graph.packing import pack
from fastconv.graph.registry import FASTCONV_DOMAIN, op
from fastconv.graph.value import Array, Ints, Value, channels_last_order, size_of

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


def pads_of(auto_pad: str, pads: Ints | None, spatial: int) -> list[int]:
    """Return the padding that is given, all before and then all after; zeros where ``auto_pad`` decides."""
    return spatial_ints("pads", None if auto_pad != "NOTSET" else pads, 2 * spatial, 0)


def _pack(
    ctx: Context,
    x: Value,
    w: Value,
    b: Value | None,
    padding: list[int],
    activation: Activation,
    given: dict[str, Any],
) -> _core.Conv:
    bias = None if b is None else np.ascontiguousarray(ctx.array("b", b))
    spatial = len(w.shape) - 2
    # With sizes that stay, so that the plain weights are needed once.
    seen = _seen_taps(x.shape[2:], w.shape[2:], padding, given) if ctx.plans.fixed else None
    taps: tuple[slice, ...] = ()
    if seen is not None:
        taps, padding = seen

    parameters = {
        "precision": ctx.precision,
        "padding_lo": padding[:spatial],
        "padding_hi": padding[spatial:],
        **given,
    }

    def build(weight: Array, algorithm: str = "auto", *, stored: Mapping[str, Array]) -> _core.Conv:
        return _core.Conv(
            np.ascontiguousarray(weight[(slice(None), slice(None), *taps)]),
            bias,
            act=activation.kind,
            alpha=activation.alpha,
            beta=activation.beta,
            algorithm=algorithm,
            x_shape=x.shape if ctx.plans.fixed else (),
            borrow=ctx.plans.keep and not taps,
            stored=stored,
            **parameters,
        )

    def build_tuned(weight: Array, *, stored: Mapping[str, Array]) -> _core.Conv:
        from fastconv.tuning import best_algorithm, zeros_of  # in here: few ask for it

        geometry = {"w": w.shape, **zeros_of(weight), **parameters}
        best = best_algorithm(lambda name: build(weight, name, stored=stored), geometry, x.shape)
        return build(weight, best, stored=stored)

    key = (*padding, *parameters["output_padding"], activation)
    piece = "".join(f"/taps {tap.start} to {tap.stop}" for tap in taps)
    if ctx.plans.tune and "signs" not in given:  # of signs there is one algorithm
        return pack(ctx, (w, b), (*key, x.shape, _core.get_num_threads()), build_tuned, piece=piece)
    share = repr((parameters, activation, taps, x.shape if ctx.plans.fixed else (), ctx.plans.keep))
    return pack(ctx, (w, b), key, build, piece=piece, share=share)


def _seen_taps(
    size: Ints, kernel: Ints, padding: Sequence[int], given: dict[str, Any]
) -> tuple[tuple[slice, ...], list[int]] | None:
    """Return the part of a kernel that meets the image at all, and its padding; None where all of it does.

    With a dilation of 36, as in a DeepLab on images of 33 pixels, the centre alone does: a 1x1 convolution.
    """
    spatial = len(kernel)
    fits = len(size) == spatial and min(*given["stride"], *given["dilation"]) > 0  # else an error, not here
    if not fits or given["transposed"] or given["auto_pad"] != "explicit":
        return None
    taps, lo, hi = [], list(padding[:spatial]), list(padding[spatial:])
    for axis, (n, k, s, d) in enumerate(zip(size, kernel, given["stride"], given["dilation"], strict=True)):
        windows = (n + lo[axis] + hi[axis] - (k - 1) * d - 1) // s + 1
        reach = (windows - 1) * s  # from the first window to the last
        # Of the taps t: those with t * d - lo < n and t * d - lo + reach >= 0.
        first, last = max(0, -((reach - lo[axis]) // d)), min(k, (n + lo[axis] - 1) // d + 1)
        if windows < 1 or first >= last:
            return None
        taps.append(slice(first, last))
        lo[axis] -= first * d
        hi[axis] -= (k - last) * d
    whole = all(tap == slice(0, k) for tap, k in zip(taps, kernel, strict=True))
    return None if whole or min(*lo, *hi) < 0 else (tuple(taps), [*lo, *hi])


def conv_parameters(
    w: Value,
    auto_pad: str,
    dilations: Ints | None,
    group: int,
    kernel_shape: Ints | None,
    strides: Ints | None,
) -> dict[str, Any]:
    """Return what the attributes and the weights' shape say, under the names of ``_core.Conv``."""
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
        "transposed": False,
        "output_padding": [0] * spatial,
    }


def _out_shape(
    parameters: dict[str, Any], x_shape: Ints, w_shape: Ints, padding: list[int]
) -> tuple[int, ...]:
    """Return the shape of a convolution's result; errors say what does not fit together."""
    spatial = parameters["spatial"]
    ic, oc = (0, 1) if parameters["transposed"] else (1, 0)
    groups = parameters["groups"]
    channels = [w_shape[0], w_shape[1]]
    channels[1] *= max(1, groups)
    if len(x_shape) == spatial + 2 and x_shape[1] != channels[ic]:
        raise ShapeError(f"x: expected {channels[ic]} channels, got {x_shape[1]}")
    if groups < 1 or w_shape[0] % groups or 0 in w_shape:
        raise ShapeError(f"group: expected a divisor of {w_shape[0]} channels of the weights, got {groups}")
    # Sizes do not depend on the channels; with one there is next to nothing to pack.
    plan = _core.Conv(
        np.zeros((1, 1, *w_shape[2:]), np.float32),
        None,
        act="none",
        alpha=0.0,
        beta=0.0,
        precision="exact",
        algorithm="auto",
        padding_lo=padding[:spatial],
        padding_hi=padding[spatial:],
        **(parameters | {"groups": 1}),
    )
    size = plan.out_shape((1, 1, *x_shape[2:]))[2:]
    return (x_shape[0], channels[oc], *size)


def conv_windows(
    parameters: dict[str, Any], x_shape: Ints, w_shape: Ints, padding: list[int]
) -> SlidingWindows:
    """Return the windows of a convolution over its input, or over its result if it is transposed."""
    spatial = parameters["spatial"]
    y_shape = _out_shape(parameters, x_shape, w_shape, padding)
    inner, outer = tuple(x_shape[2:]), tuple(y_shape[2:])
    size, out = (outer, inner) if parameters["transposed"] else (inner, outer)
    stride, dilation = parameters["stride"], parameters["dilation"]
    lo = padding[:spatial]
    if parameters["auto_pad"] != "explicit":
        lo = []
        for n, o, k, s, d, extra in zip(
            size, out, w_shape[2:], stride, dilation, parameters["output_padding"], strict=True
        ):
            total = max(0, (o - 1) * s + (k - 1) * d + 1 + extra - n)
            lo.append(total // 2 if parameters["auto_pad"] == "same_upper" else total - total // 2)
    windows = SlidingWindows(size, tuple(w_shape[2:]), tuple(stride), tuple(dilation), tuple(lo), out)
    return windows.checked(math.prod(y_shape[:2] if parameters["transposed"] else x_shape[:2]))


def _convolution_in_f64(
    ctx: Context,
    x: Value,
    w: Value,
    b: Value | None,
    parameters: dict[str, Any],
    padding: list[int],
    activation: Activation,
) -> Value:
    """Convolve in float64, with numpy."""
    values = [x, w, *([] if b is None else [b])]
    if any(value.dtype != np.float64 for value in values):
        got = ", ".join(str(value.dtype) for value in values)
        raise DTypeError(f"x, w, b: expected float32 or float64 values, all alike, got {got}")
    windows, groups = conv_windows(parameters, x.shape, w.shape, padding), parameters["groups"]
    shape = _out_shape(parameters, x.shape, w.shape, padding)
    if b is not None and b.shape != shape[1:2]:
        raise ShapeError(f"b: expected {shape[1]} values, got shape {b.shape}")
    product = convolve_transposed if parameters["transposed"] else convolve

    def function(x: Array, w: Array, *bias: Array) -> Array:
        y = product(x, w, windows, groups)
        return y + bias[0].reshape(-1, *[1] * parameters["spatial"]) if bias else y

    over = shape if parameters["transposed"] else x.shape
    scratch = windows.padded_bytes(math.prod(over[:2]), x.dtype) + 2 * x.dtype.itemsize * size_of(shape)
    scratch += x.dtype.itemsize * math.prod(
        (*over[:2], *windows.out)
    )  # a tap's columns, where they are copied
    return ctx.activate(ctx.call(function, values, shape, x.dtype, scratch=scratch), activation)


def convolution(
    ctx: Context,
    x: Value,
    w: Value,
    b: Value | None,
    parameters: dict[str, Any],
    padding: list[int],
    activation: Activation = NO_ACTIVATION,
) -> Value:
    """Convolve f32 values by a kernel."""
    x = ctx.tensor(x)
    plan = _pack(ctx, x, w, b, padding, activation, parameters)
    return ctx.convolve(plan, x, None, ctx.image(plan.out_shape(x.shape)))


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
    parameters = conv_parameters(w, auto_pad, dilations, group, kernel_shape, strides)
    padding = pads_of(auto_pad, pads, parameters["spatial"])
    if x.dtype == np.float64:
        y = _convolution_in_f64(ctx, x, w, b, parameters, padding, NO_ACTIVATION)
        return ctx.activate(y, activation) if residual is None else ctx.binary("add", y, residual, activation)
    return convolution_and_sum(ctx, x, w, b, residual, parameters, padding, activation)


def convolution_and_sum(
    ctx: Context,
    x: Value,
    w: Value,
    b: Value | None,
    residual: Value | None,
    parameters: dict[str, Any],
    padding: list[int],
    activation: Activation,
) -> Value:
    """Convolve f32 values by a kernel that adds the residual."""
    if residual is None:
        return convolution(ctx, x, w, b, parameters, padding, activation)
    x = ctx.tensor(x)
    plan = _pack(ctx, x, w, b, padding, activation, parameters)
    shape = plan.out_shape(x.shape)
    if broadcast_shapes(residual.shape, shape) == shape:
        return ctx.convolve(plan, x, ctx.tensor(residual).broadcast_to(shape), ctx.image(shape))
    plain = _pack(ctx, x, w, b, padding, NO_ACTIVATION, parameters)  # the result broadcasts to the residual
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
    parameters = conv_parameters(w, auto_pad, dilations, group, kernel_shape, strides)
    spatial = parameters["spatial"]
    extra = spatial_ints("output_padding", output_padding, spatial, 0)
    padding = pads_of(auto_pad, pads, spatial)
    if output_shape is not None:
        target = spatial_ints("output_shape", output_shape, spatial, 0)
        padding, extra = _padding_for(parameters, x.shape[2:], w.shape[2:], extra, target, auto_pad)
        parameters["auto_pad"] = "explicit"
    elif parameters["auto_pad"] != "explicit":  # the result has stride times the size, zeros after all else
        target = [n * s for n, s in zip(x.shape[2:], parameters["stride"], strict=False)]
        padding, extra = _padding_for(parameters, x.shape[2:], w.shape[2:], extra, target, auto_pad)
        parameters["auto_pad"] = "explicit"
    parameters |= {"transposed": True, "output_padding": extra}
    if x.dtype == np.float64:
        return _convolution_in_f64(ctx, x, w, b, parameters, padding, activation)
    if _tiles(parameters, w.shape, padding):
        return _tiled(ctx, x, w, b, parameters, padding, activation)
    return convolution(ctx, x, w, b, parameters, padding, activation)


def _tiles(parameters: dict[str, Any], w_shape: Ints, padding: list[int]) -> bool:
    """Whether each pixel of a transposed convolution of images makes a tile of the result by itself."""
    return (
        list(w_shape[2:]) == parameters["stride"]
        and parameters["spatial"] == 2
        and parameters["groups"] == 1
        and parameters["dilation"] == [1, 1]
        and not any([*padding, *parameters["output_padding"]])
    )


FEW_CHANNELS = 16  # those of which an activation that takes long is no longer worth fusing


def _tiled(
    ctx: Context,
    x: Value,
    w: Value,
    b: Value | None,
    parameters: dict[str, Any],
    padding: list[int],
    activation: Activation,
) -> Value:
    """Make each row of the tiles by a pointwise convolution.

    Its channels are those of all pixels of a tile's row, which lie side by side in a channels-last result.
    """
    shape = _out_shape(parameters, x.shape, w.shape, padding)
    n, oc, rows, columns = shape
    ic, (high, wide) = w.shape[0], w.shape[2:]
    x = ctx.tensor(x)
    y = ctx.image(shape)
    if y.strides[3] != oc or (oc > 1 and y.strides[1] != 1):
        y = ctx.empty(shape, channels_last_order(4))
    bias = None if b is None else np.tile(ctx.array("b", b), wide)
    fused = activation if oc * wide >= FEW_CHANNELS or activation.kind == "clamp" else NO_ACTIVATION
    for row in range(high):

        def build(weight: Array, *, stored: Mapping[str, Array], row: int = row) -> _core.Conv:
            size = (wide * oc, ic, 1, 1)
            pixels = weight[:, :, row].transpose(2, 1, 0)
            return _core.Conv(
                # Not read, and so not copied, where the packed ones are stored and serve every size.
                np.broadcast_to(weight[:1, 0, 0, 0], size)
                if stored and ctx.plans.precision != "bf16"
                else np.ascontiguousarray(pixels.reshape(size)),
                bias,
                spatial=2,
                stride=[1, 1],
                padding_lo=[0, 0],
                padding_hi=[0, 0],
                dilation=[1, 1],
                groups=1,
                auto_pad="explicit",
                transposed=False,
                output_padding=[0, 0],
                act=fused.kind,
                alpha=fused.alpha,
                beta=fused.beta,
                precision=ctx.plans.precision,
                algorithm="auto",
                stored=stored,
            )

        plan = pack(ctx, (w, b), ("row", row, fused), build, piece=f"/row {row}")
        strides = (y.strides[0], 1, high * y.strides[2], wide * y.strides[3])
        part = replace(
            y,
            shape=(n, wide * oc, rows // high, columns // wide),
            strides=strides,
            offset=y.offset + row * y.strides[2],
        )
        ctx.convolve(plan, x, None, part)
    return y if fused == activation else ctx.activate(y, activation)


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


@op("Col2Im")
def col2im(
    ctx: Context,
    x: Value,
    image_shape: Value,
    block_shape: Value,
    *,
    dilations: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Value:
    """Sum of blocks laid out over an image; x holds (n, channels * elements of a block, blocks)."""
    size, block = ctx.ints("image_shape", image_shape), ctx.ints("block_shape", block_shape)
    spatial = len(size)
    if len(x.shape) != 3 or not size or min(size) < 1 or len(block) != spatial or min(block) < 1:
        raise ShapeError(
            "x, image_shape, block_shape: expected 3 dimensions and as many positive integers each,"
            f" got shape {x.shape}, {size} and {block}"
        )
    stride = spatial_ints("strides", strides, spatial, 1)
    dilation = spatial_ints("dilations", dilations, spatial, 1)
    padding = spatial_ints("pads", pads, 2 * spatial, 0)
    if min(*stride, *dilation) < 1 or min(padding) < 0:
        raise ShapeError(
            "strides, dilations, pads: expected positive integers, and 0 or more,"
            f" got {stride}, {dilation} and {padding}"
        )
    room = [
        n + lo + hi - (k - 1) * d - 1
        for n, lo, hi, k, d in zip(size, padding[:spatial], padding[spatial:], block, dilation, strict=True)
    ]
    out = tuple(r // s + 1 for r, s in zip(room, stride, strict=True))
    taps, blocks = math.prod(block), math.prod(out)
    if min(room) < 0 or x.shape[1] % taps or x.shape[2] != blocks:
        raise ShapeError(f"x: expected a multiple of {taps} rows and {blocks} blocks, got shape {x.shape}")
    windows = SlidingWindows(
        tuple(size), tuple(block), tuple(stride), tuple(dilation), tuple(padding[:spatial]), out
    )
    n, channels = x.shape[0], x.shape[1] // taps
    windows.checked(n * channels)

    def function(x: Array) -> Array:
        columns = x.reshape(n, channels, taps, *out)
        padded = np.zeros((n, channels, *windows.extent), x.dtype)
        for tap, view in enumerate(windows.taps(padded)):
            view += columns[:, :, tap]
        return windows.inner(padded)

    scratch = windows.padded_bytes(n * channels, x.dtype)
    return ctx.call(function, [x], (n, channels, *size), x.dtype, scratch=scratch)
