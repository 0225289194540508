"""Convolutions on numpy arrays, with the names and meanings of ``torch.nn.functional``.

Each is a plan made and run once (:mod:`fastconv.conv`); who calls a convolution often keeps a ``Conv2d``.
"""

from __future__ import annotations

from typing import Any

from fastconv import _arguments as arguments
from fastconv import _core
from fastconv._geometry import border_of, check_channels
from fastconv._kept_kind import kept_kind
from fastconv._types import (
    Activation,
    ArrayLike,
    Given,
    Layout1d,
    Layout2d,
    Layout3d,
    Numbers,
    Padding,
    PaddingMode,
    Precision,
)
from fastconv.conv import plan, run


def algorithms() -> list[str]:
    """Return the names that ``algorithm=`` takes besides "auto", in the order in which "auto" tries them.

    Examples
    --------
    >>> algorithms()[:5]
    ['depthwise', 'direct', 'sparse_planes', 'sparse_panels', 'codebook']
    >>> algorithms()[5:]
    ['bf16', 'winograd_f4', 'winograd_f2', 'planar_direct', 'planar', 'implicit', 'im2col', 'reference']
    """
    return _core.algorithms()


@kept_kind("x", "w", "bias", "residual")
def conv2d(
    x: Given | Numbers,
    w: ArrayLike,
    bias: ArrayLike | None = None,
    stride: int | tuple[int, int] = 1,
    padding: Padding = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    *,
    layout: Layout2d = "NCHW",
    activation: Activation = None,
    residual: ArrayLike | None = None,
    algorithm: str = "auto",
    precision: Precision = "fast",
    padding_mode: PaddingMode = "zeros",
    out: Any = None,
) -> Given:
    """Convolve a batch of images (cross-correlate, as every deep-learning framework does).

    Parameters
    ----------
    x : array, shape (n, ic, h, w), or (n, h, w, ic) with ``layout="NHWC"``, float32
        Any strides; anything with ``__dlpack__`` or ``__array__``.
    w : array, shape (oc, ic / groups, kh, kw), float32
        The filters, in this order for both layouts.
    bias : array, shape (oc,), float32, optional
    stride, dilation : int or (int, int)
        Of height and width; dilation 1 is a dense kernel.
    padding : int, (int, int), (top, left, bottom, right), "same" or "valid"
        Zeros around the image. "same" makes the result ``ceil(size / stride)`` large, an odd pixel of padding
        going to the bottom and right (torch's for stride 1, TensorFlow's for any).
    groups : int
        Input and output channels are cut into so many independent groups; ``groups == ic`` is depthwise.
    layout : {"NCHW", "NHWC"}
        Layout of `x`, `residual` and the result.
    activation : str or tuple, optional
        "relu", "relu6", "leaky_relu", "sigmoid", "silu", "hardswish", "hardsigmoid", "gelu", "tanh", "elu",
        or a name with its parameters: ``("leaky_relu", 0.1)``, ``("clamp", -1.0, 1.0)``.
    residual : array of the result's shape, float32, optional
        Added before the activation.
    algorithm : str
        "auto", or a name of :func:`fastconv.algorithms`.
    precision : {"fast", "exact", "bf16"}
        "fast" allows algorithms that trade exactness for fewer multiplications, F(4x4, 3x3) Winograd with a
        relative RMS error of about 2e-6; "exact" takes only those as accurate as a sum of the products;
        "bf16" besides allows `x` and `w` to be rounded to bfloat16 where that is faster, with products
        summed in float32 and a relative RMS error of about 3e-3.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        What the padding holds: zeros, the image mirrored at its border pixel, that pixel, or the image over
        again, as in ``torch.nn.Conv2d``. All but zeros are a copy of the image.
    out : array of the result's shape, float32, optional
        Receives the result; it may not overlap `x`, `w` or `residual`.

    Returns
    -------
    array, shape (n, oc, oh, ow), or (n, oh, ow, oc) with ``layout="NHWC"``, float32

    Raises
    ------
    ShapeError, ArgumentError, DTypeError
        Named after the argument at fault: ``w: expected ic/groups = 32 channels, got 64``.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> conv2d(x, np.ones((1, 1, 2, 2), np.float32), stride=2)[0, 0]
    array([[10., 18.],
           [42., 50.]], dtype=float32)
    """
    channels_last = arguments.is_channels_last(layout)
    x, padding = _bordered(x, w, stride, padding, dilation, padding_mode, channels_last, 2)
    conv = _plan_for(
        x, w, bias, stride, padding, dilation, groups, activation, algorithm, channels_last, 2, precision
    )
    y: Given = run(conv, x, residual, out, channels_last, 2, w)
    return y


@kept_kind("x", "w", "bias", "residual")
def conv1d(
    x: Given | Numbers,
    w: ArrayLike,
    bias: ArrayLike | None = None,
    stride: int | tuple[int] = 1,
    padding: Padding = 0,
    dilation: int | tuple[int] = 1,
    groups: int = 1,
    *,
    layout: Layout1d = "NCW",
    activation: Activation = None,
    residual: ArrayLike | None = None,
    algorithm: str = "auto",
    padding_mode: PaddingMode = "zeros",
    out: Any = None,
) -> Given:
    """Convolve a batch of sequences; :func:`conv2d` with one spatial dimension.

    Parameters
    ----------
    x : array, shape (n, ic, width), or (n, width, ic) with ``layout="NWC"``, float32
    w : array, shape (oc, ic / groups, kw), float32
    bias, stride, padding, dilation, groups, layout, activation, residual, algorithm, padding_mode, out
        As for :func:`conv2d`, of one dimension; padding also (left, right).

    Returns
    -------
    array, shape (n, oc, ow) or (n, ow, oc), float32

    Examples
    --------
    >>> import numpy as np
    >>> conv1d(np.arange(5, dtype=np.float32).reshape(1, 1, 5), np.ones((1, 1, 3), np.float32))
    array([[[3., 6., 9.]]], dtype=float32)
    """
    channels_last = arguments.is_channels_last(layout, 1)
    x, padding = _bordered(x, w, stride, padding, dilation, padding_mode, channels_last, 1)
    conv = _plan_for(x, w, bias, stride, padding, dilation, groups, activation, algorithm, channels_last, 1)
    y: Given = run(conv, x, residual, out, channels_last, 1, w)
    return y


@kept_kind("x", "w", "bias", "residual")
def conv3d(
    x: Given | Numbers,
    w: ArrayLike,
    bias: ArrayLike | None = None,
    stride: int | tuple[int, int, int] = 1,
    padding: Padding = 0,
    dilation: int | tuple[int, int, int] = 1,
    groups: int = 1,
    *,
    layout: Layout3d = "NCDHW",
    activation: Activation = None,
    residual: ArrayLike | None = None,
    algorithm: str = "auto",
    precision: Precision = "fast",
    padding_mode: PaddingMode = "zeros",
    out: Any = None,
) -> Given:
    """Convolve a batch of volumes or clips; :func:`conv2d` with three spatial dimensions.

    Kernels of 1x3x3 and 3x1x1 (pseudo-3D) cost what they multiply: no dimension of size 1 is padded or looped
    over.

    Parameters
    ----------
    x : array, shape (n, ic, d, h, w), or (n, d, h, w, ic) with ``layout="NDHWC"``, float32
    w : array, shape (oc, ic / groups, kd, kh, kw), float32
    bias, stride, padding, dilation, groups, layout, activation, residual, algorithm, precision,
    padding_mode, out
        As for :func:`conv2d`, of three dimensions; padding also as six numbers (starts, then ends).

    Returns
    -------
    array, shape (n, oc, od, oh, ow) or (n, od, oh, ow, oc), float32

    Examples
    --------
    >>> import numpy as np
    >>> x, w = np.ones((1, 2, 4, 8, 8), np.float32), np.ones((5, 2, 1, 3, 3), np.float32)
    >>> conv3d(x, w, padding=(0, 1, 1)).shape
    (1, 5, 4, 8, 8)
    """
    channels_last = arguments.is_channels_last(layout, 3)
    x, padding = _bordered(x, w, stride, padding, dilation, padding_mode, channels_last, 3)
    conv = _plan_for(
        x, w, bias, stride, padding, dilation, groups, activation, algorithm, channels_last, 3, precision
    )
    y: Given = run(conv, x, residual, out, channels_last, 3, w)
    return y


@kept_kind("x", "w", "bias", "residual")
def conv_transpose1d(
    x: Given | Numbers,
    w: ArrayLike,
    bias: ArrayLike | None = None,
    stride: int | tuple[int] = 1,
    padding: Padding = 0,
    output_padding: int | tuple[int] = 0,
    groups: int = 1,
    dilation: int | tuple[int] = 1,
    *,
    layout: Layout1d = "NCW",
    activation: Activation = None,
    residual: ArrayLike | None = None,
    algorithm: str = "auto",
    out: Any = None,
) -> Given:
    """Transposed convolution of sequences; :func:`conv_transpose2d` with one spatial dimension.

    Parameters
    ----------
    x : array, shape (n, ic, width), or (n, width, ic) with ``layout="NWC"``, float32
    w : array, shape (ic, oc / groups, kw), float32
    bias, stride, padding, output_padding, groups, dilation, layout, activation, residual, algorithm, out
        As for :func:`conv_transpose2d`, of one dimension.

    Returns
    -------
    array, shape (n, oc, ow) or (n, ow, oc), float32

    Examples
    --------
    >>> import numpy as np
    >>> x, w = np.ones((1, 3, 2), np.float32), np.ones((3, 5, 2), np.float32)
    >>> conv_transpose1d(x, w, stride=2).shape
    (1, 5, 4)
    """
    channels_last = arguments.is_channels_last(layout, 1)
    conv = _transposed(
        x, w, bias, stride, padding, output_padding, groups, dilation, activation, algorithm, channels_last, 1
    )
    y: Given = run(conv, x, residual, out, channels_last, 1, w)
    return y


@kept_kind("x", "w", "bias", "residual")
def conv_transpose2d(
    x: Given | Numbers,
    w: ArrayLike,
    bias: ArrayLike | None = None,
    stride: int | tuple[int, int] = 1,
    padding: Padding = 0,
    output_padding: int | tuple[int, int] = 0,
    groups: int = 1,
    dilation: int | tuple[int, int] = 1,
    *,
    layout: Layout2d = "NCHW",
    activation: Activation = None,
    residual: ArrayLike | None = None,
    algorithm: str = "auto",
    out: Any = None,
) -> Given:
    """Transposed convolution: the gradient of :func:`conv2d` with respect to its input, used to upsample.

    It runs as stride-squared ordinary convolutions, one for each output position modulo the stride, so that
    no multiplication by an inserted zero is done.

    Parameters
    ----------
    x : array, shape (n, ic, h, w), or (n, h, w, ic) with ``layout="NHWC"``, float32
    w : array, shape (ic, oc / groups, kh, kw), float32
    output_padding : int or (int, int)
        Pixels added at the bottom and right of the result; less than the stride or the dilation.
    bias, stride, padding, groups, dilation, layout, activation, residual, algorithm, out
        As for :func:`conv2d`; padding removes pixels of the result.

    Returns
    -------
    array, shape (n, oc, oh, ow) or (n, oh, ow, oc), float32
        ``oh = (h - 1) * stride + dilation * (kh - 1) + 1 + output_padding - padding at both ends``

    Examples
    --------
    >>> import numpy as np
    >>> conv_transpose2d(np.ones((1, 1, 2, 2), np.float32), np.ones((1, 1, 2, 2), np.float32), stride=2)[0, 0]
    array([[1., 1., 1., 1.],
           [1., 1., 1., 1.],
           [1., 1., 1., 1.],
           [1., 1., 1., 1.]], dtype=float32)
    """
    channels_last = arguments.is_channels_last(layout)
    conv = _transposed(
        x, w, bias, stride, padding, output_padding, groups, dilation, activation, algorithm, channels_last, 2
    )
    y: Given = run(conv, x, residual, out, channels_last, 2, w)
    return y


@kept_kind("x", "w", "bias", "residual")
def conv_transpose3d(
    x: Given | Numbers,
    w: ArrayLike,
    bias: ArrayLike | None = None,
    stride: int | tuple[int, int, int] = 1,
    padding: Padding = 0,
    output_padding: int | tuple[int, int, int] = 0,
    groups: int = 1,
    dilation: int | tuple[int, int, int] = 1,
    *,
    layout: Layout3d = "NCDHW",
    activation: Activation = None,
    residual: ArrayLike | None = None,
    algorithm: str = "auto",
    out: Any = None,
) -> Given:
    """Transposed convolution of volumes; :func:`conv_transpose2d` with three spatial dimensions.

    Parameters
    ----------
    x : array, shape (n, ic, d, h, w), or (n, d, h, w, ic) with ``layout="NDHWC"``, float32
    w : array, shape (ic, oc / groups, kd, kh, kw), float32
    bias, stride, padding, output_padding, groups, dilation, layout, activation, residual, algorithm, out
        As for :func:`conv_transpose2d`, of three dimensions.

    Returns
    -------
    array, shape (n, oc, od, oh, ow) or (n, od, oh, ow, oc), float32

    Examples
    --------
    >>> import numpy as np
    >>> x, w = np.ones((1, 3, 2, 2, 2), np.float32), np.ones((3, 5, 2, 2, 2), np.float32)
    >>> conv_transpose3d(x, w, stride=2).shape
    (1, 5, 4, 4, 4)
    """
    channels_last = arguments.is_channels_last(layout, 3)
    conv = _transposed(
        x, w, bias, stride, padding, output_padding, groups, dilation, activation, algorithm, channels_last, 3
    )
    y: Given = run(conv, x, residual, out, channels_last, 3, w)
    return y


def _transposed(
    x: Any,
    w: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: Any,
    dilation: Any,
    activation: Any,
    algorithm: Any,
    channels_last: bool,
    spatial: int,
) -> _core.Conv:
    """Plan a transposed convolution for the input at hand."""
    x = arguments.logical(arguments.as_array("x", x, rank=spatial + 2), channels_last)
    return plan(
        w, bias, stride, padding, dilation, groups, activation, algorithm,
        spatial=spatial, transposed=True, output_padding=output_padding, once_for=x.shape,
    )  # fmt: skip


def _bordered(
    x: Any,
    w: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    padding_mode: Any,
    channels_last: bool,
    spatial: int,
) -> tuple[Any, Any]:
    """Return an input with its border and the padding that is left to do, which zeros are."""
    if isinstance(padding_mode, str) and padding_mode == "zeros":
        return x, padding
    w = arguments.as_array("w", w, rank=spatial + 2)
    geometry = {"stride": stride, "padding": padding, "dilation": dilation}
    border = border_of(padding_mode, w.shape[2:], geometry)
    assert border is not None
    return border.around(arguments.as_array("x", x, rank=spatial + 2), channels_last), 0


def _plan_for(
    x: Any,
    w: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    activation: Any,
    algorithm: Any,
    channels_last: bool,
    spatial: int,
    precision: Any = "fast",
) -> _core.Conv:
    """Plan a convolution for the input at hand; a mismatch of channels then names the weights."""
    x = arguments.as_array("x", x, rank=spatial + 2)
    w = arguments.as_array("w", w, rank=spatial + 2)
    x = arguments.logical(x, channels_last)
    check_channels(x, w, groups)
    return plan(
        w, bias, stride, padding, dilation, groups, activation, algorithm,
        spatial=spatial, precision=precision, planar=not channels_last, once_for=x.shape,
    )  # fmt: skip
