"""Pixels of images in other places, with the names and meanings of ``torch.nn.functional``."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from fastconv import _arguments as arguments
from fastconv import _core
from fastconv._arguments import FloatArray
from fastconv._kept_kind import kept_kind
from fastconv._types import ArrayLike, Layout2d
from fastconv.errors import ArgumentError, ShapeError

_MODES = {"bilinear": "linear", "nearest": "nearest", "bicubic": "cubic"}
_PADDING_MODES = ("zeros", "border", "reflection")
_TOGETHER = 8  # channels from which on it pays to bring those of a pixel together


@kept_kind("x")
def pixel_shuffle(
    x: ArrayLike, upscale_factor: int, *, layout: Layout2d = "NCHW", out: Any = None
) -> FloatArray:
    """Make an image larger by a factor r, of groups of r * r channels.

    Parameters
    ----------
    x : array, shape (n, c * r * r, h, w), or (n, h, w, c * r * r) with ``layout="NHWC"``, float32
    upscale_factor : int
        The factor r.
    layout : {"NCHW", "NHWC"}
        Layout of `x` and the result.
    out : array of the result's shape, float32, optional
        Receives the result; it may not overlap `x`.

    Returns
    -------
    array, shape (n, c, h * r, w * r), or (n, h * r, w * r, c) with ``layout="NHWC"``, float32

    Raises
    ------
    ShapeError, ArgumentError, DTypeError
        Named after the argument at fault.

    References
    ----------
    Shi et al.: Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional
    Neural Network, 2016.

    Examples
    --------
    >>> import numpy as np
    >>> pixel_shuffle(np.arange(4, dtype=np.float32).reshape(1, 4, 1, 1), 2)[0, 0]
    array([[0., 1.],
           [2., 3.]], dtype=float32)
    """
    channels_last = arguments.is_channels_last(layout)
    x = arguments.logical(arguments.as_array("x", x, rank=4), channels_last)
    r = arguments.integer("upscale_factor", upscale_factor, 1)
    n, channels, h, w = x.shape
    if channels % (r * r):
        raise ShapeError(f"x: expected a multiple of {r * r} channels, got {channels}")
    c = channels // (r * r)
    y = arguments.output(out, (n, c, h * r, w * r), x, channels_last)
    pixels = _split(_split(y, 2, r), 4, r)  # (n, c, h, r, w, r)
    parts = _split(_split(x, 1, r), 1, r)  # (n, c, r, r, h, w)
    np.copyto(pixels, parts.transpose(0, 1, 4, 2, 5, 3))
    return arguments.physical(y, channels_last) if out is None else out


@kept_kind("x")
def pixel_unshuffle(
    x: ArrayLike, downscale_factor: int, *, layout: Layout2d = "NCHW", out: Any = None
) -> FloatArray:
    """Make an image smaller by a factor r, into r * r times the channels: undo :func:`pixel_shuffle`.

    Parameters
    ----------
    x : array, shape (n, c, h * r, w * r), or (n, h * r, w * r, c) with ``layout="NHWC"``, float32
    downscale_factor : int
        The factor r.
    layout, out
        As for :func:`pixel_shuffle`.

    Returns
    -------
    array, shape (n, c * r * r, h, w), or (n, h, w, c * r * r) with ``layout="NHWC"``, float32

    Examples
    --------
    >>> import numpy as np
    >>> pixel_unshuffle(np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2), 2).ravel()
    array([0., 1., 2., 3.], dtype=float32)
    """
    channels_last = arguments.is_channels_last(layout)
    x = arguments.logical(arguments.as_array("x", x, rank=4), channels_last)
    r = arguments.integer("downscale_factor", downscale_factor, 1)
    n, c, height, width = x.shape
    if height % r or width % r:
        raise ShapeError(f"x: expected a height and width that {r} divides, got {height} x {width}")
    y = arguments.output(out, (n, c * r * r, height // r, width // r), x, channels_last)
    pixels = _split(_split(x, 2, r), 4, r)
    parts = _split(_split(y, 1, r), 1, r)
    np.copyto(parts, pixels.transpose(0, 1, 3, 5, 2, 4))
    return arguments.physical(y, channels_last) if out is None else out


def _split(x: FloatArray, axis: int, r: int) -> FloatArray:
    """View an axis as two, of which the second has r elements."""
    stride = x.strides[axis]
    shape = (*x.shape[:axis], x.shape[axis] // r, r, *x.shape[axis + 1 :])
    strides = (*x.strides[:axis], stride * r, stride, *x.strides[axis + 1 :])
    return np.lib.stride_tricks.as_strided(x, shape, strides)


@kept_kind("x", "grid")
def grid_sample(
    x: ArrayLike,
    grid: ArrayLike,
    mode: Literal["bilinear", "nearest", "bicubic"] = "bilinear",
    padding_mode: Literal["zeros", "border", "reflection"] = "zeros",
    align_corners: bool = False,
    *,
    layout: Layout2d = "NCHW",
    out: Any = None,
) -> FloatArray:
    """Sample images at the points of a grid.

    Parameters
    ----------
    x : array, shape (n, c, h, w), or (n, h, w, c) with ``layout="NHWC"``, float32
    grid : array, shape (n, oh, ow, 2), float32
        For each pixel of the result where it lies in the image, x first: from -1, the left or upper border,
        to 1. NaN is outside.
    mode : {"bilinear", "nearest", "bicubic"}
    padding_mode : {"zeros", "border", "reflection"}
        What is outside of an image: zeros, its nearest pixel, or the image mirrored at its border.
    align_corners : bool
        Whether -1 and 1 are the centres of the outermost pixels, or their outer edges.
    layout : {"NCHW", "NHWC"}
        Layout of `x` and the result.
    out : array of the result's shape, float32, optional
        Receives the result; it may not overlap `x` or `grid`.

    Returns
    -------
    array, shape (n, c, oh, ow), or (n, oh, ow, c) with ``layout="NHWC"``, float32

    Raises
    ------
    ShapeError, ArgumentError, DTypeError
        Named after the argument at fault.

    References
    ----------
    Jaderberg et al.: Spatial Transformer Networks, 2015.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.float32([[[[1, 2], [3, 4]]]])
    >>> grid_sample(x, np.float32([[[[0, 0], [-0.5, 0.5]]]]))
    array([[[[2.5, 3. ]]]], dtype=float32)
    """
    channels_last = arguments.is_channels_last(layout)
    x = arguments.logical(arguments.as_array("x", x, rank=4), channels_last)
    grid = np.ascontiguousarray(arguments.as_array("grid", grid, rank=4))
    for name, value, known in (("mode", mode, _MODES), ("padding_mode", padding_mode, _PADDING_MODES)):
        if not isinstance(value, str) or value not in known:
            raise ArgumentError(f"{name}: expected one of {', '.join(known)}, got {arguments.shown(value)}")
    align_corners = arguments.flag("align_corners", align_corners)
    n, c, height, width = x.shape
    if height == 0 or width == 0:
        raise ShapeError(f"x: expected a height and width of at least 1, got {height} x {width}")
    if grid.shape[0] != n or grid.shape[3] != 2:
        raise ShapeError(f"grid: expected shape ({n}, oh, ow, 2), got {grid.shape}")
    y = arguments.output(out, (n, c, *grid.shape[1:3]), x, channels_last, [grid])
    if not y.size:
        return arguments.physical(y, channels_last) if out is None else out
    if c >= _TOGETHER and x.strides[1] != x.itemsize:
        image = arguments.logical(arguments.empty((n, height, width, c)), True)
        _core.copy(x, image)
        x = image
    _core.grid_sample(x, grid, y, _MODES[mode], padding_mode, align_corners)
    return arguments.physical(y, channels_last) if out is None else out
