"""Resizing: Resize from opset 10 on, and Upsample before it.

Resizing along several dimensions is resizing along one after another. The kernel does two at a time: f32
values to the nearest pixel or between two, 8-bit integers to the nearest. All other forms are weighted sums
of pixels by numpy, whose weights the plan has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from fastconv.errors import ArgumentError, DTypeError, ShapeError
from fastconv.graph.context import Context
from fastconv.graph.registry import op
from fastconv.graph.value import (
    BYTES,
    F32,
    F64,
    Array,
    Constant,
    Floats,
    Ints,
    Tensor,
    Value,
    normalized_axes,
    size_of,
)

MODES = ("nearest", "linear", "cubic")
NEAREST_MODES = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
KERNEL_COORDINATES = ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel")
COORDINATES = (*KERNEL_COORDINATES, "half_pixel_symmetric", "tf_crop_and_resize", "tf_half_pixel_for_nn")
POLICIES = ("stretch", "not_larger", "not_smaller")


class Form(NamedTuple):
    """How pixels are mapped and weighed: the attributes of a Resize."""

    mode: str = "nearest"
    coordinates: str = "half_pixel"
    nearest: str = "round_prefer_floor"
    cubic_a: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False
    extrapolation: float = 0.0

    def check(self) -> None:
        """Refuse what is not ONNX's."""
        for name, value, known in (
            ("mode", self.mode, MODES),
            ("coordinate_transformation_mode", self.coordinates, COORDINATES),
            ("nearest_mode", self.nearest, NEAREST_MODES),
        ):
            if value not in known:
                raise ArgumentError(f"{name}: expected one of {', '.join(known)}, got {value!r}")
        if self.antialias and self.mode == "nearest":
            raise ArgumentError("antialias: expected 0 in mode nearest, got 1")


class Axis(NamedTuple):
    """One dimension: its sizes, the factor that maps its coordinates, and the part of it that is resized.

    The factor is a fraction where sizes say it: nearest then finds its pixels without rounding.
    """

    size: int
    out: int
    scale: float | Fraction
    roi: tuple[float, float] = (0.0, 1.0)

    def stays(self, form: Form) -> bool:
        """Whether nothing happens along it."""
        whole = form.coordinates != "tf_crop_and_resize" or self.roi == (0.0, 1.0)
        return self.size == self.out and self.scale == 1 and whole

    def sources(self, coordinates: str, dtype: Any) -> Array:
        """Return the coordinate of the input that each pixel of the result is at."""
        size, out, scale = dtype(self.size), dtype(self.out), dtype(float(self.scale))
        half, o = dtype(0.5), np.arange(self.out).astype(dtype)
        x: Array = (o + half) / scale
        if coordinates == "align_corners":
            x = o * (size - 1) / (out - 1) if self.out > 1 else o
        elif coordinates == "asymmetric":
            x = o / scale
        elif coordinates == "pytorch_half_pixel" and self.out == 1:
            x = o
        elif coordinates == "half_pixel_symmetric":  # a fractional size is centred on the whole one
            x = x + half * size * (1 - out / (scale * size)) - half
        elif coordinates == "tf_crop_and_resize":
            start, end = dtype(self.roi[0]), dtype(self.roi[1])
            if self.out == 1:
                x = half * (start + end) * (size - 1) + o
            else:
                x = start * (size - 1) + o * (end - start) * (size - 1) / (out - 1)
        elif coordinates != "tf_half_pixel_for_nn":  # of opset 11, where no half pixel is taken off
            x = x - half
        return x

    def exact_sources(self, coordinates: str) -> tuple[Array, int] | None:
        """Return the same as whole numbers and what divides them, or None where it has no exact form."""
        start, end = (Fraction(v) for v in self.roi)
        half = Fraction(1, 2)
        if coordinates in ("align_corners", "tf_crop_and_resize"):
            if coordinates == "align_corners":
                start, end = Fraction(0), Fraction(1)
            elif start.denominator != 1 or end.denominator != 1:  # f32 numbers that stand for others
                return None
            slope = (end - start) * Fraction(self.size - 1, max(self.out - 1, 1))
            offset = start * (self.size - 1)
            if self.out == 1 and coordinates == "tf_crop_and_resize":
                offset = half * (start + end) * (self.size - 1)
        elif not isinstance(self.scale, Fraction):
            return None
        else:
            slope = 1 / self.scale
            offset = {
                "asymmetric": Fraction(0),
                "tf_half_pixel_for_nn": half * slope,
                "half_pixel_symmetric": half * slope + half * (self.size - self.out * slope) - half,
            }.get(coordinates, half * slope - half)
            if coordinates == "pytorch_half_pixel" and self.out == 1:
                offset = Fraction(0)
        divisor = math.lcm(slope.denominator, offset.denominator)
        step, first = int(slope * divisor), int(offset * divisor)
        largest = 2 * (self.out * abs(step) + abs(first) + divisor)
        o = np.arange(self.out, dtype=np.int64 if largest < 2**63 else object)
        return o * step + first, divisor


def _exact_nearest(x: Array, divisor: int, rounding: str) -> Array:
    """Return x / divisor, whole numbers, rounded to one."""
    if rounding == "floor":
        return np.asarray(x // divisor)
    if rounding == "ceil":
        return np.asarray(-(-x // divisor))
    if rounding == "round_prefer_floor":
        return np.asarray(-((divisor - 2 * x) // (2 * divisor)))
    return np.asarray((2 * x + divisor) // (2 * divisor))


def _nearest(x: Array, rounding: str) -> Array:
    half = x.dtype.type(0.5)
    if rounding == "floor":
        return np.asarray(np.floor(x))
    if rounding == "ceil":
        return np.asarray(np.ceil(x))
    return np.asarray(np.ceil(x - half) if rounding == "round_prefer_floor" else np.floor(x + half))


def _triangle(x: Array) -> Array:
    return np.asarray(np.maximum(0, 1 - np.abs(x)))


def _cubic(x: Array, a: float) -> Array:
    """Cubic convolution (Keys, 1981)."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


@dataclass(frozen=True)
class Taps:
    """Which pixels of an axis each pixel of the result sums, and their weights: (taps, out) each."""

    index: Array
    weights: Array | None  # None: one pixel, as it is
    outside: Array | None  # pixels of the result that take the extrapolation value instead

    @staticmethod
    def count(axis: Axis, form: Form) -> int:
        """Return how many pixels each pixel of the result sums; more where a filter is made wider."""
        if form.mode == "nearest":
            return 1
        shrink = min(float(axis.scale), 1.0) if form.antialias else 1.0
        return 2 * math.ceil((1 if form.mode == "linear" else 2) / shrink)

    @staticmethod
    def of(axis: Axis, form: Form) -> Taps:
        """Work them out."""
        outside = None
        # f32 where a rounding decides which pixel: torch and ONNX Runtime compute it so.
        x = axis.sources(form.coordinates, np.float32 if form.mode == "nearest" else np.float64)
        if form.coordinates == "tf_crop_and_resize":
            outside = (x < 0) | (x > axis.size - 1)
        if form.mode == "nearest":
            exact = axis.exact_sources(form.coordinates)
            index = _nearest(x, form.nearest) if exact is None else _exact_nearest(*exact, form.nearest)
            index = index[np.newaxis]
            return Taps(_clamped(index, axis.size), None, outside)
        # Antialiased, the filter is as wide as a pixel of the result.
        shrink = min(float(axis.scale), 1.0) if form.antialias else 1.0
        reach = Taps.count(axis, form) // 2
        index = np.floor(x) + np.arange(1 - reach, reach + 1)[:, np.newaxis]
        distance = (index - x) * shrink
        weights = _triangle(distance) if form.mode == "linear" else _cubic(distance, form.cubic_a)
        if form.exclude_outside:
            weights = np.where((index >= 0) & (index < axis.size), weights, 0)
        if form.exclude_outside or form.antialias:
            total = weights.sum(axis=0)
            weights = weights / np.where(total == 0, 1, total)
        return Taps(_clamped(index, axis.size), weights, outside)

    def apply(self, x: Array, axis: int, extrapolation: float) -> Array:
        """Resize an array along an axis."""
        y: Array
        along = [1] * x.ndim
        along[axis] = -1
        if self.weights is None:
            y = np.take(x, self.index[0], axis=axis)
        else:
            y = np.zeros((*x.shape[:axis], self.index.shape[1], *x.shape[axis + 1 :]), x.dtype)
            for index, weights in zip(self.index, self.weights, strict=True):
                if weights.any():
                    y += np.take(x, index, axis=axis) * weights.astype(x.dtype).reshape(along)
        if self.outside is not None and self.outside.any():
            np.copyto(y, x.dtype.type(extrapolation), where=self.outside.reshape(along))
        return y


def _clamped(index: Array, size: int) -> Array:
    return np.clip(index, 0, size - 1).astype(np.int64)


def _resize(ctx: Context, x: Value, axes: Sequence[Axis], form: Form) -> Value:
    """Resize along every axis that does not stay."""
    form.check()
    changed = [i for i, axis in enumerate(axes) if not axis.stays(form)]
    if not changed:
        return x
    shape = [axis.out for axis in axes]
    if any(axis.out and not axis.size for axis in axes):
        raise ShapeError(f"x: expected at least 1 element along what is resized, got shape {x.shape}")
    if not size_of(shape):
        return Constant(np.zeros(shape, x.dtype))
    shrinks = any(axes[i].scale < 1 for i in changed)
    bytes_move = x.dtype in BYTES and isinstance(x, Tensor) and form.mode == "nearest"
    kernel = bytes_move or (x.dtype == F32 and form.mode in ("nearest", "linear"))
    if (
        kernel
        and len(x.shape) >= 2
        and form.coordinates in KERNEL_COORDINATES
        and not (form.antialias and shrinks)
    ):
        while changed:
            x = _resize_two(ctx, x, axes, changed[-2:], form)
            changed = changed[:-2]
        return x
    return _resize_any(ctx, x, axes, changed, form)


def _resize_two(ctx: Context, x: Value, axes: Sequence[Axis], resized: list[int], form: Form) -> Value:
    """Resize one or two dimensions by the kernel, which takes the last two of four."""
    rank = len(x.shape)
    last = sorted({*resized, *[i for i in range(rank - 1, -1, -1) if i not in resized][: 2 - len(resized)]})
    perm = [i for i in range(rank) if i not in last] + last
    view = x.transpose(perm)
    lead, (ih, iw) = view.shape[:-2], view.shape[-2:]
    split = (math.prod(lead[:1]), math.prod(lead[1:]))
    image = ctx.typed(ctx.reshape(view, (*split, ih, iw)))
    down, across = (axes[i] if i in resized else Axis(x.shape[i], x.shape[i], 1.0) for i in last)
    y = ctx.empty((*split, down.out, across.out), image.order(), image.dtype)
    attributes = form.mode, form.coordinates, form.nearest, *map(_pair, (down, across))
    ctx.emit("resize2d", (image,), y, *attributes, integers=x.dtype in BYTES)
    return ctx.reshape(y, (*lead, down.out, across.out)).transpose([perm.index(i) for i in range(rank)])


def _pair(axis: Axis) -> tuple[float, float]:
    """Return an axis's factor as the kernel takes it."""
    scale = axis.scale
    return (scale.numerator, scale.denominator) if isinstance(scale, Fraction) else (scale, 1.0)


def _resize_any(ctx: Context, x: Value, axes: Sequence[Axis], changed: list[int], form: Form) -> Value:
    dtype = x.dtype
    if form.mode != "nearest" and dtype.kind not in "iuf":
        raise DTypeError(f"x: expected numbers, got {dtype}")
    # Indices and weights stay; while they are worked out there are eight times as many numbers at the most.
    numbers = [Taps.count(axes[i], form) * axes[i].out for i in changed]
    ctx.budget.check(8 * F64.itemsize * max(numbers))
    ctx.budget.spend(2 * F64.itemsize * sum(numbers))
    taps = [(i, Taps.of(axes[i], form)) for i in changed]
    taps.sort(key=lambda pair: axes[pair[0]].out / axes[pair[0]].size)  # what shrinks most goes first

    def function(x: Array) -> Array:
        integers = form.mode != "nearest" and dtype.kind in "iu"
        y: Array = x.astype(np.float64) if integers else x
        for axis, tap in taps:
            y = tap.apply(y, axis, form.extrapolation)
        if integers:
            info = np.iinfo(dtype)
            y = np.clip(np.rint(y), info.min, info.max).astype(dtype)
        return y

    shape, size = [axis.out for axis in axes], list(x.shape)
    wide = F64 if form.mode != "nearest" and dtype.kind in "iu" else dtype
    # What is resized along one axis, the result along the next, what a tap meets and what it adds; integers
    # are widened at first, and rounded and clipped at last.
    held = 0 if wide == dtype else math.prod(size)
    most = 2 * held
    for axis, _ in taps:
        size[axis] = shape[axis]
        most, held = max(most, held + 3 * math.prod(size)), math.prod(size)
    return ctx.call(function, [x], shape, dtype, scratch=wide.itemsize * max(most, 3 * held))


def _by_factors(x: Value, factors: Sequence[float]) -> list[Axis]:
    """Return the axes for factors of all dimensions."""
    if len(factors) != len(x.shape):
        raise ShapeError(
            f"scales: expected {len(x.shape)} numbers, one a dimension of x, got {list(factors)}"
        )
    if not all(0 < s < 1e6 for s in factors):
        raise ShapeError(f"scales: expected positive numbers, got {list(factors)}")
    return [Axis(n, math.floor(n * s), _ratio(n, s)) for n, s in zip(x.shape, factors, strict=True)]


def _ratio(size: int, factor: float) -> float | Fraction:
    """Return the sizes' ratio where a factor is the float32 nearest to it, and so stands for it."""
    out = math.floor(size * factor)
    return Fraction(out, size) if out and np.float32(out / size) == np.float32(factor) else factor


def _floats(array: Array) -> list[float]:
    return [float(v) for v in array.reshape(-1)]


@op("Upsample")
def upsample(
    ctx: Context,
    x: Value,
    scales_input: Value | None = None,
    *,
    height_scale: float | None = None,
    mode: str = "nearest",
    scales: Floats | None = None,
    width_scale: float | None = None,
) -> Value:
    """Resize by factors, mapped by o / scale; "bilinear" is a name of linear's."""
    factors = list(scales or ()) if scales_input is None else _floats(ctx.array("scales", scales_input))
    if height_scale is not None and width_scale is not None:  # opset 1
        factors = [1.0, 1.0, height_scale, width_scale]
    mode = "linear" if mode == "bilinear" else mode
    return _resize(ctx, x, _by_factors(x, factors), Form(mode, "asymmetric", "floor"))


@op("Resize")
def resize(
    ctx: Context,
    x: Value,
    roi: Value | None = None,
    scales: Value | None = None,
    sizes: Value | None = None,
    *,
    antialias: int = 0,
    axes: Ints | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Value:
    """Resize by factors or to sizes."""
    rank = len(x.shape)
    if ctx.opset < 11:  # (x, scales), and no choice of the mapping
        if roi is None:
            raise ShapeError("scales: expected one number a dimension, got none")
        factors = _floats(ctx.array("scales", roi))
        return _resize(ctx, x, _by_factors(x, factors), Form(mode, "asymmetric", "floor"))
    form = Form(
        mode,
        coordinate_transformation_mode,
        nearest_mode,
        cubic_coeff_a,
        bool(exclude_outside),
        bool(antialias),
        extrapolation_value,
    )
    chosen = tuple(range(rank)) if axes is None else normalized_axes("axes", axes, rank)
    rois = [(0.0, 1.0)] * rank
    if coordinate_transformation_mode == "tf_crop_and_resize":
        if roi is None:
            raise ShapeError(f"roi: expected {2 * len(chosen)} numbers, got none")
        given = _floats(ctx.array("roi", roi))
        ends = given[len(chosen) :]
        for (axis, start), (_, end) in zip(
            _zip("roi", chosen, given[: len(chosen)]), _zip("roi", chosen, ends), strict=True
        ):
            rois[axis] = (start, end)
    if scales is not None and scales.shape != (0,):
        factors = [1.0] * rank
        for axis, s in _zip("scales", chosen, _floats(ctx.array("scales", scales))):
            factors[axis] = s
        return _resize(
            ctx, x, [a._replace(roi=r) for a, r in zip(_by_factors(x, factors), rois, strict=True)], form
        )
    if sizes is None:
        raise ShapeError("scales, sizes: expected one of the two, got neither")
    target = dict(_zip("sizes", chosen, ctx.ints("sizes", sizes)))
    if any(n < 0 for n in target.values()):
        raise ShapeError(f"sizes: expected 0 or more, got {list(target.values())}")
    return _resize(ctx, x, _to_sizes(x, target, rois, keep_aspect_ratio_policy), form)


def _to_sizes(
    x: Value, target: dict[int, float], rois: Sequence[tuple[float, float]], policy: str
) -> list[Axis]:
    """Return the axes for sizes of some dimensions, or the nearest ones that have the same factor."""
    if policy not in POLICIES:
        raise ArgumentError(
            f"keep_aspect_ratio_policy: expected one of {', '.join(POLICIES)}, got {policy!r}"
        )
    factors = {i: Fraction(int(m), x.shape[i]) if x.shape[i] else Fraction(1) for i, m in target.items()}
    sizes = {i: int(m) for i, m in target.items()}
    if policy != "stretch" and factors:
        factor = min(factors.values()) if policy == "not_larger" else max(factors.values())
        factors = dict.fromkeys(factors, factor)
        sizes = {i: math.floor(factor * x.shape[i] + Fraction(1, 2)) for i in sizes}
    return [Axis(n, sizes.get(i, n), factors.get(i, Fraction(1)), rois[i]) for i, n in enumerate(x.shape)]


def _zip(name: str, axes: Sequence[int], values: Sequence[float]) -> list[tuple[int, float]]:
    if len(axes) != len(values):
        raise ShapeError(f"{name}: expected {len(axes)} numbers, got {list(values)}")
    return list(zip(axes, values, strict=True))
