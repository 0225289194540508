"""Pools to a given size, with the names and meanings of ``torch.nn.functional``."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import _arguments as arguments
from fastconv import _core
from fastconv._arguments import FloatArray
from fastconv._kept_kind import kept_kind
from fastconv._types import ArrayLike, Layout1d, Layout2d, Layout3d
from fastconv.errors import ShapeError


@kept_kind("x")
def adaptive_avg_pool1d(
    x: ArrayLike, output_size: int | tuple[int], *, layout: Layout1d = "NCW", out: Any = None
) -> FloatArray:
    """Return the mean of so many windows of a sequence; :func:`adaptive_avg_pool2d` of one dimension.

    Parameters
    ----------
    x : array, shape (n, c, width), or (n, width, c) with ``layout="NWC"``, float32
    output_size, layout, out
        As for :func:`adaptive_avg_pool2d`, of one dimension.

    Returns
    -------
    array, shape (n, c, ow) or (n, ow, c), float32

    Examples
    --------
    >>> import numpy as np
    >>> adaptive_avg_pool1d(np.arange(5, dtype=np.float32).reshape(1, 1, 5), 2)
    array([[[1., 3.]]], dtype=float32)
    """
    return _adapted("mean", x, output_size, layout, out, 1)


@kept_kind("x")
def adaptive_avg_pool2d(
    x: ArrayLike,
    output_size: int | tuple[int | None, int | None],
    *,
    layout: Layout2d = "NCHW",
    out: Any = None,
) -> FloatArray:
    """Return the mean of so many windows of an image, which cover it evenly.

    Window i of o along an axis of n pixels is ``floor(i n / o)`` to ``ceil((i + 1) n / o)``, as in torch.

    Parameters
    ----------
    x : array, shape (n, c, h, w), or (n, h, w, c) with ``layout="NHWC"``, float32
        With at least a pixel.
    output_size : int or (int or None, int or None)
        Height and width of the result; None: those of `x`.
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
    >>> adaptive_avg_pool2d(np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4), (1, 2)).ravel()
    array([4.5, 6.5], dtype=float32)
    """
    return _adapted("mean", x, output_size, layout, out, 2)


@kept_kind("x")
def adaptive_avg_pool3d(
    x: ArrayLike,
    output_size: int | tuple[int | None, int | None, int | None],
    *,
    layout: Layout3d = "NCDHW",
    out: Any = None,
) -> FloatArray:
    """Return the mean of so many windows of a volume; :func:`adaptive_avg_pool2d` of three dimensions.

    Parameters
    ----------
    x : array, shape (n, c, d, h, w), or (n, d, h, w, c) with ``layout="NDHWC"``, float32
    output_size, layout, out
        As for :func:`adaptive_avg_pool2d`, of three dimensions.

    Returns
    -------
    array, shape (n, c, od, oh, ow) or (n, od, oh, ow, c), float32

    Examples
    --------
    >>> import numpy as np
    >>> adaptive_avg_pool3d(np.ones((1, 2, 3, 4, 5), np.float32), (2, None, 1)).shape
    (1, 2, 2, 4, 1)
    """
    return _adapted("mean", x, output_size, layout, out, 3)


@kept_kind("x")
def adaptive_max_pool1d(
    x: ArrayLike, output_size: int | tuple[int], *, layout: Layout1d = "NCW", out: Any = None
) -> FloatArray:
    """Return the maximum of so many windows of a sequence; :func:`adaptive_max_pool2d` of one dimension.

    Parameters
    ----------
    x : array, shape (n, c, width), or (n, width, c) with ``layout="NWC"``, float32
    output_size, layout, out
        As for :func:`adaptive_max_pool2d`, of one dimension.

    Returns
    -------
    array, shape (n, c, ow) or (n, ow, c), float32

    Examples
    --------
    >>> import numpy as np
    >>> adaptive_max_pool1d(np.arange(5, dtype=np.float32).reshape(1, 1, 5), 2)
    array([[[2., 4.]]], dtype=float32)
    """
    return _adapted("max", x, output_size, layout, out, 1)


@kept_kind("x")
def adaptive_max_pool2d(
    x: ArrayLike,
    output_size: int | tuple[int | None, int | None],
    *,
    layout: Layout2d = "NCHW",
    out: Any = None,
) -> FloatArray:
    """Return the maximum of so many windows of an image, which cover it evenly.

    Window i of o along an axis of n pixels is ``floor(i n / o)`` to ``ceil((i + 1) n / o)``, as in torch.

    Parameters
    ----------
    x : array, shape (n, c, h, w), or (n, h, w, c) with ``layout="NHWC"``, float32
        With at least a pixel.
    output_size : int or (int or None, int or None)
        Height and width of the result; None: those of `x`.
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
    >>> adaptive_max_pool2d(np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4), (1, 2)).ravel()
    array([ 9., 11.], dtype=float32)
    """
    return _adapted("max", x, output_size, layout, out, 2)


@kept_kind("x")
def adaptive_max_pool3d(
    x: ArrayLike,
    output_size: int | tuple[int | None, int | None, int | None],
    *,
    layout: Layout3d = "NCDHW",
    out: Any = None,
) -> FloatArray:
    """Return the maximum of so many windows of a volume; :func:`adaptive_max_pool2d` of three dimensions.

    Parameters
    ----------
    x : array, shape (n, c, d, h, w), or (n, d, h, w, c) with ``layout="NDHWC"``, float32
    output_size, layout, out
        As for :func:`adaptive_max_pool2d`, of three dimensions.

    Returns
    -------
    array, shape (n, c, od, oh, ow) or (n, od, oh, ow, c), float32

    Examples
    --------
    >>> import numpy as np
    >>> adaptive_max_pool3d(np.ones((1, 2, 3, 4, 5), np.float32), (2, None, 1)).shape
    (1, 2, 2, 4, 1)
    """
    return _adapted("max", x, output_size, layout, out, 3)


def _adapted(kind: str, x: Any, output_size: Any, layout: Any, out: Any, spatial: int) -> FloatArray:
    """Reduce one axis after the other: the windows are boxes."""
    channels_last = arguments.is_channels_last(layout, spatial)
    x = arguments.logical(arguments.as_array("x", x, rank=spatial + 2), channels_last)
    n, c, *image = x.shape
    if 0 in image:
        raise ShapeError(f"x: expected sizes of at least 1, got {tuple(image)}")
    sizes = _sizes(output_size, image)
    y = arguments.output(out, (n, c, *sizes), x, channels_last)
    axes = [i for i, (size, found) in enumerate(zip(image, sizes, strict=True), 2) if size != found]
    while len(axes) > 1 and y.size:
        axis = axes.pop()
        shape = (*x.shape[:axis], sizes[axis - 2], *x.shape[axis + 1 :])
        x = _reduced(kind, x, axis, arguments.output(None, shape, x, channels_last))
    if not axes or not y.size:
        if y.size:
            np.copyto(y, x)
    else:
        _reduced(kind, x, axes[0], y)
    return arguments.physical(y, channels_last) if out is None else out


def _sizes(output_size: Any, image: list[int]) -> list[int]:
    """Return the sizes of the result."""
    several = output_size if isinstance(output_size, tuple | list) else (output_size,)
    if not any(size is None for size in several):
        return list(arguments.integers("output_size", output_size, len(image), 1))
    if len(several) not in (1, len(image)):
        raise ShapeError(f"output_size: expected {len(image)} sizes, got {arguments.shown(output_size)}")
    each = several if len(several) == len(image) else several * len(image)
    return [
        n if m is None else arguments.integer("output_size", m, 1) for n, m in zip(image, each, strict=True)
    ]


def _reduced(kind: str, x: FloatArray, axis: int, y: FloatArray) -> FloatArray:
    """Reduce each window along an axis of x to a pixel of y."""
    size, found = x.shape[axis], y.shape[axis]
    before = (slice(None),) * axis
    for i in range(found):
        window = slice(i * size // found, -(-(i + 1) * size // found))
        _core.reduce(kind, x[(*before, window)], y[(*before, slice(i, i + 1))])
    return y
