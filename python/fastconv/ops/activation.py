"""Activations and softmax on numpy arrays, with the names and meanings of ``torch.nn.functional``.

Each keeps the memory order of its input and may write over it: ``relu(x, out=x)``. NaN comes out as NaN.
"""

from __future__ import annotations

from typing import Any

from fastconv import _arguments as arguments
from fastconv import _core
from fastconv._arguments import FloatArray
from fastconv._kept_kind import kept_kind
from fastconv._types import ArrayLike
from fastconv.errors import ArgumentError, ShapeError


@kept_kind("x")
def relu(x: ArrayLike, *, out: Any = None) -> FloatArray:
    """Return ``max(x, 0)``.

    Parameters
    ----------
    x : array of at most 6 dimensions, float32
        Any strides; anything with ``__dlpack__`` or ``__array__``.
    out : array of x's shape, float32, optional
        Receives the result. It may be `x` itself.

    Returns
    -------
    array of x's shape, float32

    Raises
    ------
    ShapeError, ArgumentError, DTypeError
        Where an argument is none of the above; the message starts with its name.

    Examples
    --------
    >>> import numpy as np
    >>> relu(np.float32([-1, 0, 2]))
    array([0., 0., 2.], dtype=float32)
    """
    return _activate(x, out, "relu")


@kept_kind("x")
def relu6(x: ArrayLike, *, out: Any = None) -> FloatArray:
    """Return ``min(max(x, 0), 6)`` (MobileNetV1, section 3).

    Parameters
    ----------
    x, out
        As for :func:`relu`.

    Returns
    -------
    array of x's shape, float32

    Examples
    --------
    >>> import numpy as np
    >>> relu6(np.float32([-1, 2, 7]))
    array([0., 2., 6.], dtype=float32)
    """
    return _activate(x, out, "relu6")


@kept_kind("x")
def leaky_relu(x: ArrayLike, negative_slope: float = 0.01, *, out: Any = None) -> FloatArray:
    """Return `x` where it is not negative and ``negative_slope * x`` where it is.

    Parameters
    ----------
    x, out
        As for :func:`relu`.
    negative_slope : float

    Returns
    -------
    array of x's shape, float32

    Examples
    --------
    >>> import numpy as np
    >>> leaky_relu(np.float32([-2, 3]), 0.5)
    array([-1.,  3.], dtype=float32)
    """
    return _activate(x, out, ("leaky_relu", arguments.number("negative_slope", negative_slope)))


@kept_kind("x")
def sigmoid(x: ArrayLike, *, out: Any = None) -> FloatArray:
    """Return ``1 / (1 + exp(-x))``.

    Parameters
    ----------
    x, out
        As for :func:`relu`.

    Returns
    -------
    array of x's shape, float32

    Examples
    --------
    >>> import numpy as np
    >>> sigmoid(np.float32([-200, 0, 200]))
    array([0. , 0.5, 1. ], dtype=float32)
    """
    return _activate(x, out, "sigmoid")


@kept_kind("x")
def silu(x: ArrayLike, *, out: Any = None) -> FloatArray:
    """Return ``x * sigmoid(x)`` (swish).

    Parameters
    ----------
    x, out
        As for :func:`relu`.

    Returns
    -------
    array of x's shape, float32

    Examples
    --------
    >>> import numpy as np
    >>> silu(np.float32([0, 100]))
    array([  0., 100.], dtype=float32)
    """
    return _activate(x, out, "silu")


@kept_kind("x")
def hardswish(x: ArrayLike, *, out: Any = None) -> FloatArray:
    """Return ``x * relu6(x + 3) / 6`` (MobileNetV3, section 5.2).

    Parameters
    ----------
    x, out
        As for :func:`relu`.

    Returns
    -------
    array of x's shape, float32

    Examples
    --------
    >>> import numpy as np
    >>> hardswish(np.float32([-3, 0, 3]))
    array([-0.,  0.,  3.], dtype=float32)
    """
    return _activate(x, out, "hardswish")


@kept_kind("x")
def hardsigmoid(x: ArrayLike, *, out: Any = None) -> FloatArray:
    """Return ``relu6(x + 3) / 6`` (MobileNetV3, section 5.2).

    Parameters
    ----------
    x, out
        As for :func:`relu`.

    Returns
    -------
    array of x's shape, float32

    Examples
    --------
    >>> import numpy as np
    >>> hardsigmoid(np.float32([-3, 0, 3]))
    array([0. , 0.5, 1. ], dtype=float32)
    """
    return _activate(x, out, "hardsigmoid")


@kept_kind("x")
def gelu(x: ArrayLike, *, out: Any = None) -> FloatArray:
    """Return ``x * (1 + erf(x / sqrt(2))) / 2``, the exact form and not the one with tanh.

    Parameters
    ----------
    x, out
        As for :func:`relu`.

    Returns
    -------
    array of x's shape, float32

    Examples
    --------
    >>> import numpy as np
    >>> gelu(np.float32([0, 100]))
    array([  0., 100.], dtype=float32)
    """
    return _activate(x, out, "gelu")


@kept_kind("x")
def tanh(x: ArrayLike, *, out: Any = None) -> FloatArray:
    """Return the hyperbolic tangent.

    Parameters
    ----------
    x, out
        As for :func:`relu`.

    Returns
    -------
    array of x's shape, float32

    Examples
    --------
    >>> import numpy as np
    >>> tanh(np.float32([-100, 0, 100]))
    array([-1.,  0.,  1.], dtype=float32)
    """
    return _activate(x, out, "tanh")


@kept_kind("x")
def softmax(x: ArrayLike, axis: int = -1, *, out: Any = None) -> FloatArray:
    """Return ``exp(x) / sum(exp(x))`` along one axis, computed with the maximum subtracted.

    Parameters
    ----------
    x : array of 1 to 6 dimensions, float32
    axis : int
        The axis along which the results sum to 1; negative ones count from the last.
    out : array of x's shape, float32, optional
        Receives the result. It may be `x` itself.

    Returns
    -------
    array of x's shape, float32
        All NaN along an axis that holds NaN, infinity, or nothing but minus infinity.

    Raises
    ------
    ArgumentError
        If `x` has no such axis.

    Examples
    --------
    >>> import numpy as np
    >>> softmax(np.zeros((1, 4), np.float32))
    array([[0.25, 0.25, 0.25, 0.25]], dtype=float32)
    """
    x = arguments.as_array("x", x)
    if x.ndim == 0:
        raise ShapeError("x: expected at least 1 dimension, got 0")
    index = arguments.integer("axis", axis, -x.ndim)
    if index >= x.ndim:
        raise ArgumentError(f"axis: expected {-x.ndim} to {x.ndim - 1}, got {index}")
    y = arguments.output_like(out, x)
    _core.softmax(x, y, index % x.ndim)
    return y


def _activate(x: Any, out: Any, activation: str | tuple[str, float]) -> FloatArray:
    x = arguments.as_array("x", x)
    y = arguments.output_like(out, x)
    _core.activate(x, y, *arguments.activation("activation", activation))
    return y
