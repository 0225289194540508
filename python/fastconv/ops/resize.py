"""Resizing of images, with the name and meaning of ``torch.nn.functional.interpolate``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from fastconv import _arguments as arguments
from fastconv import _core
from fastconv._arguments import FloatArray
from fastconv._kept_kind import kept_kind
from fastconv._types import ArrayLike, Layout2d
from fastconv.errors import ArgumentError, ShapeError


@kept_kind("x")
def interpolate(
    x: ArrayLike,
    size: int | tuple[int, int] | None = None,
    scale_factor: float | tuple[float, float] | None = None,
    mode: Literal["nearest", "bilinear"] = "nearest",
    align_corners: bool = False,
    *,
    layout: Layout2d = "NCHW",
    out: Any = None,
) -> FloatArray:
    """Resize a batch of images.

    Parameters
    ----------
    x : array, shape (n, c, h, w), or (n, h, w, c) with ``layout="NHWC"``, float32
        Any strides; anything with ``__dlpack__`` or ``__array__``.
    size : int or (int, int), optional
        The result's height and width.
    scale_factor : float or (float, float), optional
        Instead of `size`: the result is ``floor(scale_factor * size)`` large, and `scale_factor` itself maps
        its pixels to those of `x`, as in torch, which makes two exceptions: an axis whose size stays is
        copied, and nearest maps by the sizes where the result is twice as large.
    mode : {"nearest", "bilinear"}
        Without smoothing, as in torch: an image made much smaller is sampled.
    align_corners : bool
        Bilinear only: the centres of the corner pixels stay where they are, otherwise the image's corners do.
    layout : {"NCHW", "NHWC"}
        Layout of `x` and the result.
    out : array of the result's shape, float32, optional
        Receives the result; it may not overlap `x`.

    Returns
    -------
    array, shape (n, c, oh, ow), or (n, oh, ow, c) with ``layout="NHWC"``, float32

    Raises
    ------
    ShapeError, ArgumentError, DTypeError
        Named after the argument at fault.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.float32([[[[1, 2], [3, 4]]]])
    >>> interpolate(x, scale_factor=2)[0, 0, 0]
    array([1., 1., 2., 2.], dtype=float32)
    >>> interpolate(x, size=(1, 3), mode="bilinear")[0, 0]
    array([[2. , 2.5, 3. ]], dtype=float32)
    """
    channels_last = arguments.is_channels_last(layout)
    x = arguments.logical(arguments.as_array("x", x, rank=4), channels_last)
    if not isinstance(mode, str) or mode not in ("nearest", "bilinear"):
        raise ArgumentError(f"mode: expected 'nearest' or 'bilinear', got {arguments.shown(mode)}")
    align_corners = arguments.flag("align_corners", align_corners)
    if align_corners and mode == "nearest":
        raise ArgumentError("align_corners: expected False with mode='nearest', got True")
    n, c, *image = x.shape
    if 0 in image:
        raise ShapeError(f"x: expected a height and width of at least 1, got {image[0]} x {image[1]}")
    (oh, scale_h), (ow, scale_w) = _sizes_and_scales(image, size, scale_factor, mode)

    y = arguments.output(out, (n, c, oh, ow), x, channels_last)
    if mode == "nearest":
        _core.resize2d(x, y, "nearest", "pytorch_asymmetric", "floor", scale_h, scale_w)
    else:
        coordinates = "align_corners" if align_corners else "half_pixel"
        _core.resize2d(x, y, "linear", coordinates, "floor", scale_h, scale_w)
    return arguments.physical(y, channels_last) if out is None else out


def _sizes_and_scales(
    image: Sequence[int], size: Any, scale_factor: Any, mode: str
) -> list[tuple[int, tuple[float, float]]]:
    """Return each axis's output size, and its scale (output, input) for the coordinates."""
    if (size is None) == (scale_factor is None):
        both = f"{arguments.shown(size)} and {arguments.shown(scale_factor)}"
        raise ArgumentError(f"size: expected either it or scale_factor, got {both}")
    if size is not None:
        return [(out, (out, n)) for n, out in zip(image, arguments.pair("size", size, 1), strict=True)]
    result = []
    for n, scale in zip(image, _scales(scale_factor), strict=True):
        if not 1 <= n * scale < 2**31:
            raise ArgumentError(
                f"scale_factor: expected a result of at least 1 pixel (below 2**31), got {n * scale:g}"
            )
        out = math.floor(n * scale)
        # A factor that is the sizes' ratio stands for it. torch copies along an axis that stays, and its
        # nearest takes the sizes' ratio where the result is twice as large too.
        ratio = scale == out / n or out == n or (mode == "nearest" and out == 2 * n)
        result.append((out, (out, n) if ratio else (scale, 1.0)))
    return result


def _scales(scale_factor: Any) -> tuple[float, float]:
    values = scale_factor if isinstance(scale_factor, Sequence | np.ndarray) else (scale_factor, scale_factor)
    if isinstance(values, np.ndarray) and values.ndim == 0:
        values = (values, values)
    if isinstance(values, str | bytes) or len(values) != 2:
        raise ArgumentError(
            f"scale_factor: expected a number or 2 of them, got {arguments.shown(scale_factor)}"
        )
    h, w = (arguments.number("scale_factor", value) for value in values)
    if not (0 < h < math.inf and 0 < w < math.inf):
        raise ArgumentError(f"scale_factor: expected numbers above 0, got {arguments.shown(scale_factor)}")
    return h, w
