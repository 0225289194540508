"""What object detectors need: pooling of regions, and the suppression of boxes that overlap."""

from __future__ import annotations

import math

import numpy as np

from fastconv import _core
from fastconv.errors import ArgumentError, DTypeError, MemoryLimitError, ShapeError
from fastconv.graph.context import Context
from fastconv.graph.registry import op
from fastconv.graph.value import F32, Array, Constant, Ints, Value

BYTES_OF_AN_INDEX = 8
_KINDS = {"iu": "an integer", "f": "a floating-point number"}
MAX_SAMPLES = 1 << 24  # of a region: a box of billions of pixels is a broken one


@op("NonMaxSuppression")
def non_max_suppression(
    ctx: Context,
    boxes: Value,
    scores: Value,
    max_output_boxes_per_class: Value | None = None,
    iou_threshold: Value | None = None,
    score_threshold: Value | None = None,
    *,
    center_point_box: int = 0,
) -> Value:
    """Rows (image, class, box) of the boxes kept, by class, the best first.

    How many there are depends on the values, so the node runs where they are known.
    """
    if (
        len(boxes.shape) != 3
        or len(scores.shape) != 3
        or boxes.shape != (scores.shape[0], scores.shape[2], 4)
    ):
        raise ShapeError(
            "boxes, scores: expected (images, boxes, 4) and (images, classes, boxes),"
            f" got shapes {boxes.shape} and {scores.shape}"
        )
    if boxes.dtype != F32 or scores.dtype != F32:
        raise DTypeError(f"boxes, scores: expected float32 values, got {boxes.dtype} and {scores.dtype}")
    most = int(_number(ctx, "max_output_boxes_per_class", max_output_boxes_per_class, "iu") or 0)
    overlap = _number(ctx, "iou_threshold", iou_threshold, "f") or 0.0
    least = _number(ctx, "score_threshold", score_threshold, "f")
    images, classes, count = scores.shape
    most = min(max(most, 0), count)
    # Of a class: the order of its boxes, twice while it is sorted, and the boxes kept, in and as a result.
    lists = images * classes * most
    at_once = min(images * classes, _core.get_num_threads())
    copies = sum(math.prod(v.shape) for v in (boxes, scores)) * F32.itemsize
    ctx.budget.check(copies + at_once * count * 2 * BYTES_OF_AN_INDEX + lists * (20 + 4 * BYTES_OF_AN_INDEX))
    limits = np.ascontiguousarray(ctx.array("boxes", boxes))
    points = np.ascontiguousarray(ctx.array("scores", scores))
    return Constant(_core.suppress(limits, points, most, overlap, least, bool(center_point_box)))


def _number(ctx: Context, name: str, value: Value | None, kinds: str) -> float | None:
    if value is None or 0 in value.shape:
        return None
    array = ctx.array(name, value)
    if array.size != 1:
        raise ShapeError(f"{name}: expected one number, got shape {array.shape}")
    if array.dtype.kind not in kinds:
        raise DTypeError(f"{name}: expected {_KINDS[kinds]}, got {array.dtype}")
    number: float = array.reshape(()).item()
    return number


def _line(start: float, length: float, pooled: int, samples: int, size: int) -> tuple[Array, ...]:
    """Pixels and weights of the samples along one side of a region: low, high, weight of low, of high."""
    x = start + (np.arange(pooled * samples) + 0.5) * (length / pooled / max(samples, 1))
    inside = (x >= -1) & (x <= size)
    x = np.clip(x, 0, size - 1)
    low = x.astype(np.int64)
    t = x - low
    return low, np.minimum(low + 1, size - 1), np.where(inside, 1 - t, 0), np.where(inside, t, 0)


@op("RoiAlign")
def roi_align(
    ctx: Context,
    x: Value,
    rois: Value,
    batch_indices: Value,
    *,
    coordinate_transformation_mode: str | None = None,
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Value:
    """Average, or maximum, of samples between the pixels of each part of each region (He et al., 2017)."""
    # Before opset 16, coordinates had no half pixel taken off.
    transform = coordinate_transformation_mode or ("half_pixel" if ctx.opset >= 16 else "output_half_pixel")
    if transform not in ("half_pixel", "output_half_pixel") or mode not in ("avg", "max"):
        raise ArgumentError(
            "coordinate_transformation_mode, mode: expected half_pixel or output_half_pixel, and avg or max,"
            f" got {transform!r} and {mode!r}"
        )
    if len(x.shape) != 4 or rois.shape != (*batch_indices.shape, 4) or len(batch_indices.shape) != 1:
        raise ShapeError(
            "x, rois, batch_indices: expected (n, channels, height, width), (rois, 4) and (rois),"
            f" got shapes {x.shape}, {rois.shape} and {batch_indices.shape}"
        )
    if x.dtype.kind != "f" or rois.dtype != x.dtype or batch_indices.dtype.kind not in "iu":
        raise DTypeError(
            "x, rois, batch_indices: expected floating-point values, all alike, and integers,"
            f" got {x.dtype}, {rois.dtype} and {batch_indices.dtype}"
        )
    if output_height < 1 or output_width < 1 or sampling_ratio < 0 or 0 in x.shape:
        raise ShapeError(
            "output_height, output_width, sampling_ratio: expected 1 or more, and 0 or more,"
            f" got {output_height}, {output_width} and {sampling_ratio} for x of shape {x.shape}"
        )
    size, pooled = x.shape[2:], (output_height, output_width)
    half = 0.5 if transform == "half_pixel" else 0.0
    room = ctx.budget.room()

    def scratch(samples: int) -> int:
        """Bytes of the four corners of a region's samples, and of their sum or maximum."""
        return 7 * x.shape[1] * samples * x.dtype.itemsize

    def function(x: Array, rois: Array, images: Array) -> Array:
        _check_images(images, len(x))
        y = np.zeros((len(rois), x.shape[1], *pooled), x.dtype)
        for roi, image, result in zip(rois.astype(np.float64), images, y, strict=True):
            left, top, right, bottom = roi * spatial_scale - half
            lengths = [bottom - top, right - left]
            if not half:
                lengths = [max(length, 1.0) for length in lengths]
            counts = [
                sampling_ratio or max(0, math.ceil(length / p))
                for length, p in zip(lengths, pooled, strict=True)
            ]
            if math.prod(counts) * math.prod(pooled) > MAX_SAMPLES:
                raise ShapeError(
                    f"rois: expected at most {MAX_SAMPLES} samples a region, got box {roi.tolist()}"
                )
            if not math.prod(counts):
                continue
            if scratch(math.prod(counts) * math.prod(pooled)) > room:  # what the box itself decides
                raise MemoryLimitError(
                    f"rois: expected at most max_bytes beside the model's own, {room} bytes, got a box"
                    f" {roi.tolist()} whose samples take {scratch(math.prod(counts) * math.prod(pooled))}"
                )
            (y0, y1, wy0, wy1), (x0, x1, wx0, wx1) = (
                _line(start, length, p, count, n)
                for start, length, p, count, n in zip((top, left), lengths, pooled, counts, size, strict=True)
            )
            corners = [
                x[image][:, rows[:, None], columns] * np.outer(wy, wx).astype(x.dtype)
                for rows, wy in ((y0, wy0), (y1, wy1))
                for columns, wx in ((x0, wx0), (x1, wx1))
            ]
            parts = (x.shape[1], pooled[0], counts[0], pooled[1], counts[1])
            if mode == "avg":
                result[...] = sum(corners).reshape(parts).mean(axis=(2, 4))
            else:  # the specification's maximum is of the weighted corners
                result[...] = np.max(corners, axis=0).reshape(parts).max(axis=(2, 4))
        return y

    shape = (rois.shape[0], x.shape[1], *pooled)
    known = scratch(sampling_ratio**2 * math.prod(pooled))
    return ctx.call(function, [x, rois, batch_indices], shape, x.dtype, scratch=known)


def _check_images(images: Array, count: int) -> None:
    if images.size and not 0 <= images.min() <= images.max() < count:
        raise ShapeError(f"images: expected 0 to {count - 1}, got {images.min()} to {images.max()}")


@op("MaxRoiPool")
def max_roi_pool(
    ctx: Context, x: Value, rois: Value, *, pooled_shape: Ints, spatial_scale: float = 1.0
) -> Value:
    """Maximum of each part of each region, whose borders are rounded to pixels (Girshick, 2015)."""
    if len(x.shape) != 4 or len(rois.shape) != 2 or rois.shape[1] != 5 or 0 in x.shape:
        raise ShapeError(
            "x, rois: expected (n, channels, height, width) and (rois, 5),"
            f" got shapes {x.shape} and {rois.shape}"
        )
    if len(pooled_shape) != 2 or min(pooled_shape) < 1:
        raise ShapeError(f"pooled_shape: expected 2 positive integers, got {list(pooled_shape)}")
    if x.dtype.kind != "f" or rois.dtype != x.dtype:
        raise DTypeError(
            f"x, rois: expected floating-point values, all alike, got {x.dtype} and {rois.dtype}"
        )
    height, width = x.shape[2:]

    def bins(start: float, end: float, pooled: int, size: int) -> list[slice]:
        first = _rounded(start * spatial_scale)
        step = max(_rounded(end * spatial_scale) - first + 1, 1) / pooled
        return [
            slice(
                min(max(math.floor(i * step) + first, 0), size),
                min(max(math.ceil((i + 1) * step) + first, 0), size),
            )
            for i in range(pooled)
        ]

    def function(x: Array, rois: Array) -> Array:
        if not np.isfinite(rois).all():
            raise ShapeError("rois: expected finite numbers, got others")
        _check_images(rois[:, 0], len(x))
        y = np.zeros((len(rois), x.shape[1], *pooled_shape), x.dtype)
        for roi, result in zip(rois.astype(np.float64), y, strict=True):
            image = x[int(roi[0])]
            columns = bins(roi[1], roi[3], pooled_shape[1], width)
            for i, rows in enumerate(bins(roi[2], roi[4], pooled_shape[0], height)):
                for j, column in enumerate(columns):
                    part = image[:, rows, column]
                    if part.size:
                        result[:, i, j] = part.max(axis=(1, 2))
        return y

    return ctx.call(function, [x, rois], (rois.shape[0], x.shape[1], *pooled_shape), x.dtype)


def _rounded(x: float) -> int:
    """Round half away from zero, as C does."""
    return math.floor(abs(x) + 0.5) * (1 if x >= 0 else -1)
