"""Scales and zero points of functions of 8-bit integers, and what becomes of their sums."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastconv import _arguments as arguments
from fastconv.errors import ArgumentError, DTypeError, ShapeError

U8, S8 = np.dtype(np.uint8), np.dtype(np.int8)
_S32, _F32 = np.dtype(np.int32), np.dtype(np.float32)
IntegerVector: TypeAlias = NDArray[np.int32]
Scales: TypeAlias = float | NDArray[np.float64]
_RANGES = {U8: (0, 255), S8: (-128, 127)}
_LARGEST = float(np.finfo(np.float32).max)


class Finish(NamedTuple):
    """What becomes of the sums: ``clamp(sums * scale + shift, low, high)``, rounded where dtype has 8 bits.

    ``scale`` and ``shift`` are a number for each column, or output channel; ``zero`` is added to what was
    rounded.
    """

    dtype: np.dtype[Any]
    scale: NDArray[Any] | None = None
    low: float = -math.inf
    high: float = math.inf
    zero: int = 0
    shift: NDArray[Any] | None = None


def finish(
    count: int,
    of: str,
    scales: Mapping[str, Any],
    out_scale: Any,
    out_zero_point: Any,
    out_dtype: Any,
    bias: Any,
    activation: Any = None,
) -> tuple[IntegerVector | None, Finish]:
    """Return the bias of the sums of `count` columns, whose name is `of`, and what becomes of them.

    `scales` has the scale of the left operand and that of the right one, by their names.
    """
    dtype, scale, unit = _result(count, scales, out_scale, out_zero_point, out_dtype)
    shift = None
    if bias is not None:
        after = dtype == _F32 and getattr(bias, "dtype", None) == _F32
        bias = np.ascontiguousarray(arguments.as_array("bias", bias, 1, _F32 if after else _S32))
        if bias.shape != (count,):
            raise ShapeError(f"bias: expected one element for each of {count} {of}, got {bias.shape[0]}")
        if after:
            bias, shift = None, bias
    low, high = _limits(activation, scales) if activation is not None else (-math.inf, math.inf)
    if dtype.itemsize > 1:
        return bias, Finish(dtype, scale, low, high, 0, shift)
    zero = int(zero_points("out_zero_point", out_zero_point, dtype, 1, "results")[0])
    least, most = (float(end - zero) for end in _RANGES[dtype])
    low, high = (min(max(end / unit, least), most) for end in (low, high))
    return bias, Finish(dtype, scale, low, high, zero, shift)


def _limits(activation: Any, scales: Mapping[str, Any]) -> tuple[float, float]:
    """Return between what an activation keeps real numbers."""
    act, low, high = arguments.activation("activation", activation)
    shown = arguments.shown(activation)
    if act != "clamp":
        raise ArgumentError(f"activation: expected None, 'relu', 'relu6' or a 'clamp', got {shown}")
    if all(scale is None for scale in scales.values()):
        names = " and ".join(scales)
        raise ArgumentError(f"activation: expected None without {names}, whose results are sums, got {shown}")
    return min(low, high), high  # where they are the wrong way round, the upper one is the result


def _result(
    count: int, scales: Mapping[str, Any], out_scale: Any, out_zero_point: Any, out_dtype: Any
) -> tuple[np.dtype[Any], NDArray[np.float32] | None, float]:
    """Return the result's type, what the sums of each column are multiplied by, and `out_scale`.

    Without scales the sums are the result, and multiplied by nothing.
    """
    if out_scale is None:
        if out_dtype is not None:
            raise ArgumentError(
                f"out_dtype: expected None without out_scale, got {arguments.shown(out_dtype)}"
            )
        if type(out_zero_point) is not int or out_zero_point != 0:
            shown = arguments.shown(out_zero_point)
            raise ArgumentError(f"out_zero_point: expected 0 without out_scale, got {shown}")
    (left_name, left), (right_name, right) = scales.items()
    if left is None and right is None and out_scale is None:
        return _S32, None, 1.0
    for name, value in scales.items():
        if value is None:
            raise ArgumentError(f"{name}: expected a scale beside the others, got None")
    factor = _in_float32(left_name, _scale(left_name, left) * _scales(right_name, right, count))
    dtype: np.dtype[Any] = _F32
    unit = 1.0
    if out_scale is not None:
        unit = _scale("out_scale", out_scale)
        factor = _in_float32(left_name, factor / unit)
        dtype = U8 if out_dtype is None else byte_dtype("out_dtype", out_dtype)
    return dtype, np.full(count, factor, _F32), unit


def _in_float32(name: str, values: Scales) -> Scales:
    """Round products or quotients of two float32, of float64, to what float32 itself would give."""
    largest = values if isinstance(values, float) else values.max(initial=0.0)
    if largest > _LARGEST:
        raise ArgumentError(f"{name}: expected scales whose product float32 holds, got {largest:.3g}")
    if isinstance(values, float):
        return float(np.float32(values))
    return values.astype(_F32).astype(np.float64)


def _scale(name: str, value: Any) -> float:
    if isinstance(value, np.ndarray) and value.size == 1:
        arguments.check_mask(name, value)
        value = value.item()
    number = arguments.number(name, value)
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


def byte_dtype(name: str, value: Any) -> np.dtype[Any]:
    """Return uint8 or int8, of whatever numpy takes for either."""
    dtype: np.dtype[Any]
    try:
        dtype = np.dtype(value)
    except Exception:  # TypeError, ValueError, or an object's own mistake
        dtype = _F32
    if value is None or dtype not in (U8, S8):
        raise DTypeError(f"{name}: expected uint8 or int8, got {arguments.shown(value)}")
    return dtype


def zero_points(name: str, value: Any, dtype: np.dtype[Any], count: int, of: str) -> IntegerVector:
    """Return one number of a type, or one for each of `count` things, whose name is `of`."""
    low, high = _RANGES[dtype]
    if type(value) is int and low <= value <= high:  # the common case: microseconds count in small products
        return np.array([value], _S32)
    if isinstance(value, np.ndarray) and value.ndim > 0:
        if value.dtype.kind not in "iu":
            raise DTypeError(f"{name}: expected integers, got {value.dtype}")
        arguments.check_mask(name, value)
        if value.ndim > 1 or value.size not in (1, count):
            several = "" if count == 1 else f", or one for each of {count} {of}"
            raise ShapeError(f"{name}: expected one integer{several}, got an array of shape {value.shape}")
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
