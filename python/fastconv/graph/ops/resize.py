"""Resizing of two dimensions: Resize from opset 10 on, and Upsample before it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fastconv.errors import ShapeError, UnsupportedOpError
from fastconv.graph.context import Context
from fastconv.graph.registry import op
from fastconv.graph.value import Array, Floats, Ints, Value, normalized_axes


def _resize(
    ctx: Context,
    x: Value,
    scales: Sequence[float],
    sizes: Sequence[int],
    mode: str,
    coordinates: str,
    rounding: str,
) -> Value:
    """Resize to ``sizes``; output pixels map to input coordinates by ``scales``, both one a dimension."""
    rank = len(x.shape)
    resized = [i for i in range(rank) if sizes[i] != x.shape[i] or scales[i] != 1]
    if not resized:
        return x
    if len(resized) > 2 or rank < 2:
        raise UnsupportedOpError(f"expected at most 2 resized dimensions, got scales {list(scales)}")
    # The kernel resizes the last two of four dimensions; any other two are brought there by strides.
    last = sorted({*resized, *[i for i in range(rank - 1, -1, -1) if i not in resized][: 2 - len(resized)]})
    perm = [i for i in range(rank) if i not in last] + last
    view = x.transpose(perm)
    lead, (ih, iw) = view.shape[:-2], view.shape[-2:]
    split = (math.prod(lead[:1]), math.prod(lead[1:]))
    image = ctx.tensor(ctx.reshape(view, (*split, ih, iw)))
    oh, ow = sizes[last[0]], sizes[last[1]]
    y = ctx.empty((*split, oh, ow), image.order())
    ctx.emit(
        "resize2d", (image,), y, mode, coordinates, rounding, float(scales[last[0]]), float(scales[last[1]])
    )
    return ctx.reshape(y, (*lead, oh, ow)).transpose([perm.index(i) for i in range(rank)])


def _sizes(x: Value, scales: Sequence[float]) -> list[int]:
    if len(scales) != len(x.shape):
        raise ShapeError(f"scales: expected {len(x.shape)} numbers, one a dimension of x, got {list(scales)}")
    if not all(0 < s < 1e6 for s in scales):
        raise ShapeError(f"scales: expected positive numbers, got {list(scales)}")
    return [math.floor(n * s) for n, s in zip(x.shape, scales, strict=True)]


def _floats(array: Array) -> list[float]:
    return [float(v) for v in array.reshape(-1)]


@op("Upsample")
def upsample(
    ctx: Context,
    x: Value,
    scales_input: Value | None = None,
    *,
    mode: str = "nearest",
    scales: Floats | None = None,
) -> Value:
    """Resize by factors, mapped by o / scale; "bilinear" is a name of linear's."""
    factors = list(scales or ()) if scales_input is None else _floats(ctx.array("scales", scales_input))
    mode = "linear" if mode == "bilinear" else mode
    _check_mode(mode)
    return _resize(ctx, x, factors, _sizes(x, factors), mode, "asymmetric", "floor")


# The ignored attributes are of the cubic, cropping and antialiased forms, refused by attributes of their own.
@op("Resize", ignore=("cubic_coeff_a", "exclude_outside", "extrapolation_value"))
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
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Value:
    """Resize by factors or to sizes, nearest or linear."""
    _check_mode(mode)
    if antialias or keep_aspect_ratio_policy != "stretch":
        raise UnsupportedOpError("expected antialias=0 and keep_aspect_ratio_policy='stretch'")
    rank = len(x.shape)
    if ctx.opset < 11:  # (x, scales), and no choice of the mapping
        assert roi is not None
        factors = _floats(ctx.array("scales", roi))
        return _resize(ctx, x, factors, _sizes(x, factors), mode, "asymmetric", "floor")
    coordinates = ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel")
    if coordinate_transformation_mode not in coordinates:
        raise UnsupportedOpError(
            f"coordinate_transformation_mode: expected one of {', '.join(coordinates)},"
            f" got {coordinate_transformation_mode!r}"
        )
    chosen = tuple(range(rank)) if axes is None else normalized_axes("axes", axes, rank)
    given = None if scales is None or scales.shape == (0,) else _floats(ctx.array("scales", scales))
    if given is None:
        if sizes is None:
            raise ShapeError("scales, sizes: expected one of the two, got neither")
        target = ctx.ints("sizes", sizes)
        full = list(x.shape)
        for axis, n in _zip("sizes", chosen, target):
            full[axis] = int(n)
        factors = [m / n if n else 1.0 for m, n in zip(full, x.shape, strict=True)]
    else:
        factors = [1.0] * rank
        for axis, s in _zip("scales", chosen, given):
            factors[axis] = s
        full = _sizes(x, factors)
    return _resize(ctx, x, factors, full, mode, coordinate_transformation_mode, nearest_mode)


def _check_mode(mode: str) -> None:
    if mode not in ("nearest", "linear"):
        raise UnsupportedOpError(f"mode: expected nearest or linear, got {mode!r}")


def _zip(name: str, axes: Sequence[int], values: Sequence[float]) -> list[tuple[int, float]]:
    if len(axes) != len(values):
        raise ShapeError(f"{name}: expected {len(axes)} numbers, got {list(values)}")
    return list(zip(axes, values, strict=True))
