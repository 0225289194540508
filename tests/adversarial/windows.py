"""Malformed models: operators with windows (convolutions, pools), blocks of pixels, resizing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from adversarial.case import BIG, HUGE, Case, X, floats, net, node, suspect
from fastconv.errors import FastconvError

Cases = Mapping[str, tuple[Mapping[str, Any], str]]

INTEGERS = {"0": 0, "negative": -1, "2^31": BIG, "2^62": HUGE}


#: What messages call an attribute: the kernels' word for it, or its beginning.
WORDS = {"strides": "stride", "dilations": "dilation", "kernel_shape": "kernel_s", "output_shape": "padding"}


def each(attribute: str, values: Mapping[str, int]) -> dict[str, Any]:
    """Return a case for each value of an attribute that has one integer a spatial dimension."""
    word = WORDS.get(attribute, attribute)
    return {f"{attribute} {name}": ({attribute: [value, value]}, word) for name, value in values.items()}


def wrong_length(attribute: str, *lengths: int) -> dict[str, Any]:
    """Return a case for each wrong number of integers in an attribute."""
    return {f"{attribute} of {n} integers": ({attribute: [1] * n}, f"{attribute}.*integers") for n in lengths}


def conv(
    op: str = "Conv", w: tuple[int, ...] = (4, 3, 3, 3), bias: tuple[int, ...] = (), **attributes: Any
) -> Any:
    """Return a model of one convolution of an 8 x 8 image."""
    constants = {"w": floats(*w), **({"b": floats(*bias)} if bias else {})}
    shape = attributes.pop("x", X)
    return net(node(op, "x w b" if bias else "x w", **attributes), inputs={"x": shape}, **constants)


CONV: Cases = {
    **each("strides", INTEGERS),
    **wrong_length("strides", 1, 3),
    **each("dilations", INTEGERS),
    **wrong_length("dilations", 1, 3),
    "pads negative": ({"pads": [-9, 0, 0, 0]}, "pad"),
    "pads 2^31": ({"pads": [BIG] * 4}, "pad"),
    "pads 2^62": ({"pads": [HUGE] * 4}, "pad"),
    **wrong_length("pads", 2, 3),
    **{f"group {name}": ({"group": value}, "group") for name, value in INTEGERS.items()},
    "group that does not divide the channels": ({"group": 2}, "group"),
    "kernel_shape of other weights": ({"kernel_shape": [5, 5]}, "kernel_shape"),
    **each("kernel_shape", INTEGERS),
    "kernel_shape of one integer": ({"kernel_shape": [3]}, "kernel_shape"),
    "weights of rank 1": ({"w": (4,)}, "w: expected"),
    "weights of rank 2": ({"w": (4, 3)}, "w: expected"),
    "weights of rank 3": ({"w": (4, 3, 3)}, "x: expected"),
    "weights of rank 5": ({"w": (4, 3, 3, 3, 3)}, "x: expected"),
    "weights of rank 6": ({"w": (4, 3, 1, 1, 1, 1)}, "w: expected"),
    "weights of other channels": ({"w": (4, 2, 3, 3)}, "channels"),
    "weights without channels": ({"w": (4, 0, 3, 3)}, "w: expected"),
    "weights without pixels": ({"w": (4, 3, 0, 3)}, "w: expected"),
    "bias of another size": ({"bias": (5,)}, "bias: expected"),
    "bias of rank 2": ({"bias": (4, 1)}, "bias: expected"),
    "a kernel larger than the image": ({"w": (4, 3, 9, 9)}, "kernel"),
    "an image of rank 2": ({"x": (3, 8)}, "x: expected"),
    "an unknown auto_pad": ({"auto_pad": "SAME"}, "auto_pad"),
    "strides that are not integers": ({"strides": [1.5, 1.5]}, "strides: expected Ints"),
    "an unknown attribute": ({"sparsity": 1}, "sparsity"),
}

CONV_TRANSPOSE: Cases = {
    **each("strides", INTEGERS),
    **each("dilations", INTEGERS),
    **each("output_padding", {"negative": -1, "of the stride": 1, "2^62": HUGE}),
    **each("output_shape", {**INTEGERS, "2^16": 1 << 16}),
    "pads negative": ({"pads": [-9] * 4}, "pad"),
    "pads that leave nothing": ({"pads": [6] * 4}, "padding"),
    "group 0": ({"group": 0}, "group"),
    "group that does not divide the channels": ({"group": 2}, "group"),
    "weights of other channels": ({"w": (4, 3, 3, 3)}, "channels"),
}


def conv_transpose(**arguments: Any) -> Any:
    """Return a model of one transposed convolution."""
    return conv(**{"op": "ConvTranspose", "w": (3, 4, 3, 3), **arguments})


def pool(op: str = "MaxPool", x: tuple[int, ...] = X, **attributes: Any) -> Any:
    """Return a model of one pooling."""
    if op.startswith("Global"):
        return net(node(op), inputs={"x": x})
    attributes = {"kernel_shape": [2, 2], **attributes}
    if not attributes["kernel_shape"]:
        del attributes["kernel_shape"]
    return net(node(op, **attributes), inputs={"x": x})


POOL: Cases = {
    **each("kernel_shape", INTEGERS),
    **wrong_length("kernel_shape", 1, 3),
    "no kernel_shape": ({"kernel_shape": []}, "kernel_shape"),
    **each("strides", INTEGERS),
    **wrong_length("strides", 1),
    "pads negative": ({"pads": [-1] * 4}, "pad"),
    "pads of the kernel": ({"pads": [2] * 4}, "pad"),
    "pads 2^62": ({"pads": [HUGE] * 4}, "pad"),
    **wrong_length("pads", 2),
    "a window larger than the image": ({"kernel_shape": [9, 9]}, "kernel"),
    "an image of rank 2": ({"x": (3, 8)}, "x: expected"),
    "an unknown auto_pad": ({"auto_pad": "SAME"}, "auto_pad"),
}


def blocks(op: str, size: int | None, x: tuple[int, ...] = (1, 4, 6, 6), **attributes: Any) -> Any:
    """Return a model of DepthToSpace or SpaceToDepth."""
    if size is not None:
        attributes["blocksize"] = size
    return net(node(op, **attributes), inputs={"x": x}, opset=13)


def block_cases(op: str) -> Iterator[Case]:
    """Yield the cases of DepthToSpace and SpaceToDepth."""
    sizes = {**INTEGERS, "that does not divide": 5, "missing": None}
    cases: dict[str, Any] = {
        f"blocksize {name}": ({"op": op, "size": n}, "blocksize") for name, n in sizes.items()
    }
    cases["an image of rank 3"] = ({"op": op, "size": 2, "x": (4, 6, 6)}, "x: expected")
    if op == "DepthToSpace":
        cases["an unknown mode"] = ({"op": op, "size": 2, "mode": "XYZ"}, "mode")
    return suspect(op, FastconvError, blocks, cases)


def resize(
    scales: Any = None, sizes: Any = None, x: tuple[int, ...] = X, opset: int = 13, **attributes: Any
) -> Any:
    """Return a model of one Resize."""
    constants: dict[str, Any] = {
        **({} if scales is None else {"scales": np.array(scales, np.float32)}),
        **({} if sizes is None else {"sizes": np.array(sizes, np.int64)}),
    }
    names = f"x _ {'_' if scales is None else 'scales'}{'' if sizes is None else ' sizes'}"
    return net(node("Resize", names, **attributes), inputs={"x": x}, opset=opset, **constants)


RESIZE: Cases = {
    **{
        f"scales {name}": ({"scales": [1, 1, value, value]}, "scales: expected")
        for name, value in {
            "0": 0.0,
            "negative": -2.0,
            "NaN": float("nan"),
            "infinite": float("inf"),
            "10^30": 1e30,
        }.items()
    },
    "scales of another length": ({"scales": [2, 2]}, "scales: expected"),
    "sizes negative": ({"sizes": [1, 3, -8, -8]}, "expected"),
    "sizes 2^62": ({"sizes": [1, 3, HUGE, HUGE]}, "."),
    "sizes of another length": ({"sizes": [16, 16]}, "sizes: expected"),
    "neither scales nor sizes": ({}, "scales"),
    "an unknown mode": ({"scales": [1, 1, 2, 2], "mode": "best"}, "mode"),
    "an unknown nearest_mode": ({"scales": [1, 1, 2, 2], "nearest_mode": "best"}, "best"),
    "an unknown mapping": (
        {"scales": [1, 1, 2, 2], "coordinate_transformation_mode": "best"},
        "coordinate_transformation_mode",
    ),
    "axes out of range": ({"scales": [2, 2], "axes": [2, 7], "opset": 18}, "axes"),
    "axes twice": ({"scales": [2, 2], "axes": [2, 2], "opset": 18}, "axes"),
}


LARGE = "(elements|max_bytes)"

#: Results that are larger than any memory.
BOMBS: Mapping[str, tuple[Callable[..., Any], Cases]] = {
    "Conv": (
        conv,
        {f"a border of 2^{n} pixels": ({"pads": [1 << n] * 4}, LARGE) for n in (13, 14, 20, 30)},
    ),
    "ConvTranspose": (
        conv_transpose,
        {
            "a stride of 2^20": ({"strides": [1 << 20] * 2}, LARGE),
            "a stride of 2^12": ({"strides": [1 << 12] * 2}, LARGE),
            "an output_shape of 2^16": ({"strides": [1 << 14] * 2, "output_shape": [1 << 16] * 2}, LARGE),
        },
    ),
    "Resize": (
        resize,
        {
            "scales of 2^12": ({"scales": [1, 1, 4096, 4096]}, LARGE),
            "sizes of 2^13": ({"sizes": [1, 3, 1 << 13, 1 << 13]}, LARGE),
            "sizes of 2^15": ({"sizes": [1, 3, 1 << 15, 1 << 15]}, LARGE),
            "sizes of 2^20": ({"sizes": [1, 3, 1 << 20, 1 << 20]}, LARGE),
            "one size of 2^30": ({"sizes": [1, 3, 8, 1 << 30]}, LARGE),
            "one size of 2^30, cubic": ({"sizes": [1, 3, 8, 1 << 30], "mode": "cubic"}, "."),
        },
    ),
}


def window_cases() -> Iterator[Case]:
    """Yield every case of this file."""
    yield from suspect("Conv", FastconvError, conv, CONV)
    yield from suspect("ConvTranspose", FastconvError, conv_transpose, CONV_TRANSPOSE)
    pooling = {**POOL, **each("dilations", INTEGERS)}
    for op in ("MaxPool", "AveragePool"):
        of_op = {name: ({"op": op, **arguments}, text) for name, (arguments, text) in pooling.items()}
        yield from suspect(op, FastconvError, pool, of_op)
    for op in ("GlobalAveragePool", "GlobalMaxPool"):
        yield from suspect(
            op, FastconvError, pool, {"an image of rank 2": ({"op": op, "x": (3, 8)}, "x: expected")}
        )
    yield from block_cases("DepthToSpace")
    yield from block_cases("SpaceToDepth")
    yield from suspect("Resize", FastconvError, resize, RESIZE)
    for op, (build, cases) in BOMBS.items():
        yield from suspect(op, FastconvError, build, cases)
