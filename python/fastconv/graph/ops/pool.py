"""Pooling.

The kernels pool images of f32 and of 8-bit integers: a row is an image of height 1, and a volume is pooled
by planes, then by depth. Other element types, and the places of maxima, are numpy's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastconv import _core
from fastconv.errors import DTypeError, ShapeError
from fastconv.graph.context import Context
from fastconv.graph.ir import Activation
from fastconv.graph.ops.conv import auto_padding, pads_of, spatial_ints
from fastconv.graph.ops.quantize import Quantization
from fastconv.graph.ops.windows import SlidingWindows, pool_windows
from fastconv.graph.registry import op
from fastconv.graph.value import (
    BYTES,
    F32,
    Array,
    Constant,
    Ints,
    Tensor,
    Value,
    channels_last_order,
    size_of,
)


class Windows(NamedTuple):
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

    def over(self, x: Value) -> SlidingWindows:
        """Return the windows over a value."""
        return pool_windows(
            x.shape[2:],
            self.kernel,
            self.stride,
            self.dilation,
            self.pad_lo,
            self.pad_hi,
            self.ceil_mode,
            self.auto_pad,
        ).checked(math.prod(x.shape[:2]))


def pool_attributes(
    x: Value,
    auto_pad: str,
    ceil_mode: int,
    dilations: Ints | None,
    kernel_shape: Ints,
    pads: Ints | None,
    strides: Ints | None,
) -> Windows:
    """Return the windows that a node's attributes describe."""
    spatial = len(x.shape) - 2
    if not 1 <= spatial <= 3:
        raise ShapeError(f"x: expected 3 to 5 dimensions, got shape {x.shape}")
    padding = pads_of(auto_pad, pads, spatial)
    return Windows(
        spatial_ints("kernel_shape", kernel_shape, spatial, 1),
        spatial_ints("strides", strides, spatial, 1),
        spatial_ints("dilations", dilations, spatial, 1),
        padding[:spatial],
        padding[spatial:],
        bool(ceil_mode),
        auto_padding(auto_pad),
    )


def _pool2d(ctx: Context, kind: str, x: Value, w: Windows, flags: tuple[Any, ...]) -> Tensor:
    x = ctx.typed(x)
    ih, iw = x.shape[2:]
    oh, ow, lo, hi = _core.pool_out_shape(
        ih, iw, w.kernel, w.stride, w.dilation, w.pad_lo, w.pad_hi, w.ceil_mode, w.auto_pad
    )
    y = ctx.image((*x.shape[:2], oh, ow), x.dtype)
    if x.shape[1] > 1 and x.strides[1] != 1 and y.strides[1] == 1:
        # A 3x3 average of 64 channels, 56 x 56, took 2.03 ms between two layouts, and 0.13 with the copy.
        x = ctx.copy(x, ctx.empty(x.shape, channels_last_order(4), x.dtype))
    integers = x.dtype in BYTES
    return ctx.emit(kind, (x,), y, w.kernel, w.stride, w.dilation, lo, hi, *flags, integers=integers)


def _pool(ctx: Context, kind: str, x: Value, w: Windows, *flags: Any) -> Value:
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


@op("MaxPool")
def max_pool(
    ctx: Context,
    x: Value,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Ints | None = None,
    kernel_shape: Ints,
    pads: Ints | None = None,
    storage_order: int = 0,
    strides: Ints | None = None,
) -> Value | tuple[Value, ...]:
    """Maximum of each window, and its place in x as if that were one vector."""
    windows = pool_attributes(x, auto_pad, ceil_mode, dilations, kernel_shape, pads, strides)
    kernel = x.dtype == F32 or (x.dtype in BYTES and isinstance(x, Tensor))
    y = _pool(ctx, "max_pool2d", x, windows) if kernel else _max_pool_any(ctx, x, windows)
    if len(ctx.node.outputs) < 2 or not ctx.node.outputs[1]:
        return y
    return y, _max_places(ctx, x, windows.over(x), storage_order)


def _lowest(dtype: np.dtype[Any]) -> float:
    """Return what every number of a dtype is at least."""
    if dtype.kind not in "iuf":
        raise DTypeError(f"x: expected numbers, got {dtype}")
    return -math.inf if dtype.kind == "f" else np.iinfo(dtype).min


def _max_pool_any(ctx: Context, x: Value, w: Windows) -> Value:
    windows, lowest = w.over(x), _lowest(x.dtype)

    def function(x: Array) -> Array:
        views = windows.taps(windows.pad(x, lowest))
        y = next(views).copy()
        for view in views:
            np.maximum(y, view, out=y)
        return y

    scratch = windows.padded_bytes(math.prod(x.shape[:2]), x.dtype)
    return ctx.call(function, [x], (*x.shape[:2], *windows.out), x.dtype, scratch=scratch)


def _max_places(ctx: Context, x: Value, windows: SlidingWindows, storage_order: int) -> Value:
    """Index of the first maximum of each window; in ``storage_order`` 1 rows count first."""
    lowest, size = _lowest(x.dtype), windows.size
    arrays, positions = math.prod(x.shape[:2]), windows.padded_bytes(1, np.dtype(np.int64))
    shape = (*x.shape[:2], *windows.out)
    if not size_of(shape):
        return Constant(np.zeros(shape, np.int64))
    ctx.budget.spend(8 * (math.prod(size) + arrays))
    places = np.arange(math.prod(size)).reshape(size, order="F" if storage_order else "C")
    planes = (np.arange(math.prod(x.shape[:2])) * places.size).reshape(*x.shape[:2], *[1] * len(size))

    def function(x: Array) -> Array:
        best = np.full((*x.shape[:2], *windows.out), lowest, x.dtype)
        found = np.full(best.shape, -1)
        padded = windows.pad(x, lowest), windows.pad(places, -1)
        for view, place in zip(windows.taps(padded[0]), windows.taps(padded[1]), strict=True):
            better = ((view > best) | (found < 0)) & (place >= 0)
            np.copyto(best, view, where=better)
            np.copyto(found, place, where=better)
        return found + planes

    scratch = windows.padded_bytes(arrays, x.dtype) + positions + size_of(shape) * (8 + x.dtype.itemsize + 2)
    return ctx.call(function, [x], shape, np.dtype(np.int64), "indices", scratch=scratch)


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
    windows = pool_attributes(x, auto_pad, ceil_mode, dilations, kernel_shape, pads, strides)
    if x.dtype == F32:
        return _pool(ctx, "avg_pool2d", x, windows, bool(count_include_pad))
    sliding = windows.over(x)
    # What the divisor counts: taps in x, or in x and its padding (a last window may reach beyond that).
    counted = sliding
    if count_include_pad:
        hi = windows.pad_hi if windows.auto_pad == "explicit" else [1 << 24] * len(sliding.size)
        padded = (n + a + b for n, a, b in zip(sliding.size, sliding.pad_lo, hi, strict=True))
        ends = zip(padded, sliding.extent, strict=True)
        counted = sliding._replace(size=tuple(min(p) for p in ends), pad_lo=(0,) * len(sliding.size))
    counts = np.maximum(counted.counts(), 1)
    return _sum_of_taps(ctx, x, sliding, lambda a: a, lambda total: total / counts)


# The kernel sums in 32 bits (csrc/kernels/kernel_table.h).
_MAX_SUMMED_BYTES = 1 << 23


def quantized_average(
    ctx: Context, x: Value, w: Windows, count_include_pad: bool, source: Quantization, target: Quantization
) -> Value | None:
    """Return the averages of windows of 8-bit numbers as such, or None where there is no kernel for it."""
    flat = len(x.shape) in (3, 4) and math.prod(w.kernel) <= _MAX_SUMMED_BYTES
    if not flat or not isinstance(x, Tensor):
        return None
    return _pool(ctx, "quantized_avg_pool2d", x, w, count_include_pad, source, target)


def quantized_global_average(
    ctx: Context, x: Value, source: Quantization, target: Quantization
) -> Value | None:
    """Return the averages of images of 8-bit numbers as such, or None where there is no kernel for it."""
    rank = len(x.shape)
    if rank < 3 or not isinstance(x, Tensor) or not 0 < math.prod(x.shape[2:]) <= _MAX_SUMMED_BYTES:
        return None
    size = [math.prod(x.shape[2:-1]), x.shape[-1]]
    image = ctx.reshape(x, (*x.shape[:2], *size))
    whole = Windows(size, [1, 1], [1, 1], [0, 0], [0, 0], False, "explicit")
    y = _pool(ctx, "quantized_avg_pool2d", image, whole, False, source, target)
    return ctx.reshape(y, (*x.shape[:2], *[1] * (rank - 2)))


def _sum_of_taps(
    ctx: Context,
    x: Value,
    windows: SlidingWindows,
    before: Callable[[Array], Array],
    after: Callable[[Array], Array],
) -> Value:
    if x.dtype.kind != "f":
        raise DTypeError(f"x: expected floating-point values, got {x.dtype}")

    def function(x: Array) -> Array:
        total = np.zeros((*x.shape[:2], *windows.out), x.dtype)
        for view in windows.taps(windows.pad(before(x), 0)):
            total += view
        return np.asarray(after(total))

    shape = (*x.shape[:2], *windows.out)
    scratch = windows.padded_bytes(math.prod(x.shape[:2]), x.dtype) + x.dtype.itemsize * (
        math.prod(x.shape) + math.prod(shape)
    )
    return ctx.call(function, [x], shape, x.dtype, scratch=scratch)


@op("LpPool")
def lp_pool(
    ctx: Context,
    x: Value,
    *,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Ints | None = None,
    kernel_shape: Ints,
    p: int | float = 2,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Value:
    """P-norm of each window: (sum of abs(x) ** p) ** (1 / p)."""
    windows = pool_attributes(x, auto_pad, ceil_mode, dilations, kernel_shape, pads, strides)
    sliding = windows.over(x)
    _check_p(p)
    if x.dtype != F32:
        return _sum_of_taps(ctx, x, sliding, lambda a: np.abs(a) ** p, lambda total: total ** (1 / p))
    # A sum is an average times a count, that of the kernel if all that the last window sees is padding.
    hi = [e - lo - n for e, lo, n in zip(sliding.extent, sliding.pad_lo, sliding.size, strict=True)]
    full = windows._replace(pad_lo=list(sliding.pad_lo), pad_hi=hi, ceil_mode=False, auto_pad="explicit")
    average = _pool(ctx, "avg_pool2d", _power(ctx, x, p), full, True)
    count = Constant(np.asarray(math.prod(windows.kernel), np.float32))
    return _root(ctx, ctx.binary("mul", average, count), p)


def _check_p(p: float) -> None:
    if not 0 < p < math.inf:
        raise ShapeError(f"p: expected a positive number, got {p}")


def _power(ctx: Context, x: Value, p: float) -> Value:
    """abs(x) ** p, of f32 values."""
    if p == 2:
        return ctx.binary("mul", x, x)
    magnitude = ctx.activate(x, Activation("abs"))
    return magnitude if p == 1 else ctx.binary("pow", magnitude, Constant(np.asarray(p, np.float32)))


def _root(ctx: Context, x: Value, p: float) -> Value:
    if p == 2:
        return ctx.activate(x, Activation("sqrt"))
    return x if p == 1 else ctx.binary("pow", x, Constant(np.asarray(1 / p, np.float32)))


@op("GlobalAveragePool")
def global_average_pool(ctx: Context, x: Value) -> Value:
    """Average over the spatial dimensions."""
    return _global(ctx, "mean", np.mean, x)


@op("GlobalMaxPool")
def global_max_pool(ctx: Context, x: Value) -> Value:
    """Maximum over the spatial dimensions."""
    return _global(ctx, "max", np.max, x)


@op("GlobalLpPool")
def global_lp_pool(ctx: Context, x: Value, *, p: int | float = 2) -> Value:
    """P-norm over the spatial dimensions."""
    _check_p(p)
    if x.dtype == F32:
        return _root(ctx, _global(ctx, "sum", np.sum, _power(ctx, x, p)), p)
    powers = ctx.call(lambda a: np.abs(a) ** p, [x], x.shape, x.dtype, "pow")
    total = _global(ctx, "sum", np.sum, powers)
    return ctx.call(lambda a: a ** (1 / p), [total], total.shape, x.dtype, "pow")


def _global(ctx: Context, kind: str, function: Callable[..., Array], x: Value) -> Value:
    if len(x.shape) < 3 or math.prod(x.shape[2:]) == 0:
        raise ShapeError(f"x: expected at least 3 dimensions and 1 pixel, got shape {x.shape}")
    shape = (*x.shape[:2], *[1] * (len(x.shape) - 2))
    if x.dtype == F32:
        return ctx.emit("reduce", (ctx.tensor(x),), ctx.image(shape), kind)
    if x.dtype.kind != "f":
        raise DTypeError(f"x: expected floating-point values, got {x.dtype}")
    axes = tuple(range(2, len(x.shape)))
    return ctx.call(lambda a: function(a, axis=axes, keepdims=True), [x], shape, x.dtype)


@op("MaxUnpool")
def max_unpool(
    ctx: Context,
    x: Value,
    indices: Value,
    output_shape: Value | None = None,
    *,
    kernel_shape: Ints,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Value:
    """Zeros, but for the maxima that a MaxPool took, back in their places."""
    spatial = len(x.shape) - 2
    if not 1 <= spatial <= 3 or indices.shape != x.shape or indices.dtype != np.int64:
        raise ShapeError(
            "x, indices: expected 3 to 5 dimensions and as many int64 indices,"
            f" got shape {x.shape} and {indices.dtype} of shape {indices.shape}"
        )
    padding = spatial_ints("pads", pads, 2 * spatial, 0)
    pooled = zip(
        x.shape[2:],
        spatial_ints("kernel_shape", kernel_shape, spatial, 1),
        spatial_ints("strides", strides, spatial, 1),
        padding[:spatial],
        padding[spatial:],
        strict=True,
    )
    inner = (*x.shape[:2], *((n - 1) * s + k - lo - hi for n, k, s, lo, hi in pooled))
    shape = inner if output_shape is None else tuple(ctx.ints("output_shape", output_shape))
    if len(shape) != len(inner) or min(inner) < 0 or any(a < b for a, b in zip(shape, inner, strict=False)):
        raise ShapeError(f"output_shape: expected at least {inner}, got {shape}")

    size_of(inner)

    def function(x: Array, indices: Array) -> Array:
        y = np.zeros(math.prod(inner), x.dtype)
        if indices.size and not 0 <= indices.min() <= indices.max() < y.size:
            raise ShapeError(f"indices: expected 0 to {y.size - 1}, got {indices.min()} to {indices.max()}")
        y[indices.reshape(-1)] = x.reshape(-1)
        whole = np.zeros(shape, x.dtype)
        whole[tuple(map(slice, inner))] = y.reshape(inner)
        return whole

    scratch = math.prod(inner) * x.dtype.itemsize
    return ctx.call(function, [x, indices], shape, x.dtype, scratch=scratch)
