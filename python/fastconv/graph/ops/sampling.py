"""Values of an image at points between its pixels: GridSample, its AffineGrid, and DeformConv."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from fastconv.errors import ArgumentError, DTypeError, ShapeError
from fastconv.graph.context import Context
from fastconv.graph.ops.conv import conv_parameters, conv_windows
from fastconv.graph.ops.products import product
from fastconv.graph.registry import op
from fastconv.graph.value import F32, Array, Ints, Tensor, Value, channels_last_order

PADDING_MODES = ("zeros", "border", "reflection")
# Names from opset 20 on, and those of opset 16.
MODES = {
    "linear": "linear",
    "nearest": "nearest",
    "cubic": "cubic",
    "bilinear": "linear",
    "bicubic": "cubic",
}

CUBIC_A = -0.75
TOGETHER = 8  # channels from which on it pays to bring those of a pixel together


def _reflect(x: Array, low: float, high: float) -> Array:
    """Reflect coordinates at two borders until they are between them."""
    span = high - low
    if span <= 0:
        return np.zeros_like(x)
    turns = np.abs(x - low) % (2 * span)
    return np.asarray(low + np.minimum(turns, 2 * span - turns))


def _padded(x: Array, size: int, padding: str, align_corners: bool) -> Array:
    """Return coordinates of an axis, moved to where the padding mode finds its values.

    Four pixels outside all taps are; so for what is further outside, that is far enough. So is NaN.
    """
    x = np.nan_to_num(x, nan=-4)
    if padding != "reflection":
        return np.clip(x, -4, size + 3)
    low = 0.0 if align_corners else -0.5
    return _reflect(x, low, size - 1 - low)


def _taps(x: Array, mode: str) -> list[tuple[Array, Array | None]]:
    """Pixels along an axis that coordinates sum, and their weights."""
    if mode == "nearest":
        return [(np.rint(x), None)]
    first = np.floor(x)
    t = x - first
    if mode == "linear":
        return [(first, 1 - t), (first + 1, t)]
    a = CUBIC_A

    def near(d: Array) -> Array:
        return np.asarray(((a + 2) * d - (a + 3)) * d * d + 1)

    def far(d: Array) -> Array:
        return np.asarray(((a * d - 5 * a) * d + 8 * a) * d - 4 * a)

    weights = (far(t + 1), near(t), near(1 - t), far(2 - t))
    return [(first + i, w) for i, w in zip((-1, 0, 1, 2), weights, strict=True)]


def sample(
    image: Array, points: Sequence[Array], mode: str, padding: str = "zeros", align_corners: bool = True
) -> Array:
    """Values of (channels, spatial...) at points given by one array of pixel coordinates a dimension."""
    size = image.shape[1:]
    flat = image.reshape(len(image), -1)
    axes = []
    for x, n in zip(points, size, strict=True):
        if mode == "nearest":  # rounded first: what is reflected are pixels
            x = np.rint(x)
        taps = []
        for place, weight in _taps(_padded(x, n, padding, align_corners), mode):
            inside = (place >= 0) & (place < n) if padding == "zeros" else None
            if padding == "reflection":
                place = _padded(place, n, padding, align_corners)
            taps.append((np.clip(place, 0, n - 1).astype(np.int64), weight, inside))
        axes.append(taps)
    result = np.zeros((len(image), *points[0].shape), image.dtype)
    for corner in itertools.product(*axes):
        index = np.zeros(points[0].shape, np.int64)
        for n, (place, _, _) in zip(size, corner, strict=True):
            index = index * n + place
        values = flat[:, index]
        for _, weight, inside in corner:
            if weight is not None:
                values *= weight.astype(image.dtype, copy=False)
            if inside is not None:
                values = np.where(inside, values, image.dtype.type(0))
        result += values
    return result


def sample_bytes(points: int, spatial: int, channels: int, itemsize: int, mode: str) -> int:
    """Return the bytes that :func:`sample` takes at so many points of an image, its result included."""
    taps = {"nearest": 1, "linear": 2, "cubic": 4}[mode]
    along = 24 * taps + 32  # of a dimension: places, weights and masks of its taps, the coordinate
    return points * (spatial * along + 16 + 3 * channels * itemsize)


@op("GridSample")
def grid_sample(
    ctx: Context,
    x: Value,
    grid: Value,
    *,
    align_corners: int = 0,
    mode: str = "linear",
    padding_mode: str = "zeros",
) -> Value:
    """Values of x at the points of a grid, whose coordinates are -1 to 1 from border to border, x first."""
    spatial = len(x.shape) - 2
    if mode not in MODES or padding_mode not in PADDING_MODES:
        raise ArgumentError(
            f"mode, padding_mode: expected one of {', '.join(MODES)} and of {', '.join(PADDING_MODES)},"
            f" got {mode!r} and {padding_mode!r}"
        )
    if spatial < 1 or len(grid.shape) != spatial + 2 or grid.shape[-1] != spatial:
        raise ShapeError(
            "x, grid: expected (n, channels, spatial...) and (n, spatial..., dimensions),"
            f" got shapes {x.shape} and {grid.shape}"
        )
    if x.shape[0] != grid.shape[0] or 0 in x.shape:
        raise ShapeError(f"grid: expected a grid for each image of shape {x.shape}, got shape {grid.shape}")
    if grid.dtype.kind != "f" or (x.dtype.kind != "f" and mode != "nearest"):
        raise DTypeError(f"x, grid: expected floating-point values, got {x.dtype} and {grid.dtype}")
    aligned = bool(align_corners)

    shape = (*x.shape[:2], *grid.shape[1:-1])
    run_time = isinstance(x, Tensor) or isinstance(grid, Tensor)
    if run_time and spatial == 2 and x.dtype == grid.dtype == F32:
        image = ctx.tensor(x)
        if x.shape[1] < TOGETHER:
            y = ctx.result(shape)
        else:  # the channels of a point at once
            if image.strides[1] != 1:
                image = ctx.copy(image, ctx.empty(x.shape, channels_last_order(4)))
            y = ctx.image(shape)
        return ctx.emit("grid_sample", (image, ctx.tensor(grid)), y, MODES[mode], padding_mode, aligned)

    def function(x: Array, grid: Array) -> Array:
        y = np.empty(shape, x.dtype)
        for image, at, result in zip(x, grid, y, strict=True):
            points = []
            for i, n in enumerate(x.shape[2:]):
                g = at[..., spatial - 1 - i]
                points.append((g + 1) / 2 * (n - 1) if aligned else ((g + 1) * n - 1) / 2)
            result[...] = sample(image, points, MODES[mode], padding_mode, aligned)
        return y

    points = math.prod(grid.shape[1:-1])
    scratch = sample_bytes(points, spatial, x.shape[1], x.dtype.itemsize, MODES[mode])
    return ctx.call(function, [x, grid], shape, x.dtype, scratch=scratch)


@op("AffineGrid")
def affine_grid(ctx: Context, theta: Value, size: Value, *, align_corners: int = 0) -> Value:
    """Return the grid of an affine map of an image (or a volume) of a size (n, channels, spatial...)."""
    target = ctx.ints("size", size)
    spatial = len(target) - 2
    if spatial not in (2, 3) or min(target) < 1 or theta.shape != (target[0], spatial, spatial + 1):
        raise ShapeError(
            "theta, size: expected (n, 2, 3) and 4 positive sizes, or (n, 3, 4) and 5,"
            f" got shape {theta.shape} and {target}"
        )
    if theta.dtype.kind != "f":
        raise DTypeError(f"theta: expected floating-point values, got {theta.dtype}")
    ends = [(1.0 if n > 1 else 0.0) if align_corners else 1 - 1 / n for n in target[2:]]
    lines = [np.linspace(-end, end, n) for end, n in zip(ends, target[2:], strict=True)]
    axes = np.meshgrid(*lines, indexing="ij")
    points = np.stack([*reversed(axes), np.ones_like(axes[0])], axis=-1).astype(theta.dtype)
    points = points.reshape(-1, spatial + 1)
    shape = (target[0], *target[2:], spatial)
    return ctx.call(lambda t: product(points, t.swapaxes(1, 2)).reshape(shape), [theta], shape, theta.dtype)


@op("DeformConv")
def deform_conv(
    ctx: Context,
    x: Value,
    w: Value,
    offset: Value,
    b: Value | None = None,
    mask: Value | None = None,
    *,
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    offset_group: int = 1,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Value:
    """Convolution of images whose every tap is displaced by an offset of its own, and weighed by a mask."""
    if len(x.shape) != 4 or len(w.shape) != 4:
        raise ShapeError(f"x, w: expected 4 dimensions each, got shapes {x.shape} and {w.shape}")
    parameters = conv_parameters(w, "NOTSET", dilations, group, kernel_shape, strides)
    padding = [0] * 4 if pads is None else [int(p) for p in pads]
    windows = conv_windows(parameters, x.shape, w.shape, padding)
    n, channels, oc = x.shape[0], x.shape[1], w.shape[0]
    taps = math.prod(w.shape[2:])
    if offset_group < 1 or channels % offset_group:
        raise ShapeError(f"offset_group: expected a divisor of {channels} channels, got {offset_group}")
    for name, value, shape in (
        ("offset", offset, (n, offset_group * taps * 2, *windows.out)),
        ("mask", mask, (n, offset_group * taps, *windows.out)),
        ("b", b, (oc,)),
    ):
        if value is not None and value.shape != shape:
            raise ShapeError(f"{name}: expected shape {shape}, got {value.shape}")
    values = [v for v in (x, w, offset, b, mask) if v is not None]
    if any(v.dtype != x.dtype for v in values) or x.dtype.kind != "f":
        raise DTypeError(
            f"expected floating-point values, all alike, got {', '.join(str(v.dtype) for v in values)}"
        )
    # Where the taps are without offsets: (taps, oh, ow) for rows and for columns.
    starts = [
        np.arange(o) * s - lo for o, s, lo in zip(windows.out, windows.stride, windows.pad_lo, strict=True)
    ]
    steps = np.indices(w.shape[2:]).reshape(2, taps) * np.asarray(windows.dilation)[:, np.newaxis]
    places = [
        (steps[0][:, None, None] + starts[0][:, None]).astype(x.dtype),
        (steps[1][:, None, None] + starts[1]).astype(x.dtype),
    ]

    def function(x: Array, w: Array, offset: Array, *others: Array) -> Array:
        further = list(others)
        bias = further.pop(0) if b is not None else None
        factors = further.pop(0) if mask is not None else None
        moves = offset.reshape(n, offset_group, taps, 2, *windows.out)
        y = np.empty((n, oc, *windows.out), x.dtype)
        kernel = w.reshape(group, oc // group, -1)
        for i in range(n):
            images = x[i].reshape(offset_group, -1, *x.shape[2:])
            columns = []
            for j, part in enumerate(images):
                found = sample(part, [places[d] + moves[i, j, :, d] for d in (0, 1)], "linear")
                if factors is not None:
                    found = found * factors[i].reshape(offset_group, taps, *windows.out)[j]
                columns.append(found)
            matrix = np.concatenate(columns).reshape(group, kernel.shape[2], -1)
            y[i] = product(kernel, matrix).reshape(oc, *windows.out)
        return y if bias is None else y + bias[:, None, None]

    points = taps * math.prod(windows.out)
    itemsize = x.dtype.itemsize
    scratch = sample_bytes(points, 2, channels // offset_group, itemsize, "linear")
    scratch += 2 * channels * points * itemsize  # the columns of all groups, and as one matrix
    return ctx.call(function, values, (n, oc, *windows.out), x.dtype, scratch=scratch)
