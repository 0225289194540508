"""Pooling.

The kernels pool images: a row is an image of height 1, and a volume is pooled by planes, then by depth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fastconv import _core
from fastconv.errors import ShapeError
from fastconv.graph.context import Context
from fastconv.graph.ops.conv import auto_padding, spatial_ints
from fastconv.graph.registry import op
from fastconv.graph.value import Ints, Tensor, Value


@dataclass(frozen=True)
class Windows:
    """The windows of a pooling: one integer a spatial dimension in each list."""

    kernel: list[int]
    stride: list[int]
    dilation: list[int]
    pad_lo: list[int]
    pad_hi: list[int]
    ceil_mode: bool
    auto_pad: str

    def of(self, *axes: int) -> Windows:
        """Return the windows along two of the axes; -1 stands for one that is not pooled."""

        def pick(values: list[int], default: int) -> list[int]:
            return [default if axis < 0 else values[axis] for axis in axes]

        return Windows(
            pick(self.kernel, 1),
            pick(self.stride, 1),
            pick(self.dilation, 1),
            pick(self.pad_lo, 0),
            pick(self.pad_hi, 0),
            self.ceil_mode,
            self.auto_pad,
        )


def _windows(
    x: Value,
    auto_pad: str,
    ceil_mode: int,
    dilations: Ints | None,
    kernel_shape: Ints,
    pads: Ints | None,
    strides: Ints | None,
) -> Windows:
    spatial = len(x.shape) - 2
    if not 1 <= spatial <= 3:
        raise ShapeError(f"x: expected 3 to 5 dimensions, got shape {x.shape}")
    padding = spatial_ints("pads", None if auto_pad != "NOTSET" else pads, 2 * spatial, 0)
    return Windows(
        spatial_ints("kernel_shape", kernel_shape, spatial, 1),
        spatial_ints("strides", strides, spatial, 1),
        spatial_ints("dilations", dilations, spatial, 1),
        padding[:spatial],
        padding[spatial:],
        bool(ceil_mode),
        auto_padding(auto_pad),
    )


def _pool2d(ctx: Context, kind: str, x: Value, w: Windows, flags: tuple[bool, ...]) -> Tensor:
    x = ctx.tensor(x)
    ih, iw = x.shape[2:]
    oh, ow, lo, hi = _core.pool_out_shape(
        ih, iw, w.kernel, w.stride, w.dilation, w.pad_lo, w.pad_hi, w.ceil_mode, w.auto_pad
    )
    y = ctx.image((*x.shape[:2], oh, ow))
    return ctx.emit(kind, (x,), y, w.kernel, w.stride, w.dilation, lo, hi, *flags)


def _pool(ctx: Context, kind: str, x: Value, w: Windows, *flags: bool) -> Value:
    n, c, *size = x.shape
    if len(size) == 1:
        y = _pool2d(ctx, kind, ctx.reshape(x, (n, c, 1, *size)), w.of(-1, 0), flags)
        return ctx.reshape(y, (n, c, y.shape[3]))
    if len(size) == 2:
        return _pool2d(ctx, kind, x, w, flags)
    # Maxima and averages of boxes separate; so does the number of elements that an average divides by.
    depth = size[0]
    planes = ctx.reshape(x.transpose((0, 2, 1, 3, 4)), (n * depth, c, *size[1:]))
    y = _pool2d(ctx, kind, planes, w.of(1, 2), flags)
    oh, ow = y.shape[2:]
    volume = ctx.reshape(y, (n, depth, c, oh, ow)).transpose((0, 2, 1, 3, 4))
    y = _pool2d(ctx, kind, ctx.reshape(volume, (n, c, depth, oh * ow)), w.of(0, -1), flags)
    return ctx.reshape(y, (n, c, y.shape[2], oh, ow))


@op("MaxPool", ignore=("storage_order",))
def max_pool(
    ctx: Context,
    x: Value,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Ints | None = None,
    kernel_shape: Ints,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Value:
    """Maximum of each window; the second output (the indices) is not computed."""
    return _pool(
        ctx, "max_pool2d", x, _windows(x, auto_pad, ceil_mode, dilations, kernel_shape, pads, strides)
    )


@op("AveragePool")
def average_pool(
    ctx: Context,
    x: Value,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Ints | None = None,
    kernel_shape: Ints,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Value:
    """Average of each window."""
    windows = _windows(x, auto_pad, ceil_mode, dilations, kernel_shape, pads, strides)
    return _pool(ctx, "avg_pool2d", x, windows, bool(count_include_pad))


@op("GlobalAveragePool")
def global_average_pool(ctx: Context, x: Value) -> Value:
    """Average over the spatial dimensions."""
    return _global(ctx, "mean", x)


@op("GlobalMaxPool")
def global_max_pool(ctx: Context, x: Value) -> Value:
    """Maximum over the spatial dimensions."""
    return _global(ctx, "max", x)


def _global(ctx: Context, kind: str, x: Value) -> Value:
    if len(x.shape) < 3 or math.prod(x.shape[2:]) == 0:
        raise ShapeError(f"x: expected at least 3 dimensions and 1 pixel, got shape {x.shape}")
    shape = (*x.shape[:2], *[1] * (len(x.shape) - 2))
    return ctx.emit("reduce", (ctx.tensor(x),), ctx.image(shape), kind)
