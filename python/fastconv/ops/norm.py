"""Normalisation, with the names and meanings of ``torch.nn.functional``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv import _arguments as arguments
from fastconv import _core
from fastconv._arguments import FloatArray
from fastconv._kept_kind import kept_kind
from fastconv._types import ArrayLike, Layout2d
from fastconv.errors import ArgumentError, ShapeError


@kept_kind("x", "running_mean", "running_var", "weight", "bias")
def batch_norm(
    x: ArrayLike,
    running_mean: ArrayLike,
    running_var: ArrayLike,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
    *,
    layout: Layout2d = "NCHW",
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


@kept_kind("x", "weight", "bias")
def layer_norm(
    x: ArrayLike,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
    *,
    out: Any = None,
) -> FloatArray:
    """Normalise the last axis to mean 0 and variance 1 (torch: ``layer_norm(x, x.shape[-1:], ...)``).

    Parameters
    ----------
    x : array, shape (..., c), at least 1 dimension, float32
    weight, bias : array, shape (c,), float32, optional
        1 and 0 by default.
    eps : float
        Added to the variance, which divides by c.
    out : array of x's shape, float32, optional
        Receives the result; it may not overlap `x`.

    Returns
    -------
    array of x's shape, float32

    Raises
    ------
    ShapeError, ArgumentError, DTypeError
        Named after the argument at fault.

    References
    ----------
    Ba, Kiros, Hinton: Layer Normalization, 2016.

    Examples
    --------
    >>> import numpy as np
    >>> layer_norm(np.float32([[1, 3], [2, 2]]), eps=0.0625)
    array([[-0.97014254,  0.97014254],
           [ 0.        ,  0.        ]], dtype=float32)
    """
    x = arguments.as_array("x", x)
    if x.ndim < 1:
        raise ShapeError("x: expected at least 1 dimension, got 0")
    size = x.shape[-1]
    scale = _vector("weight", weight, size, 1.0)
    shift = _vector("bias", bias, size, 0.0)
    y = arguments.empty(x.shape) if out is None else arguments.checked_output(out, x.shape, [x, scale, shift])
    _normalise(x, size, scale, shift, _epsilon(eps), y)
    return y


@kept_kind("x", "weight", "bias")
def group_norm(
    x: ArrayLike,
    num_groups: int,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
    *,
    out: Any = None,
) -> FloatArray:
    """Normalise each group of channels of each image to mean 0 and variance 1.

    Parameters
    ----------
    x : array, shape (n, c, ...), 3 to 6 dimensions, float32
    num_groups : int
        A divisor of c.
    weight, bias : array, shape (c,), float32, optional
        1 and 0 by default.
    eps : float
        Added to the variance, which divides by the number of elements.
    out : array of x's shape, float32, optional
        Receives the result; it may not overlap `x`.

    Returns
    -------
    array of x's shape, float32

    Raises
    ------
    ShapeError, ArgumentError, DTypeError
        Named after the argument at fault.

    References
    ----------
    Wu, He: Group Normalization, 2018.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.arange(8, dtype=np.float32).reshape(1, 4, 2)
    >>> group_norm(x, 2).mean(axis=(0, 2)).round(2) + 0
    array([-0.89,  0.89, -0.89,  0.89], dtype=float32)
    """
    x = arguments.as_array("x", x)
    if x.ndim < 3:
        raise ShapeError(f"x: expected at least 3 dimensions, got {x.ndim} (shape {x.shape})")
    channels = x.shape[1]
    groups = arguments.integer("num_groups", num_groups, 1)
    if channels % groups:
        raise ShapeError(f"num_groups: expected a divisor of the {channels} channels, got {groups}")
    scale, shift = _vector("weight", weight, channels, 1.0), _vector("bias", bias, channels, 0.0)
    y = arguments.empty(x.shape) if out is None else arguments.checked_output(out, x.shape, [x, scale, shift])
    size = math.prod(x.shape[1:]) // groups
    normal = np.empty(x.shape, np.float32)
    _normalise(x, size, np.ones(size, np.float32), np.zeros(size, np.float32), _epsilon(eps), normal)
    _core.channel_affine(normal, scale, shift, y, "none", 0.0, 0.0)
    return y


@kept_kind("x", "weight", "bias")
def instance_norm(
    x: ArrayLike,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    eps: float = 1e-5,
    *,
    out: Any = None,
) -> FloatArray:
    """Normalise each channel of each image to mean 0 and variance 1.

    Parameters
    ----------
    x, weight, bias, eps, out
        As for :func:`group_norm`.

    Returns
    -------
    array of x's shape, float32

    References
    ----------
    Ulyanov, Vedaldi, Lempitsky: Instance Normalization, 2016.

    Examples
    --------
    >>> import numpy as np
    >>> instance_norm(np.float32([[[1, 3], [5, 5]]]), eps=0.0625)
    array([[[-0.97014254,  0.97014254],
            [ 0.        ,  0.        ]]], dtype=float32)
    """
    x = arguments.as_array("x", x)
    channels = x.shape[1] if x.ndim > 1 else 1
    return group_norm(x, max(channels, 1), weight, bias, eps, out=out)


def _vector(name: str, value: Any, size: int, default: float) -> FloatArray:
    """Return an argument that has an element for each of the last axis or of the channels, or its default."""
    if value is None:
        return np.full(size, default, np.float32)
    return arguments.as_vector(name, value, size, "channels")


def _epsilon(eps: Any) -> float:
    value = arguments.number("eps", eps)
    if not 0 <= value < math.inf:
        raise ArgumentError(f"eps: expected a finite number of at least 0, got {value}")
    return value


def _normalise(
    x: FloatArray, size: int, scale: FloatArray, shift: FloatArray, eps: float, y: FloatArray
) -> None:
    """Normalise runs of so many elements of x into y."""
    if x.size:
        rows = np.ascontiguousarray(x).reshape(-1, size)
        result = y.reshape(rows.shape) if y.flags.c_contiguous else np.empty(rows.shape, np.float32)
        _core.layer_norm(rows, scale, shift, result, eps)
        if not y.flags.c_contiguous:
            np.copyto(y, result.reshape(y.shape))
