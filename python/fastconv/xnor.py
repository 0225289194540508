"""Convolutions of signs: plan objects whose input and filters are 1 and -1, a bit each."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv import _arguments as arguments
from fastconv._arguments import FloatArray
from fastconv._geometry import frozen_geometry
from fastconv._types import Activation, ArrayLike, Layout2d, Padding
from fastconv.conv import FloatConvolution
from fastconv.errors import ArgumentError

# The signs of 0 and of NaN, as fastconv.xnor_conv2d describes them.
SIGNS = (1.0, math.nan)


def binarized(w: FloatArray, scale: Any = None) -> FloatArray:
    """Return filters of ``scale`` and ``-scale``: that of each filter, or by default its mean magnitude.

    The mean makes their distance from `w` the least (Rastegari et al. 2016, section 3.1).
    """
    if not np.isfinite(w).all():
        raise ArgumentError("w: expected finite weights, got NaN or infinity among them")
    shape = (-1, *[1] * (w.ndim - 1))
    if scale is None:
        magnitude = np.abs(w).reshape(len(w), -1).mean(axis=1, dtype=np.float64)
    else:
        magnitude = arguments.as_vector("scale", scale, len(w), "filters")
        if not (np.isfinite(magnitude) & (magnitude >= 0)).all():
            raise ArgumentError(f"scale: expected finite numbers of at least 0, got {arguments.shown(scale)}")
    signs = np.where(w < 0, -1, 1).astype(np.float32)
    filters: FloatArray = signs * magnitude.astype(np.float32).reshape(shape)
    return filters


class XnorConv2d(FloatConvolution):
    """A two-dimensional convolution of signs, planned and packed once, callable many times.

    Parameters
    ----------
    w : array, shape (oc, ic / groups, kh, kw), float32
        The filters, of which the signs are taken. They are copied, and packed as bits; later changes to the
        array have no effect.
    bias, stride, padding, dilation, groups, activation, scale
        As for :func:`fastconv.xnor_conv2d`.
    layout : {"NCHW", "NHWC"}
        Layout of the input, the residual and the result. NHWC is used in place.
    threads : int, optional
        How many threads its calls use, as for :class:`Model`.

    Raises
    ------
    ArgumentError, ShapeError, DTypeError
        Where the arguments make no convolution; the message names the argument.

    See Also
    --------
    fastconv.xnor_conv2d : the same for one call

    Examples
    --------
    >>> import numpy as np
    >>> conv = XnorConv2d(np.full((8, 64, 3, 3), -0.5, np.float32), padding=1, layout="NHWC")
    >>> y = conv(np.ones((1, 5, 5, 64), np.float32))
    >>> y.shape, y[0, 0, 0, 0], y[0, 2, 2, 0]
    ((1, 5, 5, 8), np.float32(-128.0), np.float32(-288.0))
    >>> conv.algorithm
    'xnor'
    """

    def __init__(
        self,
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
        threads: int | None = None,
    ) -> None:
        super().__init__(layout, threads)
        # Nobody else has these arrays: a pickle has them.
        w = np.array(arguments.as_array("w", w, rank=4), order="C")
        scale = None if scale is None else arguments.as_vector("scale", scale, len(w), "filters").copy()
        geometry = frozen_geometry(stride, padding, dilation, groups)
        self._make(binarized(w, scale), bias, geometry, activation, algorithm="auto", signs=SIGNS)
        kept = ("bias", *geometry, "activation", "layout", "threads")
        self._arguments = {name: self._arguments[name] for name in kept} | {"w": w, "scale": scale}
