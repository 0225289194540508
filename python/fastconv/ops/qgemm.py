"""Matrix products of 8-bit integers."""

from __future__ import annotations

import math
import operator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastconv import _arguments as arguments
from fastconv import _core
from fastconv.errors import ArgumentError, DTypeError, ShapeError

_S32, _F32, _U8, _S8 = (np.dtype(name) for name in ("int32", "float32", "uint8", "int8"))
IntegerVector = NDArray[np.int32]
Scales: TypeAlias = float | NDArray[np.float64]
_RANGES = {_U8: (0, 255), _S8: (-128, 127)}
_LARGEST = float(np.finfo(np.float32).max)


class PackedIntegers:
    """The second matrix of :func:`qgemm` in the order that the kernels read, for many products.

    It is a copy, made for the instruction set in use; its zero points are part of it.

    Parameters
    ----------
    b : array, shape (k, n), uint8 or int8
        Any strides.
    zero_point : int or array, shape (n,)
        Numbers of b's type.

    Examples
    --------
    >>> import numpy as np
    >>> b = PackedIntegers(np.array([[1, 2], [3, 4]], np.int8))
    >>> qgemm(np.array([[10, 20]], np.uint8), b)
    array([[ 70, 100]], dtype=int32)
    """

    def __init__(self, b: Any, zero_point: Any = 0) -> None:
        b = arguments.as_bytes("b", b, 2)
        self._packed = _packed(b, "zero_point", zero_point)
        self.shape: tuple[int, int] = b.shape
        self.dtype: np.dtype[Any] = b.dtype

    @property
    def nbytes(self) -> int:
        """How many bytes the packed numbers take."""
        return self._packed.nbytes

    def explain(self) -> str:
        """Return in what form the numbers are packed, and why.

        Without VNNI instructions two products are added in 16 bits at a time. Where two neighbouring weights
        are too large for that, a second vector has the rest of them; where that is so for more than an eighth
        of the vectors, all have 16 bits.
        """
        packed = self._packed
        if packed.wide:
            return "16 bits each: too many neighbours are larger together than the 8-bit instruction allows"
        if packed.excess_vectors == 0:
            return "8 bits each"
        return f"8 bits each, and {packed.excess_vectors} vectors beside {packed.vectors}, of what saturates"

    def __repr__(self) -> str:
        return f"<PackedIntegers {self.shape[0]} x {self.shape[1]}, {self.dtype.name}>"


def qgemm(
    a: Any,
    b: Any,
    *,
    a_zero_point: Any = 0,
    b_zero_point: Any = None,
    bias: Any = None,
    a_scale: Any = None,
    b_scale: Any = None,
    out_scale: Any = None,
    out_zero_point: Any = 0,
    out_dtype: Any = None,
    out: Any = None,
) -> NDArray[Any]:
    """Multiply matrices of 8-bit integers: ``(a - a_zero_point) @ (b - b_zero_point) + bias``.

    The sums are exact on every processor, modulo 2**32. Without scales they are the result, as of ONNX's
    MatMulInteger. With `a_scale` and `b_scale` they are multiplied by both, in float32, as a MatMulInteger,
    a Cast and a Mul are. With `out_scale` too the result is quantised anew, as of QLinearMatMul: ``sums *
    (a_scale * b_scale / out_scale)`` in float32, rounded to nearest, ties to even, plus `out_zero_point`,
    saturated.

    Parameters
    ----------
    a : array, shape (m, k), uint8 or int8
        Any strides. Views of uint8 whose rows are contiguous are read in place; others are copied block by
        block.
    b : array, shape (k, n), uint8 or int8, or PackedIntegers
        Any strides.
    a_zero_point : int or array, shape (m,)
        Numbers of a's type: one, or one for each row.
    b_zero_point : int or array, shape (n,), optional
        Numbers of b's type, by default 0; a PackedIntegers has its own.
    bias : array, shape (n,), int32, optional
        Added to the sums; where the result is float32 it may be float32, and is added to that.
    a_scale : float, optional
    b_scale : float or array, shape (n,), float32, optional
    out_scale : float, optional
    out_zero_point : int
        A number of the result's type.
    out_dtype : dtype, optional
        uint8, the default, or int8, with `out_scale`.
    out : array, shape (m, n), optional
        Receives the result; it may not overlap `a` or `b`.

    Returns
    -------
    array, shape (m, n)
        int32, float32, or of `out_dtype`.

    Raises
    ------
    ShapeError, ArgumentError, DTypeError
        Named after the argument at fault.

    See Also
    --------
    PackedIntegers : a `b` that many products use

    Examples
    --------
    >>> import numpy as np
    >>> a, b = np.array([[1, 2], [3, 4]], np.uint8), np.array([[5, -6], [7, 8]], np.int8)
    >>> qgemm(a, b, a_zero_point=1)
    array([[ 7,  8],
           [31, 12]], dtype=int32)
    >>> qgemm(a, b, a_scale=0.5, b_scale=0.25, out_scale=1.0, out_zero_point=128)
    array([[130, 129],
           [133, 130]], dtype=uint8)
    """
    a = arguments.as_bytes("a", a, 2)
    m, k = a.shape
    inputs = [a]
    if isinstance(b, PackedIntegers):
        if b_zero_point is not None:
            raise ArgumentError(
                f"b_zero_point: expected None for packed integers, got {arguments.shown(b_zero_point)}"
            )
    else:
        b = arguments.as_bytes("b", b, 2)
        inputs.append(b)
        b_zero_point = 0 if b_zero_point is None else b_zero_point
    if b.shape[0] != k:
        raise ShapeError(f"b: expected k = {k} rows, got {b.shape[0]}")
    n = b.shape[1]
    a_zero = _zero_points("a_zero_point", a_zero_point, a.dtype, m, "rows of a")
    dtype, scale = _result(n, a_scale, b_scale, out_scale, out_zero_point, out_dtype)
    shift = None
    if bias is not None:
        after = dtype == _F32 and getattr(bias, "dtype", None) == _F32
        bias = np.ascontiguousarray(arguments.as_array("bias", bias, 1, _F32 if after else _S32))
        if bias.shape != (n,):
            raise ShapeError(f"bias: expected one element for each of {n} columns of b, got {bias.shape[0]}")
    low, high, zero = -math.inf, math.inf, 0
    if dtype.itemsize == 1:
        zero = int(_zero_points("out_zero_point", out_zero_point, dtype, 1, "results")[0])
        low, high = (float(end - zero) for end in _RANGES[dtype])
    if out is None:
        y = arguments.empty((m, n), dtype)
    else:
        y = arguments.checked_output(out, (m, n), inputs, dtype=dtype)
        if bias is not None and np.may_share_memory(y, bias):
            bias = bias.copy()
    if bias is not None and bias.dtype == _F32:
        bias, shift = None, bias
    packed = b._packed if isinstance(b, PackedIntegers) else _packed(b, "b_zero_point", b_zero_point)
    # The kernel writes whole vectors of a row.
    direct = n == 1 or y.size == 0 or y.strides[1] == y.itemsize
    target = y if direct else arguments.empty((m, n), dtype)
    _core.qgemm(a, a_zero, packed, target, bias, scale, shift, low, high, zero)
    if not direct:
        y[...] = target
    return y


def _packed(b: NDArray[Any], name: str, zero_point: Any) -> _core.PackedIntegers:
    return _core.PackedIntegers(b, _zero_points(name, zero_point, b.dtype, b.shape[1], "columns of b"))


def _result(
    n: int, a_scale: Any, b_scale: Any, out_scale: Any, out_zero_point: Any, out_dtype: Any
) -> tuple[np.dtype[Any], NDArray[np.float32] | None]:
    """Return the result's type and what the sums of each column are multiplied by, None for int32."""
    if out_scale is None:
        if out_dtype is not None:
            raise ArgumentError(
                f"out_dtype: expected None without out_scale, got {arguments.shown(out_dtype)}"
            )
        if type(out_zero_point) is not int or out_zero_point != 0:
            shown = arguments.shown(out_zero_point)
            raise ArgumentError(f"out_zero_point: expected 0 without out_scale, got {shown}")
    if a_scale is None and b_scale is None and out_scale is None:
        return _S32, None
    for name, value in (("a_scale", a_scale), ("b_scale", b_scale)):
        if value is None:
            raise ArgumentError(f"{name}: expected a scale beside the others, got None")
    factor = _in_float32(_scale("a_scale", a_scale) * _scales("b_scale", b_scale, n))
    if out_scale is None:
        dtype = _F32
    else:
        factor = _in_float32(factor / _scale("out_scale", out_scale))
        try:
            dtype = _U8 if out_dtype is None else np.dtype(out_dtype)
        except TypeError:
            dtype = _F32
        if dtype not in (_U8, _S8):
            raise DTypeError(f"out_dtype: expected uint8 or int8, got {arguments.shown(out_dtype)}")
    return dtype, np.full(n, factor, _F32)


def _in_float32(values: Scales) -> Scales:
    """Round products or quotients of two float32, of float64, to what float32 itself would give."""
    largest = values if isinstance(values, float) else values.max(initial=0.0)
    if largest > _LARGEST:
        raise ArgumentError(f"a_scale: expected scales whose product float32 holds, got {largest:.3g}")
    if isinstance(values, float):
        return float(np.float32(values))
    return values.astype(_F32).astype(np.float64)


def _scale(name: str, value: Any) -> float:
    number = arguments.number(name, value.item() if isinstance(value, np.ndarray) else value)
    if 0.0 < number <= _LARGEST:
        number = float(np.float32(number))
        if number > 0.0:
            return number
    raise ArgumentError(f"{name}: expected a positive finite number of float32, got {arguments.shown(value)}")


def _scales(name: str, value: Any, count: int) -> Scales:
    """Return one positive number, or one for each of `count` columns."""
    if not isinstance(value, np.ndarray) or value.size == 1:
        return _scale(name, value)
    scales = arguments.as_array(name, value, rank=1)
    if scales.size != count:
        raise ShapeError(f"{name}: expected one number, or {count}, got {scales.size}")
    bad = scales[~((scales > 0) & (scales < math.inf))]
    if bad.size:
        raise ArgumentError(f"{name}: expected positive finite numbers, got {bad[0]}")
    return scales.astype(np.float64)


def _zero_points(name: str, value: Any, dtype: np.dtype[Any], count: int, of: str) -> IntegerVector:
    """Return one number of a type, or one for each of `count` things, whose name is `of`."""
    low, high = _RANGES[dtype]
    if type(value) is int and low <= value <= high:  # the common case: microseconds count in small products
        return np.array([value], _S32)
    if isinstance(value, np.ndarray) and value.ndim > 0:
        if value.dtype.kind not in "iu":
            raise DTypeError(f"{name}: expected integers, got {value.dtype}")
        arguments.check_mask(name, value)
        if value.ndim > 1 or value.size not in (1, count):
            raise ShapeError(
                f"{name}: expected one integer, or one for each of {count} {of}, got {value.shape}"
            )
        points = value
    else:
        if isinstance(value, (bool, np.bool_)):
            raise DTypeError(f"{name}: expected an integer, got {arguments.shown(value)}")
        try:
            points = np.array([operator.index(value)])
        except (TypeError, OverflowError):
            raise DTypeError(f"{name}: expected an integer, got {arguments.shown(value)}") from None
    if points.dtype.kind not in "iu" or ((points < low) | (points > high)).any():
        raise ArgumentError(f"{name}: expected {dtype}, from {low} to {high}, got {arguments.shown(value)}")
    return np.ascontiguousarray(points, _S32)
