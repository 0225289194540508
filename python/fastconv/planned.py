"""Planned convolutions of one and three dimensions, and transposed ones."""

from __future__ import annotations

from typing import Any

from fastconv import _arguments as arguments
from fastconv._geometry import frozen_geometry
from fastconv._types import (
    Activation,
    ArrayLike,
    Layout1d,
    Layout2d,
    Layout3d,
    Padding,
    PaddingMode,
    Precision,
)
from fastconv.conv import FloatConvolution


def transposed_geometry(
    stride: Any, padding: Any, output_padding: Any, groups: Any, dilation: Any, spatial: int
) -> dict[str, Any]:
    """Return what says the same, without the objects that the caller may change."""
    geometry = frozen_geometry(stride, padding, dilation, groups, spatial)
    return geometry | {"output_padding": arguments.integers("output_padding", output_padding, spatial, 0)}


class Conv1d(FloatConvolution):
    """A convolution of one spatial dimension, planned and packed once, callable many times.

    Parameters
    ----------
    w : array, shape (oc, ic / groups, kw), float32
        The filters. They are copied, and packed; later changes to the array have no effect.
    bias, stride, padding, dilation, groups, activation, algorithm, padding_mode
        As for :func:`fastconv.conv1d`.
    precision, tune, threads
        As for :class:`fastconv.Conv2d`.
    layout : {"NCW", "NWC"}
        Layout of the input, the residual and the result.

    Raises
    ------
    ArgumentError, ShapeError, DTypeError
        Where the arguments make no convolution; the message names the argument.

    Examples
    --------
    >>> import numpy as np
    >>> conv = Conv1d(np.ones((8, 3, 3), np.float32), activation="relu")
    >>> conv(np.ones((1, 3, 9), np.float32)).shape
    (1, 8, 7)
    """

    _spatial = 1

    def __init__(
        self,
        w: ArrayLike,
        bias: ArrayLike | None = None,
        stride: int | tuple[int] = 1,
        padding: Padding = 0,
        dilation: int | tuple[int] = 1,
        groups: int = 1,
        *,
        layout: Layout1d = "NCW",
        activation: Activation = None,
        algorithm: str = "auto",
        precision: Precision = "fast",
        tune: bool = False,
        padding_mode: PaddingMode = "zeros",
        threads: int | None = None,
    ) -> None:
        super().__init__(layout, threads)
        geometry = frozen_geometry(stride, padding, dilation, groups, self._spatial)
        self._make(
            w, bias, geometry, activation,
            algorithm=algorithm, tune=tune, precision=precision, padding_mode=padding_mode,
        )  # fmt: skip


class Conv3d(FloatConvolution):
    """A convolution of three spatial dimensions, planned and packed once, callable many times.

    Parameters
    ----------
    w : array, shape (oc, ic / groups, kd, kh, kw), float32
        The filters. They are copied, and packed; later changes to the array have no effect.
    bias, stride, padding, dilation, groups, activation, algorithm, padding_mode
        As for :func:`fastconv.conv3d`.
    precision, tune, threads
        As for :class:`fastconv.Conv2d`.
    layout : {"NCDHW", "NDHWC"}
        Layout of the input, the residual and the result.

    Raises
    ------
    ArgumentError, ShapeError, DTypeError
        Where the arguments make no convolution; the message names the argument.

    Examples
    --------
    >>> import numpy as np
    >>> conv = Conv3d(np.ones((8, 3, 3, 3, 3), np.float32), activation="relu")
    >>> conv(np.ones((1, 3, 9, 9, 9), np.float32)).shape
    (1, 8, 7, 7, 7)
    """

    _spatial = 3

    def __init__(
        self,
        w: ArrayLike,
        bias: ArrayLike | None = None,
        stride: int | tuple[int, int, int] = 1,
        padding: Padding = 0,
        dilation: int | tuple[int, int, int] = 1,
        groups: int = 1,
        *,
        layout: Layout3d = "NCDHW",
        activation: Activation = None,
        algorithm: str = "auto",
        precision: Precision = "fast",
        tune: bool = False,
        padding_mode: PaddingMode = "zeros",
        threads: int | None = None,
    ) -> None:
        super().__init__(layout, threads)
        geometry = frozen_geometry(stride, padding, dilation, groups, self._spatial)
        self._make(
            w, bias, geometry, activation,
            algorithm=algorithm, tune=tune, precision=precision, padding_mode=padding_mode,
        )  # fmt: skip


class ConvTranspose1d(FloatConvolution):
    """A transposed convolution of one spatial dimension, planned and packed once.

    Parameters
    ----------
    w : array, shape (ic, oc / groups, kw), float32
        The filters. They are copied, and packed; later changes to the array have no effect.
    bias, stride, padding, output_padding, groups, dilation, activation, algorithm
        As for :func:`fastconv.conv_transpose1d`.
    threads : int, optional
        As for :class:`fastconv.Conv2d`.
    layout : {"NCW", "NWC"}
        Layout of the input, the residual and the result.

    Raises
    ------
    ArgumentError, ShapeError, DTypeError
        Where the arguments make no convolution; the message names the argument.

    Examples
    --------
    >>> import numpy as np
    >>> conv = ConvTranspose1d(np.ones((3, 8, 3), np.float32))
    >>> conv(np.ones((1, 3, 9), np.float32)).shape
    (1, 8, 11)
    """

    _spatial = 1
    _transposed = True

    def __init__(
        self,
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
        algorithm: str = "auto",
        threads: int | None = None,
    ) -> None:
        super().__init__(layout, threads)
        geometry = transposed_geometry(stride, padding, output_padding, groups, dilation, self._spatial)
        self._make(w, bias, geometry, activation, algorithm=algorithm)


class ConvTranspose2d(FloatConvolution):
    """A transposed convolution of two spatial dimensions, planned and packed once.

    Parameters
    ----------
    w : array, shape (ic, oc / groups, kh, kw), float32
        The filters. They are copied, and packed; later changes to the array have no effect.
    bias, stride, padding, output_padding, groups, dilation, activation, algorithm
        As for :func:`fastconv.conv_transpose2d`.
    threads : int, optional
        As for :class:`fastconv.Conv2d`.
    layout : {"NCHW", "NHWC"}
        Layout of the input, the residual and the result.

    Raises
    ------
    ArgumentError, ShapeError, DTypeError
        Where the arguments make no convolution; the message names the argument.

    Examples
    --------
    >>> import numpy as np
    >>> conv = ConvTranspose2d(np.ones((3, 8, 3, 3), np.float32))
    >>> conv(np.ones((1, 3, 9, 9), np.float32)).shape
    (1, 8, 11, 11)
    """

    _spatial = 2
    _transposed = True

    def __init__(
        self,
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
        algorithm: str = "auto",
        threads: int | None = None,
    ) -> None:
        super().__init__(layout, threads)
        geometry = transposed_geometry(stride, padding, output_padding, groups, dilation, self._spatial)
        self._make(w, bias, geometry, activation, algorithm=algorithm)


class ConvTranspose3d(FloatConvolution):
    """A transposed convolution of three spatial dimensions, planned and packed once.

    Parameters
    ----------
    w : array, shape (ic, oc / groups, kd, kh, kw), float32
        The filters. They are copied, and packed; later changes to the array have no effect.
    bias, stride, padding, output_padding, groups, dilation, activation, algorithm
        As for :func:`fastconv.conv_transpose3d`.
    threads : int, optional
        As for :class:`fastconv.Conv2d`.
    layout : {"NCDHW", "NDHWC"}
        Layout of the input, the residual and the result.

    Raises
    ------
    ArgumentError, ShapeError, DTypeError
        Where the arguments make no convolution; the message names the argument.

    Examples
    --------
    >>> import numpy as np
    >>> conv = ConvTranspose3d(np.ones((3, 8, 3, 3, 3), np.float32))
    >>> conv(np.ones((1, 3, 9, 9, 9), np.float32)).shape
    (1, 8, 11, 11, 11)
    """

    _spatial = 3
    _transposed = True

    def __init__(
        self,
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
        algorithm: str = "auto",
        threads: int | None = None,
    ) -> None:
        super().__init__(layout, threads)
        geometry = transposed_geometry(stride, padding, output_padding, groups, dilation, self._spatial)
        self._make(w, bias, geometry, activation, algorithm=algorithm)
