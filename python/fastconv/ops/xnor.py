"""Convolutions of signs on numpy arrays.

Each is a plan made and run once; who calls a convolution often keeps an ``XnorConv2d``.
"""

from __future__ import annotations

from typing import Any

from fastconv import _arguments as arguments
from fastconv._geometry import check_channels
from fastconv._kept_kind import kept_kind
from fastconv._types import Activation, ArrayLike, Given, Layout2d, Numbers, Padding
from fastconv.conv import plan, run
from fastconv.xnor import SIGNS, binarized


@kept_kind("x", "w", "bias", "residual", "scale")
def xnor_conv2d(
    x: Given | Numbers,
    w: ArrayLike,
    bias: ArrayLike | None = None,
    stride: int | tuple[int, int] = 1,
    padding: Padding = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    *,
    scale: ArrayLike | None = None,
    layout: Layout2d = "NCHW",
    activation: Activation = None,
    residual: ArrayLike | None = None,
    out: Any = None,
) -> Given:
    """Convolve the signs of a batch of images with those of filters, as a binary network does.

    What :func:`conv2d` does with numbers, of which each is 1 or -1: 32 products are the bits in which two
    words differ, counted. The sum, an integer, is exact. Then it is multiplied by the filter's scale, in
    float32, and `bias`, `residual` and `activation` follow. The method is XNOR-Net's: Rastegari et al.,
    "XNOR-Net: ImageNet classification using binary convolutional neural networks", 2016, arXiv:1603.05279;
    without its scale for each pixel of the input, which networks since then do without.

    Parameters
    ----------
    x : array, shape (n, ic, h, w), or (n, h, w, ic) with ``layout="NHWC"``, float32
        Any strides. Each number counts as 1 where it is 0 or larger, -0 among them, and as -1 where it is
        smaller. Results whose window has a NaN are NaN.
    w : array, shape (oc, ic / groups, kh, kw), float32
        The filters, in this order for both layouts; finite, and 1 or -1 by the same rule.
    bias, stride, dilation, groups, layout, activation, residual, out
        As for :func:`conv2d`.
    padding : int, (int, int), (top, left, bottom, right), "same" or "valid"
        Zeros around the signs, not signs: what lies outside the image adds nothing, as where ONNX's Conv
        follows its Sign.
    scale : array, shape (oc,), float32, optional
        Of each filter, at least 0. Without it a filter's is the mean magnitude of its weights, which makes
        the binary filter the nearest to the real one.

    Returns
    -------
    array, shape (n, oc, oh, ow), or (n, oh, ow, oc) with ``layout="NHWC"``, float32

    Raises
    ------
    ShapeError, ArgumentError, DTypeError
        Named after the argument at fault: ``w: expected ic/groups = 32 channels, got 64``.

    See Also
    --------
    XnorConv2d : a convolution whose filters are packed once

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[[[0.3, -2.0], [-0.1, 0.0]]]], np.float32)
    >>> w = np.array([[[[0.5, -1.5], [-1.0, -1.0]]]], np.float32)
    >>> xnor_conv2d(x, w)  # 1 + 1 + 1 - 1, times the mean magnitude, 1
    array([[[[2.]]]], dtype=float32)
    """
    channels_last = arguments.is_channels_last(layout)
    image = arguments.logical(arguments.as_array("x", x, rank=4), channels_last)
    filters = arguments.as_array("w", w, rank=4)
    check_channels(image, filters, groups)
    conv = plan(
        binarized(filters, scale), bias, stride, padding, dilation, groups, activation, "auto",
        spatial=2, once_for=image.shape, signs=SIGNS,
    )  # fmt: skip
    y: Given = run(conv, x, residual, out, channels_last, 2, w)
    return y
