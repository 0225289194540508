"""Families of public functions: arguments that are right, drawn by ``hypothesis``, and what they make.

All data are small integers, so that an argument that was misread shows in whole units: how exact results are
is tested elsewhere.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from adversarial.drawing import Arguments, array, layouts, some, spatial_of, to_layout, to_logical
from adversarial.images import sampled, sampling, shuffled, shuffling
from fastconv.testing import reference


def convolution(draw: Any, name: str, transposed: bool = False) -> Arguments:
    """Draw the arguments of a convolution."""
    spatial = spatial_of(name)
    groups, ic, oc = draw(st.sampled_from((1, 1, 2, 3))), draw(st.integers(1, 5)), draw(st.integers(1, 5))
    kernel = [draw(st.integers(1, 3)) for _ in range(spatial)]
    size = [k + 2 + draw(st.integers(0, 4)) for k in kernel]
    layout = draw(st.sampled_from(layouts(spatial)))
    channels = (groups * ic, oc) if transposed else (groups * oc, ic)
    x = array(draw, (draw(st.integers(0, 2)), groups * ic, *size))
    arguments = {"x": to_layout(x, layout), "w": array(draw, (*channels, *kernel)), "layout": layout}
    if groups > 1:
        arguments["groups"] = groups
    some(
        draw,
        arguments,
        bias=st.just(array(draw, (groups * oc,))),
        stride=st.integers(1, 3),
        padding=st.sampled_from((0, 1, (1,) * spatial, (0, 1) * spatial)),
        activation=st.sampled_from((None, "relu", ("clamp", -2.0, 2.0))),
    )
    if not transposed and not name.lower().startswith("xnor"):
        some(draw, arguments, padding_mode=st.sampled_from(("zeros", "reflect", "replicate", "circular")))
    return arguments


def convolved(arguments: Arguments) -> Any:
    """Return the result of a convolution's arguments."""
    return _convolved(arguments, reference.conv, ("stride", "padding", "dilation", "groups"))


def spread(arguments: Arguments) -> Any:
    """Return the result of a transposed convolution's arguments."""
    names = ("stride", "padding", "output_padding", "dilation", "groups")
    return _convolved(arguments, reference.conv_transpose, names)


def _convolved(arguments: Arguments, convolve: Callable[..., Any], names: Sequence[str]) -> Any:
    layout = arguments.get("layout")
    x, residual = (
        None if arguments.get(n) is None else to_logical(arguments[n], layout) for n in ("x", "residual")
    )
    geometry = {n: arguments[n] for n in names if n in arguments}
    if convolve is reference.conv_transpose and geometry.get("padding") in ("valid", "same"):
        if geometry["padding"] == "same":
            return None  # the reference has no such thing
        geometry["padding"] = 0
    mode = arguments.get("padding_mode", "zeros")
    if mode != "zeros":
        x, geometry["padding"] = bordered(x, arguments["w"].shape[2:], geometry, mode), 0
    y = convolve(x, arguments["w"], arguments.get("bias"), **geometry)
    return to_layout(reference.epilogue(y, residual, arguments.get("activation")), layout)


def bordered(x: Any, kernel: Sequence[int], geometry: Arguments, mode: str) -> Any:
    """Return an image with its border, pixel by pixel."""
    steps = (reference.per_axis(geometry.get(n, 1), len(kernel)) for n in ("stride", "dilation"))
    edges = reference.pads(geometry.get("padding", 0), x.shape[2:], kernel, *steps)
    for axis, (low, high) in enumerate(edges, 2):
        n = x.shape[axis]
        places = []
        for i in range(-low, n + high):
            mirrored = -i if i < 0 else 2 * (n - 1) - i if i >= n else i
            places.append({"reflect": mirrored, "replicate": min(max(i, 0), n - 1), "circular": i % n}[mode])
        x = np.take(x, places, axis)
    return x


def pooling(draw: Any, name: str) -> Arguments:
    """Draw the arguments of a pool."""
    spatial = spatial_of(name)
    layout = draw(st.sampled_from(layouts(spatial)))
    size = [draw(st.integers(3, 7)) for _ in range(spatial)]
    x = array(draw, (draw(st.integers(0, 2)), draw(st.integers(0, 9)), *size))
    arguments = {"x": to_layout(x, layout), "layout": layout}
    if not name.startswith("global"):
        arguments["kernel_size"] = draw(st.integers(2, 3))
        some(
            draw,
            arguments,
            stride=st.integers(1, 3),
            padding=st.integers(0, 1),
            ceil_mode=st.booleans(),
        )
        if name.startswith("avg"):
            some(draw, arguments, count_include_pad=st.booleans())
    return arguments


def pooled(pool: Callable[..., Any]) -> Callable[[Arguments], Any]:
    """Return the function from arguments to a pool's result."""

    def result(arguments: Arguments) -> Any:
        rest = {n: v for n, v in arguments.items() if n not in ("x", "layout", "kernel_size")}
        window = [arguments["kernel_size"]] if "kernel_size" in arguments else []
        layout = arguments.get("layout")
        return to_layout(pool(to_logical(arguments["x"], layout), *window, **rest), layout)

    return result


def adaptive(draw: Any, name: str) -> Arguments:
    """Draw the arguments of a pool to a given size."""
    arguments = pooling(draw, f"global{name}")
    sizes = st.sampled_from((1, 2, 3, 5))
    several = st.tuples(*[st.sampled_from((None, 1, 4))] * spatial_of(name))
    return arguments | {"output_size": draw(sizes if draw(st.booleans()) else several)}


def adapted(reduce: Callable[..., Any]) -> Callable[[Arguments], Any]:
    """Return the function from arguments to the result of such a pool."""

    def result(arguments: Arguments) -> Any:
        layout, sizes = arguments["layout"], arguments["output_size"]
        y = to_logical(arguments["x"], layout).astype(np.float64)
        sizes = sizes if isinstance(sizes, tuple) else (sizes,)
        sizes = sizes * (y.ndim - 2) if len(sizes) == 1 else sizes  # one counts for all
        for axis, m in enumerate(sizes, 2):
            n = y.shape[axis]
            ends = (
                [(i * n // m, -(-(i + 1) * n // m)) for i in range(m)]
                if m
                else [(i, i + 1) for i in range(n)]
            )
            y = np.stack([reduce(np.take(y, range(*end), axis), axis) for end in ends], axis)
        return to_layout(y, layout)

    return result


def normalisation(draw: Any, _: str) -> Arguments:
    """Draw the arguments of batch_norm."""
    c, rank = draw(st.integers(0, 9)), draw(st.integers(2, 5))
    layout = draw(st.sampled_from(layouts(2)))
    x = array(draw, [draw(st.integers(0, 3)) if i != 1 else c for i in range(rank)])
    vectors = {n: array(draw, (c,)) for n in ("running_mean", "weight", "bias")}
    variance = np.abs(array(draw, (c,))) + 1
    return {"x": to_layout(x, layout), "running_var": variance, "layout": layout, **vectors}


def normalised(arguments: Arguments) -> Any:
    """Return the result of batch_norm's arguments."""
    named = {"running_mean": "mean", "running_var": "var"}
    layout = arguments["layout"]
    rest = {named.get(n, n): v for n, v in arguments.items() if n not in ("x", "layout")}
    return to_layout(reference.batch_norm(to_logical(arguments["x"], layout), **rest), layout)


def standardisation(draw: Any, name: str) -> Arguments:
    """Draw the arguments of a normalisation that computes its statistics."""
    groups, c = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    leading = [draw(st.integers(1, 3)) for _ in range(draw(st.integers(0, 3)))]
    channels = groups * c
    shape = (
        (*leading, channels) if name == "layer_norm" else (2, channels, *[3, 2, 4][: draw(st.integers(1, 3))])
    )
    arguments = {"x": array(draw, shape)}
    if name == "group_norm":
        arguments["num_groups"] = groups
    some(draw, arguments, **{n: st.just(array(draw, (channels,))) for n in ("weight", "bias")})
    some(draw, arguments, eps=st.sampled_from((1.0, 0.5)))
    return arguments


def standardised(name: str) -> Callable[[Arguments], Any]:
    """Return the function from arguments to the result of such a normalisation."""

    def result(arguments: Arguments) -> Any:
        x = arguments["x"].astype(np.float64)
        if x.size == 0:
            return x
        runs = x if name == "layer_norm" else x.reshape(len(x), _groups(name, arguments), -1)
        centred = runs - runs.mean(axis=-1, keepdims=True)
        variance = np.square(centred).mean(axis=-1, keepdims=True)
        with np.errstate(all="ignore"):  # of a variance of 0, without eps
            y = (centred / np.sqrt(variance + arguments.get("eps", 1e-5))).reshape(x.shape)
        weight, bias = (arguments.get(n) for n in ("weight", "bias"))
        per = (-1,) if name == "layer_norm" else (-1, *[1] * (x.ndim - 2))
        y = y if weight is None else y * weight.reshape(per)
        return y if bias is None else y + bias.reshape(per)

    return result


def _groups(name: str, arguments: Arguments) -> int:
    return int(arguments["num_groups"]) if name == "group_norm" else arguments["x"].shape[1]


def affine(draw: Any, _: str) -> Arguments:
    """Draw the arguments of linear."""
    n, k = (draw(st.integers(0, 9)) for _ in range(2))
    leading = [draw(st.integers(0, 3)) for _ in range(draw(st.integers(0, 3)))]
    arguments = {"x": array(draw, (*leading, k)), "w": array(draw, (n, k))}
    some(draw, arguments, bias=st.just(array(draw, (n,))), activation=st.sampled_from((None, "relu")))
    return arguments


def transformed(arguments: Arguments) -> Any:
    """Return the result of linear's arguments."""
    y = arguments["x"].astype(np.float64) @ arguments["w"].astype(np.float64).T
    y = y if arguments.get("bias") is None else y + arguments["bias"]
    return reference.activate(y, arguments.get("activation"))


def product(draw: Any, name: str) -> Arguments:
    """Draw the arguments of gemm or matmul."""
    m, n, k = (draw(st.integers(0, 9)) for _ in range(3))
    if name == "matmul":
        stack = [draw(st.integers(0, 3)) for _ in range(draw(st.integers(0, 2)))]
        return {"a": array(draw, (*stack, m, k)), "b": array(draw, (*stack, k, n))}
    arguments = {"a": array(draw, (m, k)), "b": array(draw, (k, n))}
    if draw(st.booleans()):
        arguments |= {"c": array(draw, (m, n)), "beta": 1.0}
    some(draw, arguments, alpha=st.sampled_from((1.0, -2.0, 0.5)), bias=st.just(array(draw, (n,))))
    return arguments


def multiplied(arguments: Arguments) -> Any:
    """Return the result of gemm's arguments."""
    rest = dict(arguments)
    if rest.get("beta", 0.0) == 0:
        rest.pop("c", None)  # not read
    return reference.gemm(**rest)


def integer_product(draw: Any, _: str) -> Arguments:
    """Draw the arguments of qgemm."""
    m, n, k = (draw(st.integers(0, 9)) for _ in range(3))
    types = st.sampled_from((np.uint8, np.int8))
    a, b = (array(draw, shape).astype(draw(types)) for shape in ((m, k), (k, n)))
    arguments: Arguments = {"a": a, "b": b}
    some(
        draw,
        arguments,
        a_zero_point=st.integers(0, 3),
        b_zero_point=st.integers(0, 3),
        bias=st.just(array(draw, (n,)).astype(np.int32)),
    )
    if draw(st.booleans()):
        arguments |= {"a_scale": 0.5, "b_scale": draw(st.sampled_from((1.0, 0.25)))}
        if draw(st.booleans()):
            arguments |= {"out_scale": 0.125, "out_dtype": draw(types)}
            some(draw, arguments, out_zero_point=st.integers(0, 3))
    return arguments


def given(arguments: Arguments, name: str, other: Any, dtype: Any) -> Any:
    """Return an argument as an array of a type, another where it is None or left out."""
    value = arguments.get(name)
    return np.asarray(other if value is None else value, dtype)


def multiplied_integers(arguments: Arguments) -> Any:
    """Return the result of qgemm's arguments, in the type that it has."""
    a, b = (arguments[name].astype(np.int64) for name in "ab")
    a_zero, b_zero = (given(arguments, f"{name}_zero_point", 0, np.int64) for name in "ab")
    return quantised(arguments, (a - a_zero.reshape(-1, 1)) @ (b - b_zero), "ab")


def quantised(arguments: Arguments, sums: Any, operands: str) -> Any:
    """Return what becomes of sums whose last axis is that of the output's columns."""
    bias, shift = arguments.get("bias"), np.float32(0)
    if bias is not None and bias.dtype.kind == "f":
        shift = bias.astype(np.float32)
    elif bias is not None:
        sums = sums + bias
    sums = sums.astype(np.int32)
    left, right = (f"{name}_scale" for name in operands)
    if arguments.get(left) is None:
        return sums
    factor = given(arguments, left, 1, np.float32) * given(arguments, right, 1, np.float32)
    activation, out_scale = arguments.get("activation"), arguments.get("out_scale")
    if out_scale is None:
        return reference.activate(sums.astype(np.float32) * factor + shift, activation).astype(np.float32)
    factor = factor / np.float32(out_scale)
    dtype = np.dtype(arguments.get("out_dtype") or np.uint8)
    low, high = reference.activate(np.array([-np.inf, np.inf]), activation) / out_scale
    y = np.rint(np.clip(sums.astype(np.float32) * factor, low, high))
    y += given(arguments, "out_zero_point", 0, np.float32)
    return np.clip(y, np.iinfo(dtype).min, np.iinfo(dtype).max).astype(dtype)


def integer_convolution(draw: Any, name: str) -> Arguments:
    """Draw the arguments of a convolution of integers."""
    types = st.sampled_from((np.uint8, np.int8))
    floating = convolution(draw, name)
    bias, activation = (floating.pop(n, None) for n in ("bias", "activation"))
    arguments = floating | {n: floating[n].astype(draw(types)) for n in "xw"}
    if name == "QConv2d":
        arguments["x_dtype"] = arguments["x"].dtype.name
    if bias is not None:
        arguments["bias"] = bias.astype(np.int32)
    some(draw, arguments, x_zero_point=st.integers(0, 3), w_zero_point=st.integers(0, 3))
    if draw(st.booleans()):
        arguments |= {"x_scale": 0.5, "w_scale": draw(st.sampled_from((1.0, 0.25))), "activation": activation}
        if draw(st.booleans()):
            arguments |= {"out_scale": 0.125, "out_dtype": draw(types)}
            some(draw, arguments, out_zero_point=st.integers(0, 3))
    return arguments


def convolved_integers(arguments: Arguments) -> Any:
    """Return the result of such arguments, in the type that it has."""
    layout = arguments.get("layout")
    x_zero, w_zero = (given(arguments, f"{n}_zero_point", 0, np.int64) for n in "xw")
    x = to_logical(arguments["x"], layout).astype(np.float64) - x_zero
    w = arguments["w"].astype(np.float64)
    w = w - (w_zero.reshape(-1, *[1] * (w.ndim - 1)) if w_zero.size > 1 else w_zero)
    geometry: Arguments = {
        n: arguments[n] for n in ("stride", "padding", "dilation", "groups") if n in arguments
    }
    mode = arguments.get("padding_mode", "zeros")
    if mode != "zeros":
        x, geometry["padding"] = bordered(x, w.shape[2:], geometry, mode), 0
    y = quantised(arguments, np.moveaxis(reference.conv(x, w, **geometry), 1, -1), "xw")
    return to_layout(np.moveaxis(y, -1, 1), layout)


def sign_convolution(draw: Any, name: str) -> Arguments:
    """Draw the arguments of a convolution of signs."""
    arguments = convolution(draw, name)
    some(draw, arguments, scale=st.just(np.abs(array(draw, (len(arguments["w"]),)))))
    return arguments


def convolved_signs(arguments: Arguments) -> Any:
    """Return the result of such arguments."""
    x, w = arguments["x"], arguments["w"].astype(np.float64)
    scale = given(arguments, "scale", np.abs(w).mean(axis=(1, 2, 3)), np.float64)
    signs = np.where(np.isnan(x), np.nan, np.where(x < 0, -1, 1))
    filters = np.where(w < 0, -1, 1) * scale.reshape(-1, 1, 1, 1)
    return convolved(arguments | {"x": signs, "w": filters})


def stacked(arguments: Arguments) -> Any:
    """Return the result of matmul's arguments."""
    return np.matmul(arguments["a"].astype(np.float64), arguments["b"].astype(np.float64))


def resizing(draw: Any, _: str) -> Arguments:
    """Draw the arguments of interpolate."""
    layout = draw(st.sampled_from(layouts(2)))
    x = array(draw, [draw(st.integers(1, 6)) for _ in range(4)])
    arguments = {"x": to_layout(x, layout), "layout": layout}
    if draw(st.booleans()):
        arguments["size"] = draw(st.integers(1, 9))
    else:
        arguments["scale_factor"] = draw(st.sampled_from((1.0, 2.0, 3)))
    some(draw, arguments, mode=st.sampled_from(("nearest", "bilinear")))
    return arguments


def resized(arguments: Arguments) -> Any:
    """Return the result of interpolate's arguments."""
    layout, mode = arguments["layout"], arguments.get("mode", "nearest")
    x = to_logical(arguments["x"], layout)
    size, scale = arguments.get("size"), arguments.get("scale_factor")
    if size is None:
        scale = scale if isinstance(scale, tuple) else (scale, scale)
        size = [math.floor(n * s) for n, s in zip(x.shape[2:], scale, strict=True)]
    coordinates = "align_corners" if arguments.get("align_corners") else "half_pixel"
    rest = (
        {"coordinates": "asymmetric"} if mode == "nearest" else {"mode": "linear", "coordinates": coordinates}
    )
    return to_layout(reference.interpolate(x, reference.per_axis(size, 2), scale=scale, **rest), layout)


def elementwise(draw: Any, name: str) -> Arguments:
    """Draw the arguments of a function of one value, or of softmax."""
    least = 1 if name == "softmax" else 0
    x = array(draw, [draw(st.integers(0, 5)) for _ in range(draw(st.integers(least, 5)))])
    return {"x": np.asarray(x)}


def activated(name: str) -> Callable[[Arguments], Any]:
    """Return the function from arguments to the result of a function of one value."""

    def result(arguments: Arguments) -> Any:
        slope = arguments.get("negative_slope")
        return reference.activate(arguments["x"], name if slope is None else (name, slope))

    return result


def softened(arguments: Arguments) -> Any:
    """Return the result of softmax's arguments."""
    x = arguments["x"]
    return x if x.size == 0 else reference.softmax(x, arguments.get("axis", -1))


Family = tuple[Callable[[Any, str], Arguments], Callable[[Arguments], Any]]


def family(name: str) -> Family:
    """Return how arguments of a public function are drawn, and what they make; LookupError where unknown."""
    if name in reference.ACTIVATIONS:
        return elementwise, activated(name)
    families: Mapping[str, Family] = {
        r"conv[123]d|Conv[123]d": (convolution, convolved),
        r"qconv[123]d|QConv2d": (integer_convolution, convolved_integers),
        r"xnor_conv2d|XnorConv2d": (sign_convolution, convolved_signs),
        r"conv_transpose[123]d|ConvTranspose[123]d": (
            lambda draw, name: convolution(draw, name, transposed=True),
            spread,
        ),
        r"max_pool[123]d": (pooling, pooled(reference.max_pool)),
        r"avg_pool[123]d": (pooling, pooled(reference.avg_pool)),
        r"adaptive_avg_pool[123]d": (adaptive, adapted(np.mean)),
        r"adaptive_max_pool[123]d": (adaptive, adapted(np.max)),
        r"pixel_shuffle|pixel_unshuffle": (shuffling, shuffled),
        r"grid_sample": (sampling, sampled),
        r"global_avg_pool[123]d": (pooling, pooled(reference.global_avg_pool)),
        r"batch_norm": (normalisation, normalised),
        r"layer_norm|group_norm|instance_norm": (standardisation, standardised(name)),
        r"linear": (affine, transformed),
        r"gemm": (product, multiplied),
        r"matmul": (product, stacked),
        r"qgemm": (integer_product, multiplied_integers),
        r"interpolate": (resizing, resized),
        r"softmax": (elementwise, softened),
    }
    for pattern, found in families.items():
        if re.fullmatch(pattern, name):
            return found
    raise LookupError(f"{name}: no strategy draws its arguments; see adversarial.families")
