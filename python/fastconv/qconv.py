"""Plan objects of 8-bit integers: what :mod:`fastconv.conv` has for float32."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv import _arguments as arguments
from fastconv import _core
from fastconv._geometry import border_of, frozen_geometry, geometry_of
from fastconv._kept_kind import kept_kind
from fastconv._quantised import S8, byte_dtype, finish, zero_points
from fastconv._threads import threads_of
from fastconv._types import Activation, Layout2d, Padding, PaddingMode
from fastconv.conv import Convolution, check_algorithm
from fastconv.errors import DTypeError


class IntegerPlan:
    """A convolution of 8-bit integers that is checked and packed, with the types of both its ends."""

    def __init__(
        self,
        w: Any,
        bias: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: Any,
        *,
        spatial: int,
        x_dtype: np.dtype[Any],
        x_zero_point: Any,
        w_zero_point: Any,
        x_scale: Any,
        w_scale: Any,
        out_scale: Any,
        out_zero_point: Any,
        out_dtype: Any,
        activation: Any,
        algorithm: Any,
        padding_mode: Any,
    ) -> None:
        w = arguments.as_bytes("w", w, spatial + 2)
        check_algorithm(algorithm)
        given = {"stride": stride, "padding": padding, "dilation": dilation}
        self.border = border_of(padding_mode, w.shape[2:], given)
        if self.border is not None:  # which a copy of the input has
            padding = 0
        geometry = geometry_of(w, stride, padding, dilation, groups, spatial=spatial)
        channels = w.shape[0]
        x_zero = zero_points("x_zero_point", x_zero_point, x_dtype, 1, "inputs")
        w_zero = zero_points("w_zero_point", w_zero_point, w.dtype, channels, "output channels")
        scales = {"x_scale": x_scale, "w_scale": w_scale}
        sums_bias, after = finish(
            channels, "output channels", scales, out_scale, out_zero_point, out_dtype, bias, activation
        )
        self.spatial, self.x_dtype, self.out_dtype = spatial, x_dtype, after.dtype
        added = sums_bias if sums_bias is not None else after.shift
        self.bias = None if added is None else added.copy()
        self.conv = _core.IntegerConv(
            w if w.flags.c_contiguous else w.copy(),
            sums_bias,
            **geometry,
            w_zero=w_zero,
            x_signed=x_dtype == S8,
            x_zero=int(x_zero[0]),
            out=after.dtype,
            scale=after.scale,
            shift=after.shift,
            low=after.low,
            high=after.high,
            zero=after.zero,
            algorithm=algorithm,
        )

    def run(self, x: Any, out: Any, channels_last: bool, *others: NDArray[Any]) -> NDArray[Any]:
        """Convolve an array of the caller's layout; `out` may not overlap `others` either."""
        x = arguments.as_bytes("x", x, self.spatial + 2)
        if x.dtype != self.x_dtype:
            raise DTypeError(f"x: expected dtype {self.x_dtype.name}, as x_dtype says, got {x.dtype.name}")
        if self.border is not None:
            others, x = (*others, x), self.border.around(x, channels_last)
        x = arguments.logical(x, channels_last)
        shape = self.conv.out_shape(x.shape)
        y = arguments.output(out, shape, x, channels_last, others, self.out_dtype)
        self.conv.run(x, y)
        result: NDArray[Any] = arguments.physical(y, channels_last) if out is None else out
        return result


class QConv2d(Convolution):
    """A two-dimensional convolution of 8-bit integers, planned and packed once, callable many times.

    Parameters
    ----------
    w : array, shape (oc, ic / groups, kh, kw), uint8 or int8
        The filters. They are copied, and packed; later changes to the array have no effect.
    bias : array, shape (oc,), int32, optional
        Or float32, where the result is.
    stride, padding, dilation, groups, activation, algorithm, padding_mode
        As for :func:`fastconv.qconv2d`.
    x_dtype : dtype
        Of the input: uint8 or int8.
    x_zero_point, w_zero_point, x_scale, w_scale, out_scale, out_zero_point, out_dtype
        As for :func:`fastconv.qconv2d`.
    layout : {"NCHW", "NHWC"}
        Layout of the input and the result. NHWC of uint8 is used in place.
    threads : int, optional
        How many threads its calls use, as for :class:`Model`.

    Raises
    ------
    ArgumentError, ShapeError, DTypeError
        Where the arguments make no convolution; the message names the argument.

    See Also
    --------
    fastconv.qconv2d : the same for one call

    Examples
    --------
    >>> import numpy as np
    >>> w = np.full((8, 4, 3, 3), -1, np.int8)
    >>> conv = QConv2d(w, padding=1, x_zero_point=128, x_scale=0.5, w_scale=0.25, layout="NHWC")
    >>> y = conv(np.full((1, 5, 5, 4), 130, np.uint8))
    >>> y.shape, y.dtype, y[0, 2, 2, 0]
    ((1, 5, 5, 8), dtype('float32'), np.float32(-9.0))
    >>> conv.algorithm_for((1, 5, 5, 4))
    'dense'

    Notes
    -----
    Where the best algorithm depends on the size of the image, it is chosen, and the weights packed for it, at
    the first call of a size that wants it; the result is the same by each. A pickle has the filters as they
    were given and all options. Copies are the object itself, which nothing changes.
    """

    _conv: _core.IntegerConv

    def __init__(
        self,
        w: Any,
        bias: Any = None,
        stride: int | tuple[int, int] = 1,
        padding: Padding = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        *,
        x_dtype: Any = "uint8",
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
        threads: int | None = None,
    ) -> None:
        super().__init__(layout, threads)
        of_x = byte_dtype("x_dtype", x_dtype)
        # Nobody else has this array: a pickle has it.
        w = np.array(arguments.as_bytes("w", w, 4), order="C")
        geometry = frozen_geometry(stride, padding, dilation, groups)
        act = arguments.frozen_activation(activation)
        self._plan = plan = IntegerPlan(
            w, bias, **geometry, spatial=2, x_dtype=of_x, x_zero_point=x_zero_point,
            w_zero_point=w_zero_point, x_scale=x_scale, w_scale=w_scale, out_scale=out_scale,
            out_zero_point=out_zero_point, out_dtype=out_dtype, activation=act, algorithm=algorithm,
            padding_mode=padding_mode,
        )  # fmt: skip
        self._conv, self._border = plan.conv, plan.border
        self._arguments = geometry | {
            "w": w,
            "bias": plan.bias,
            "x_dtype": of_x.name,
            "x_zero_point": _frozen(x_zero_point, int),
            "w_zero_point": _frozen(w_zero_point, int),
            "x_scale": _frozen(x_scale, float),
            "w_scale": _frozen(w_scale, float),
            "out_scale": _frozen(out_scale, float),
            "out_zero_point": _frozen(out_zero_point, int),
            "out_dtype": None if out_dtype is None else plan.out_dtype.name,
            "layout": layout,
            "activation": act,
            "algorithm": algorithm,
            "padding_mode": padding_mode,
            "threads": self._threads,
        }

    @property
    def out_dtype(self) -> np.dtype[Any]:
        """Type of the result."""
        return self._plan.out_dtype

    @kept_kind("x", half=False)
    def __call__(self, x: Any, *, out: Any = None) -> NDArray[Any]:
        """Convolve `x`; `out` receives the result where given."""
        with threads_of(self._threads):
            y = self._plan.run(x, out, self._channels_last)
        self._last = getattr(x, "shape", None)
        return y


def _frozen(value: Any, kind: type) -> Any:
    """Return what says the same as a number or an array that was accepted, and that nobody else has."""
    if isinstance(value, np.ndarray):
        return np.array(value)
    return None if value is None else kind(value)
