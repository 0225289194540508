"""What object detectors need: pooling of regions, and the suppression of boxes that overlap."""

from __future__ import annotations

import math

import numpy as np

from fastconv.errors import ArgumentError, DTypeError, MemoryLimitError, ShapeError
from fastconv.graph.context import Context
from fastconv.graph.registry import op
from fastconv.graph.value import Array, Constant, Ints, Value

MAX_SAMPLES = 1 << 24  # of a region: a box of billions of pixels is a broken one


def _corners(boxes: Array, center_point_box: bool) -> Array:
    """Return boxes as (low y, low x, high y, high x); given are two corners, or (x, y, width, height)."""
    if center_point_box:
        x, y, w, h = np.moveaxis(boxes, -1, 0)
        return np.stack([y - h / 2, x - w / 2, y + h / 2, x + w / 2], axis=-1)
    first, second = boxes[..., :2], boxes[..., 2:]
    return np.concatenate([np.minimum(first, second), np.maximum(first, second)], axis=-1)


def _overlaps(box: Array, boxes: Array) -> Array:
    """Intersection over union of a box and others; 0 where one has no area."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    area = np.prod(box[2:] - box[:2])
    union = area + areas - shared
    return np.where((area > 0) & (areas > 0) & (union > 0), shared / np.where(union > 0, union, 1), 0)


def _kept(boxes: Array, scores: Array, most: int, overlap: float) -> list[int]:
    """Return indices of the boxes that no better one overlaps by more than ``overlap``, the best first."""
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while order.size and len(kept) < most:
        best, order = order[0], order[1:]
        kept.append(int(best))
        order = order[_overlaps(boxes[best], boxes[order]) <= np.float32(overlap)]
    return kept


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
    most = _number(ctx, "max_output_boxes_per_class", max_output_boxes_per_class)
    overlap = _number(ctx, "iou_threshold", iou_threshold) or 0.0
    least = _number(ctx, "score_threshold", score_threshold)
    limits = _corners(ctx.array("boxes", boxes), bool(center_point_box))
    points = ctx.array("scores", scores)
    rows = []
    for image, index in np.ndindex(*points.shape[:2]) if most and points.size else ():
        values = points[image, index]
        chosen = np.arange(values.size) if least is None else np.flatnonzero(values > np.float32(least))
        found = _kept(limits[image, chosen], values[chosen], int(most or 0), overlap)
        rows += [(image, index, int(chosen[i])) for i in found]
    return Constant(np.array(rows, np.int64).reshape(-1, 3))


def _number(ctx: Context, name: str, value: Value | None) -> float | None:
    if value is None or 0 in value.shape:
        return None
    array = ctx.array(name, value)
    if array.size != 1:
        raise ShapeError(f"{name}: expected one number, got shape {array.shape}")
    return float(array.reshape(()))


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
