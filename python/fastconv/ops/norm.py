"""Normalisation, with the names and meanings of ``torch.nn.functional``."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import _arguments as arguments
from fastconv import _core
from fastconv._arguments import FloatArray
from fastconv.errors import ArgumentError, ShapeError


def batch_norm(
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    *,
    layout: str = "NCHW",
    out: Any = None,
) -> FloatArray:
    """Normalise each channel with given statistics (batch normalisation in inference).

    Parameters
    ----------
    x : array, shape (n, c, ...), or (n, ..., c) with ``layout="NHWC"``, 2 to 6 dimensions, float32
    running_mean, running_var : array, shape (c,), float32
    weight, bias : array, shape (c,), float32, optional
        1 and 0 by default.
    eps : float
        Added to the variance.
    layout : {"NCHW", "NHWC"}
        Layout of `x` and the result: whether channels come second or last.
    out : array of x's shape, float32, optional
        Receives the result. It may be `x` itself.

    Returns
    -------
    array of x's shape, float32
        ``(x - running_mean) / sqrt(running_var + eps) * weight + bias``.

    Raises
    ------
    ShapeError, ArgumentError, DTypeError
        Named after the argument at fault.

    References
    ----------
    Ioffe, Szegedy: Batch Normalization, 2015.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.float32([[1, 10], [3, 30]])
    >>> batch_norm(x, np.float32([2, 20]), np.float32([1, 4]), eps=0)
    array([[-1., -5.],
           [ 1.,  5.]], dtype=float32)
    """
    channels_last = arguments.is_channels_last(layout)
    x = arguments.as_array("x", x)
    if x.ndim < 2:
        raise ShapeError(f"x: expected at least 2 dimensions, got {x.ndim} (shape {x.shape})")
    channels = x.shape[-1 if channels_last else 1]
    mean = arguments.as_vector("running_mean", running_mean, channels, "channels").astype(np.float64)
    variance = arguments.as_vector("running_var", running_var, channels, "channels").astype(np.float64)
    eps = arguments.number("eps", eps)
    if eps < 0:
        raise ArgumentError(f"eps: expected at least 0, got {eps}")

    with np.errstate(all="ignore"):  # a variance of 0 with eps 0 gives infinities, as in torch
        scale = 1.0 / np.sqrt(variance + eps)
        if weight is not None:
            scale *= arguments.as_vector("weight", weight, channels, "channels")
        shift = -mean * scale
        if bias is not None:
            shift += arguments.as_vector("bias", bias, channels, "channels")
        scale_f32, shift_f32 = scale.astype(np.float32), shift.astype(np.float32)

    y = arguments.output_like(out, x)
    logical_x, logical_y = arguments.logical(x, channels_last), arguments.logical(y, channels_last)
    _core.channel_affine(logical_x, scale_f32, shift_f32, logical_y, "none", 0.0, 0.0)
    return y
