"""Pooling of images, with the names and meanings of ``torch.nn.functional``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv import _arguments as arguments
from fastconv import _core
from fastconv._arguments import FloatArray
from fastconv._kept_kind import kept_kind
from fastconv._types import ArrayLike, Layout1d, Layout2d, Layout3d
from fastconv.errors import ArgumentError, ShapeError

Size = int | tuple[int, int]


@kept_kind("x")
def max_pool2d(
    x: ArrayLike,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    *,
    layout: Layout2d = "NCHW",
    out: Any = None,
) -> FloatArray:
    """Return the maximum of each window of an image.

    Parameters
    ----------
    x : array, shape (n, c, h, w), or (n, h, w, c) with ``layout="NHWC"``, float32
        Any strides; anything with ``__dlpack__`` or ``__array__``.
    kernel_size, stride, padding, dilation : int or (int, int)
        Of height and width. `stride` is `kernel_size` by default; `padding` is at most half the window, and
        never a maximum.
    ceil_mode : bool
        Round the output's size up: a last window may hang over the padded image, but not begin beyond it.
    layout : {"NCHW", "NHWC"}
        Layout of `x` and the result.
    out : array of the result's shape, float32, optional
        Receives the result; it may not overlap `x`.

    Returns
    -------
    array, shape (n, c, oh, ow), or (n, oh, ow, c) with ``layout="NHWC"``, float32
        NaN wherever the window holds NaN.

    Raises
    ------
    ShapeError, ArgumentError, DTypeError
        Named after the argument at fault.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> max_pool2d(x, 2)[0, 0]
    array([[ 5.,  7.],
           [13., 15.]], dtype=float32)
    """
    pool = _Pool(x, kernel_size, stride, padding, dilation, ceil_mode, layout, out)
    _core.max_pool2d(pool.x, pool.y, pool.kernel, pool.stride, pool.dilation, pool.padding, pool.padding)
    return pool.result()


@kept_kind("x")
def avg_pool2d(
    x: ArrayLike,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    *,
    layout: Layout2d = "NCHW",
    out: Any = None,
) -> FloatArray:
    """Return the mean of each window of an image.

    Parameters
    ----------
    x, kernel_size, stride, padding, ceil_mode, layout, out
        As for :func:`max_pool2d`; padding counts as zeros.
    count_include_pad : bool
        Divide by the number of elements of the window that lie in the padded image, otherwise in the image.

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
    >>> x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> avg_pool2d(x, 2)[0, 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]], dtype=float32)
    """
    pool = _Pool(x, kernel_size, stride, padding, 1, ceil_mode, layout, out)
    _core.avg_pool2d(
        pool.x,
        pool.y,
        pool.kernel,
        pool.stride,
        pool.padding,
        pool.padding,
        arguments.flag("count_include_pad", count_include_pad),
    )
    return pool.result()


@kept_kind("x")
def global_avg_pool2d(x: ArrayLike, *, layout: Layout2d = "NCHW", out: Any = None) -> FloatArray:
    """Return the mean of each channel of an image (torch: ``adaptive_avg_pool2d(x, 1)``).

    Parameters
    ----------
    x : array, shape (n, c, h, w), or (n, h, w, c) with ``layout="NHWC"``, float32
    layout : {"NCHW", "NHWC"}
        Layout of `x` and the result.
    out : array of the result's shape, float32, optional
        Receives the result; it may not overlap `x`.

    Returns
    -------
    array, shape (n, c, 1, 1), or (n, 1, 1, c) with ``layout="NHWC"``, float32

    Raises
    ------
    ShapeError, ArgumentError, DTypeError
        Named after the argument at fault; an image without a pixel has no mean.

    Examples
    --------
    >>> import numpy as np
    >>> global_avg_pool2d(np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)).ravel()
    array([1.5, 5.5], dtype=float32)
    """
    channels_last = arguments.is_channels_last(layout)
    x = arguments.logical(arguments.as_array("x", x, rank=4), channels_last)
    n, c, height, width = x.shape
    if height == 0 or width == 0:
        raise ShapeError(f"x: expected a height and width of at least 1, got {height} x {width}")
    y = arguments.output(out, (n, c, 1, 1), x, channels_last)
    _core.reduce("mean", x, y)
    return arguments.physical(y, channels_last) if out is None else out


@kept_kind("x")
def max_pool1d(
    x: ArrayLike,
    kernel_size: int,
    stride: int | None = None,
    padding: int = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
    *,
    layout: Layout1d = "NCW",
    out: Any = None,
) -> FloatArray:
    """Return the maximum of each window of a sequence; :func:`max_pool2d` with one spatial dimension.

    Parameters
    ----------
    x : array, shape (n, c, width), or (n, width, c) with ``layout="NWC"``, float32
    kernel_size, stride, padding, dilation, ceil_mode, layout, out
        As for :func:`max_pool2d`, of one dimension.

    Returns
    -------
    array, shape (n, c, ow) or (n, ow, c), float32

    Examples
    --------
    >>> import numpy as np
    >>> max_pool1d(np.arange(6, dtype=np.float32).reshape(1, 1, 6), 2)
    array([[[1., 3., 5.]]], dtype=float32)
    """
    options = {"dilation": (1, _one("dilation", dilation, 1)), "ceil_mode": ceil_mode}
    return _of_rows(max_pool2d, x, kernel_size, stride, padding, layout, out, **options)


@kept_kind("x")
def avg_pool1d(
    x: ArrayLike,
    kernel_size: int,
    stride: int | None = None,
    padding: int = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    *,
    layout: Layout1d = "NCW",
    out: Any = None,
) -> FloatArray:
    """Return the mean of each window of a sequence; :func:`avg_pool2d` with one spatial dimension.

    Parameters
    ----------
    x : array, shape (n, c, width), or (n, width, c) with ``layout="NWC"``, float32
    kernel_size, stride, padding, ceil_mode, count_include_pad, layout, out
        As for :func:`avg_pool2d`, of one dimension.

    Returns
    -------
    array, shape (n, c, ow) or (n, ow, c), float32

    Examples
    --------
    >>> import numpy as np
    >>> avg_pool1d(np.arange(6, dtype=np.float32).reshape(1, 1, 6), 2)
    array([[[0.5, 2.5, 4.5]]], dtype=float32)
    """
    options = {"ceil_mode": ceil_mode, "count_include_pad": count_include_pad}
    return _of_rows(avg_pool2d, x, kernel_size, stride, padding, layout, out, **options)


@kept_kind("x")
def max_pool3d(
    x: ArrayLike,
    kernel_size: int | tuple[int, int, int],
    stride: int | tuple[int, int, int] | None = None,
    padding: int | tuple[int, int, int] = 0,
    dilation: int | tuple[int, int, int] = 1,
    ceil_mode: bool = False,
    *,
    layout: Layout3d = "NCDHW",
    out: Any = None,
) -> FloatArray:
    """Return the maximum of each window of a volume; :func:`max_pool2d` with three spatial dimensions.

    Parameters
    ----------
    x : array, shape (n, c, d, h, w), or (n, d, h, w, c) with ``layout="NDHWC"``, float32
    kernel_size, stride, padding, dilation, ceil_mode, layout, out
        As for :func:`max_pool2d`, of three dimensions.

    Returns
    -------
    array, shape (n, c, od, oh, ow) or (n, od, oh, ow, c), float32

    Examples
    --------
    >>> import numpy as np
    >>> max_pool3d(np.arange(8, dtype=np.float32).reshape(1, 1, 2, 2, 2), 2).ravel()
    array([7.], dtype=float32)
    """
    options = {"dilation": dilation, "ceil_mode": ceil_mode}
    return _of_volumes(max_pool2d, x, kernel_size, stride, padding, layout, out, **options)


@kept_kind("x")
def avg_pool3d(
    x: ArrayLike,
    kernel_size: int | tuple[int, int, int],
    stride: int | tuple[int, int, int] | None = None,
    padding: int | tuple[int, int, int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    *,
    layout: Layout3d = "NCDHW",
    out: Any = None,
) -> FloatArray:
    """Return the mean of each window of a volume; :func:`avg_pool2d` with three spatial dimensions.

    Parameters
    ----------
    x : array, shape (n, c, d, h, w), or (n, d, h, w, c) with ``layout="NDHWC"``, float32
    kernel_size, stride, padding, ceil_mode, count_include_pad, layout, out
        As for :func:`avg_pool2d`, of three dimensions.

    Returns
    -------
    array, shape (n, c, od, oh, ow) or (n, od, oh, ow, c), float32

    Examples
    --------
    >>> import numpy as np
    >>> avg_pool3d(np.arange(8, dtype=np.float32).reshape(1, 1, 2, 2, 2), 2).ravel()
    array([3.5], dtype=float32)
    """
    options = {"ceil_mode": ceil_mode, "count_include_pad": count_include_pad}
    return _of_volumes(avg_pool2d, x, kernel_size, stride, padding, layout, out, **options)


def _one(name: str, value: Any, least: int) -> int:
    (number,) = arguments.integers(name, value, 1, least)
    return number


def _of_rows(
    pool: Callable[..., FloatArray],
    x: Any, kernel_size: Any, stride: Any, padding: Any, layout: Any, out: Any, **options: Any,
) -> FloatArray:  # fmt: skip
    """Pool sequences, as images of one row."""
    channels_last = arguments.is_channels_last(layout, 1)
    x = arguments.as_array("x", x, rank=3)
    axis = 1 if channels_last else 2
    y = pool(
        np.expand_dims(x, axis),
        (1, _one("kernel_size", kernel_size, 1)),
        None if stride is None else (1, _one("stride", stride, 1)),
        (0, _one("padding", padding, 0)),
        layout="NHWC" if channels_last else "NCHW",
        **options,
    ).squeeze(axis)
    if out is None:
        return y
    result: FloatArray = arguments.checked_output(out, y.shape, [x])
    np.copyto(result, y)
    return result


def _of_volumes(
    pool: Callable[..., FloatArray],
    x: Any, kernel_size: Any, stride: Any, padding: Any, layout: Any, out: Any, dilation: Any = None,
    **options: Any,
) -> FloatArray:  # fmt: skip
    """Pool volumes slice by slice, then along the slices: windows are boxes, so that axes follow axes."""
    channels_last = arguments.is_channels_last(layout, 3)
    x = arguments.as_array("x", x, rank=5)
    kernel = arguments.integers("kernel_size", kernel_size, 3, 1)
    steps = kernel if stride is None else arguments.integers("stride", stride, 3, 1)
    pads = arguments.integers("padding", padding, 3, 0)
    spread = None if dilation is None else arguments.integers("dilation", dilation, 3, 1)
    options["layout"] = "NHWC" if channels_last else "NCHW"

    def pooled(image: FloatArray, of: slice, *one: int) -> FloatArray:
        """Pool an image along some of the three dimensions; a window of one pixel has the others."""
        dilated = {} if spread is None else {"dilation": (*spread[of], *one)}
        rest = {"padding": (*pads[of], *(0 for _ in one)), **dilated, **options}
        return pool(image, (*kernel[of], *one), (*steps[of], *one), **rest)

    n, *sizes = x.shape
    d, h, w, c = sizes if channels_last else (*sizes[1:], sizes[0])
    slices = pooled(x.reshape((n * d, h, w, c) if channels_last else (n, c * d, h, w)), slice(1, 3))
    oh, ow = slices.shape[1:3] if channels_last else slices.shape[2:]
    columns = slices.reshape((n, d, oh * ow, c) if channels_last else (n, c, d, oh * ow))
    boxes = pooled(columns, slice(0, 1), 1)
    od = boxes.shape[1 if channels_last else 2]
    y = boxes.reshape((n, od, oh, ow, c) if channels_last else (n, c, od, oh, ow))
    if out is None:
        return y
    result: FloatArray = arguments.checked_output(out, y.shape, [x])
    np.copyto(result, y)
    return result


class _Pool:
    """The checked arguments of a pooling layer: x and y in logical order, pairs of integers."""

    def __init__(
        self,
        x: Any,
        kernel_size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        ceil_mode: Any,
        layout: str,
        out: Any,
    ) -> None:
        self.channels_last = arguments.is_channels_last(layout)
        self.x = arguments.logical(arguments.as_array("x", x, rank=4), self.channels_last)
        self.kernel = arguments.pair("kernel_size", kernel_size, 1)
        self.stride = self.kernel if stride is None else arguments.pair("stride", stride, 1)
        self.padding = arguments.pair("padding", padding, 0)
        self.dilation = arguments.pair("dilation", dilation, 1)
        for pad, kernel, step in zip(self.padding, self.kernel, self.dilation, strict=True):
            window = (kernel - 1) * step + 1
            if pad > window // 2:
                raise ArgumentError(f"padding: expected at most half of the window's {window}, got {pad}")
        n, c, height, width = self.x.shape
        oh, ow, _, _ = _core.pool_out_shape(
            height,
            width,
            self.kernel,
            self.stride,
            self.dilation,
            self.padding,
            self.padding,
            arguments.flag("ceil_mode", ceil_mode),
            "explicit",
        )
        self.out = out
        self.y = arguments.output(out, (n, c, oh, ow), self.x, self.channels_last)

    def result(self) -> FloatArray:
        """Return the output in the caller's layout: `out` itself where it was given."""
        y: FloatArray = self.out if self.out is not None else arguments.physical(self.y, self.channels_last)
        return y
