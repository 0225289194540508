"""Convolutions of 8-bit integers on numpy arrays.

Each is a plan made and run once (:mod:`fastconv.qconv`); who calls a convolution often keeps a ``QConv2d``.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from fastconv import _arguments as arguments
from fastconv._geometry import check_channels
from fastconv._kept_kind import kept_kind
from fastconv._types import Activation, Layout1d, Layout2d, Layout3d, Padding, PaddingMode
from fastconv.qconv import IntegerPlan


@kept_kind("x", half=False)
def qconv2d(
    x: Any,
    w: Any,
    bias: Any = None,
    stride: int | tuple[int, int] = 1,
    padding: Padding = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    *,
    x_zero_point: Any = 0,
    w_zero_point: Any = 0,
    x_scale: Any = None,
    w_scale: Any = None,
    out_scale: Any = None,
    out_zero_point: Any = 0,
    out_dtype: Any = None,
    layout: Layout2d = "NCHW",
    activation: Activation = None,
    algorithm: str = "auto",
    padding_mode: PaddingMode = "zeros",
    out: Any = None,
) -> NDArray[Any]:
    """Convolve a batch of images of 8-bit integers: :func:`conv2d` of ``x - x_zero_point``.

    The filters are ``w - w_zero_point``, and around the image there is `x_zero_point`, which stands for 0.
    The sums are exact on every processor and by every algorithm, modulo 2**32. Without scales they are the
    result, as of ONNX's ConvInteger. With `x_scale` and `w_scale` they are multiplied by both, in float32.
    With `out_scale` too the result is quantised anew, as of QLinearConv: ``sums * (x_scale * w_scale /
    out_scale)`` in float32, rounded to nearest, ties to even, plus `out_zero_point`, saturated.

    Parameters
    ----------
    x : array, shape (n, ic, h, w), or (n, h, w, ic) with ``layout="NHWC"``, uint8 or int8
        Any strides; anything with ``__dlpack__`` or ``__array__``.
    w : array, shape (oc, ic / groups, kh, kw), uint8 or int8
        The filters, in this order for both layouts.
    bias : array, shape (oc,), int32, optional
        Added to the sums; where the result is float32 it may be float32, and is added to that.
    stride, padding, dilation, groups
        As for :func:`conv2d`.
    x_zero_point : int
        A number of x's type.
    w_zero_point : int or array, shape (oc,)
        Numbers of w's type: one, or one for each output channel.
    x_scale : float, optional
    w_scale : float or array, shape (oc,), float32, optional
    out_scale : float, optional
    out_zero_point : int
        A number of the result's type.
    out_dtype : dtype, optional
        uint8, the default, or int8, with `out_scale`.
    layout : {"NCHW", "NHWC"}
        Layout of `x` and the result.
    activation : str or tuple, optional
        "relu", "relu6" or ``("clamp", low, high)``, of the real numbers that the results stand for; with
        scales.
    algorithm : str
        "auto", "depthwise", "winograd_f4", "winograd_f2" or "dense"; the result is the same by each.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        What the padding is, as for :func:`conv2d`; "zeros" stands for `x_zero_point`.
    out : array of the result's shape and type, optional
        Receives the result; it may not overlap `x` or `w`.

    Returns
    -------
    array, shape (n, oc, oh, ow), or (n, oh, ow, oc) with ``layout="NHWC"``
        int32, float32, or of `out_dtype`.

    Raises
    ------
    ShapeError, ArgumentError, DTypeError
        Named after the argument at fault: ``w: expected ic/groups = 32 channels, got 64``.

    See Also
    --------
    QConv2d : a convolution whose filters are packed once
    qgemm : the same of matrices

    Examples
    --------
    >>> import numpy as np
    >>> x, w = np.full((1, 1, 3, 3), 130, np.uint8), np.array([[[[1, -2], [3, 4]]]], np.int8)
    >>> qconv2d(x, w, x_zero_point=128)[0, 0]
    array([[12, 12],
           [12, 12]], dtype=int32)
    >>> qconv2d(x, w, x_zero_point=128, x_scale=0.5, w_scale=0.25, out_scale=1.0, out_zero_point=10)[0, 0]
    array([[12, 12],
           [12, 12]], dtype=uint8)
    """
    return _convolve(
        x, w, out, layout, 2,
        bias=bias, stride=stride, padding=padding, dilation=dilation, groups=groups,
        x_zero_point=x_zero_point, w_zero_point=w_zero_point, x_scale=x_scale, w_scale=w_scale,
        out_scale=out_scale, out_zero_point=out_zero_point, out_dtype=out_dtype,
        activation=activation, algorithm=algorithm, padding_mode=padding_mode,
    )  # fmt: skip


@kept_kind("x", half=False)
def qconv1d(
    x: Any,
    w: Any,
    bias: Any = None,
    stride: int | tuple[int] = 1,
    padding: Padding = 0,
    dilation: int | tuple[int] = 1,
    groups: int = 1,
    *,
    x_zero_point: Any = 0,
    w_zero_point: Any = 0,
    x_scale: Any = None,
    w_scale: Any = None,
    out_scale: Any = None,
    out_zero_point: Any = 0,
    out_dtype: Any = None,
    layout: Layout1d = "NCW",
    activation: Activation = None,
    algorithm: str = "auto",
    padding_mode: PaddingMode = "zeros",
    out: Any = None,
) -> NDArray[Any]:
    """Convolve a batch of sequences of 8-bit integers; :func:`qconv2d` with one spatial dimension.

    Parameters
    ----------
    x : array, shape (n, ic, width), or (n, width, ic) with ``layout="NWC"``, uint8 or int8
    w : array, shape (oc, ic / groups, kw), uint8 or int8
    bias, stride, padding, dilation, groups, layout, activation, algorithm, padding_mode, out
        As for :func:`qconv2d`, of one dimension; padding also (left, right).
    x_zero_point, w_zero_point, x_scale, w_scale, out_scale, out_zero_point, out_dtype
        As for :func:`qconv2d`.

    Returns
    -------
    array, shape (n, oc, ow) or (n, ow, oc)
        int32, float32, or of `out_dtype`.

    Examples
    --------
    >>> import numpy as np
    >>> qconv1d(np.arange(5, dtype=np.uint8).reshape(1, 1, 5), np.full((1, 1, 3), -1, np.int8))
    array([[[-3, -6, -9]]], dtype=int32)
    """
    return _convolve(
        x, w, out, layout, 1,
        bias=bias, stride=stride, padding=padding, dilation=dilation, groups=groups,
        x_zero_point=x_zero_point, w_zero_point=w_zero_point, x_scale=x_scale, w_scale=w_scale,
        out_scale=out_scale, out_zero_point=out_zero_point, out_dtype=out_dtype,
        activation=activation, algorithm=algorithm, padding_mode=padding_mode,
    )  # fmt: skip


@kept_kind("x", half=False)
def qconv3d(
    x: Any,
    w: Any,
    bias: Any = None,
    stride: int | tuple[int, int, int] = 1,
    padding: Padding = 0,
    dilation: int | tuple[int, int, int] = 1,
    groups: int = 1,
    *,
    x_zero_point: Any = 0,
    w_zero_point: Any = 0,
    x_scale: Any = None,
    w_scale: Any = None,
    out_scale: Any = None,
    out_zero_point: Any = 0,
    out_dtype: Any = None,
    layout: Layout3d = "NCDHW",
    activation: Activation = None,
    algorithm: str = "auto",
    padding_mode: PaddingMode = "zeros",
    out: Any = None,
) -> NDArray[Any]:
    """Convolve a batch of volumes or clips of 8-bit integers; :func:`qconv2d` with three spatial dimensions.

    Parameters
    ----------
    x : array, shape (n, ic, d, h, w), or (n, d, h, w, ic) with ``layout="NDHWC"``, uint8 or int8
    w : array, shape (oc, ic / groups, kd, kh, kw), uint8 or int8
    bias, stride, padding, dilation, groups, layout, activation, algorithm, padding_mode, out
        As for :func:`qconv2d`, of three dimensions; padding also as six numbers (starts, then ends).
    x_zero_point, w_zero_point, x_scale, w_scale, out_scale, out_zero_point, out_dtype
        As for :func:`qconv2d`.

    Returns
    -------
    array, shape (n, oc, od, oh, ow) or (n, od, oh, ow, oc)
        int32, float32, or of `out_dtype`.

    Examples
    --------
    >>> import numpy as np
    >>> x, w = np.ones((1, 2, 4, 8, 8), np.int8), np.ones((5, 2, 1, 3, 3), np.int8)
    >>> y = qconv3d(x, w, padding=(0, 1, 1))
    >>> y.shape, y.max()
    ((1, 5, 4, 8, 8), np.int32(18))
    """
    return _convolve(
        x, w, out, layout, 3,
        bias=bias, stride=stride, padding=padding, dilation=dilation, groups=groups,
        x_zero_point=x_zero_point, w_zero_point=w_zero_point, x_scale=x_scale, w_scale=w_scale,
        out_scale=out_scale, out_zero_point=out_zero_point, out_dtype=out_dtype,
        activation=activation, algorithm=algorithm, padding_mode=padding_mode,
    )  # fmt: skip


def _convolve(x: Any, w: Any, out: Any, layout: Any, spatial: int, **layer: Any) -> NDArray[Any]:
    """Plan a convolution for the input at hand, and run it; a mismatch of channels names the weights."""
    channels_last = arguments.is_channels_last(layout, spatial)
    x = arguments.as_bytes("x", x, spatial + 2)
    w = arguments.as_bytes("w", w, spatial + 2)
    check_channels(arguments.logical(x, channels_last), w, layer["groups"])
    plan = IntegerPlan(w, **layer, spatial=spatial, x_dtype=x.dtype)
    return plan.run(x, out, channels_last, w)
