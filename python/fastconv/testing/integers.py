"""What the integer operators of ONNX mean: exact sums in int64, requantised in float64, ties to even.

The oracle of the tests of quantised operators. Other libraries are none: without VNNI some add pairs of
products of u8 x s8 in 16 bits, where they saturate.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Inputs = Sequence[Array | None]


def _minus(x: Array, zero: Array | None, axis: int) -> Array:
    """Return x less its zero point, of which there is one, or one for each index of an axis, in int64."""
    wide = x.astype(np.int64)
    if zero is None:
        return wide
    shape = [1] * x.ndim
    if zero.size > 1:
        shape[axis] = zero.size
    return wide - zero.astype(np.int64).reshape(shape)


def _requantise(sums: Array, factor: Array, zero: Array) -> Array:
    info = np.iinfo(zero.dtype)
    values = np.rint(sums.astype(np.float64) * factor) + int(zero)
    clipped: Array = np.clip(values, info.min, info.max)
    return clipped.astype(zero.dtype)


def _padding(attrs: Mapping[str, Any], size: Sequence[int], extent: Sequence[int]) -> list[tuple[int, int]]:
    strides = attrs.get("strides", [1] * len(size))
    automatic = attrs.get("auto_pad", "NOTSET")
    if automatic in ("SAME_UPPER", "SAME_LOWER"):
        totals = [max(0, (-(-n // s) - 1) * s + e - n) for n, s, e in zip(size, strides, extent, strict=True)]
        halves = [(t // 2, t - t // 2) for t in totals]
        return halves if automatic == "SAME_UPPER" else [(hi, lo) for lo, hi in halves]
    pads = attrs.get("pads", [0] * 2 * len(size))
    return list(zip(pads[: len(size)], pads[len(size) :], strict=True))


def convolve(x: Array, w: Array, attrs: Mapping[str, Any]) -> Array:
    """Return the convolution, in int64 or float64, of x (n, ic, *size) by w (oc, ic / group, *kernel)."""
    kernel, group = w.shape[2:], attrs.get("group", 1)
    strides = attrs.get("strides", [1] * len(kernel))
    dilations = attrs.get("dilations", [1] * len(kernel))
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    padded = np.pad(x, [(0, 0), (0, 0), *_padding(attrs, x.shape[2:], extent)])
    out = [(n - e) // s + 1 for n, e, s in zip(padded.shape[2:], extent, strides, strict=True)]
    parts = []
    for xg, wg in zip(np.split(padded, group, axis=1), np.split(w, group), strict=True):
        y = np.zeros((x.shape[0], wg.shape[0], *out), np.result_type(x, w))
        for index, tap in enumerate(itertools.product(*map(range, kernel))):
            place: list[Any] = [slice(None), slice(None)]
            place += [
                slice(t * d, t * d + (o - 1) * step + 1, step)
                for t, d, o, step in zip(tap, dilations, out, strides, strict=True)
            ]
            window = xg[tuple(place)]
            y += np.moveaxis(
                np.tensordot(wg.reshape(*wg.shape[:2], -1)[:, :, index], window, axes=([1], [1])), 0, 1
            )
        parts.append(y)
    return np.concatenate(parts, axis=1)


def integer_operator(op: str, inputs: Inputs, attrs: Mapping[str, Any]) -> Array:
    """Return what ConvInteger, MatMulInteger, QLinearConv or QLinearMatMul gives, by its definition.

    Parameters
    ----------
    op : str
        The operator's name in ONNX.
    inputs : sequence of ndarray or None
        Its inputs, in the operator's order; those at the end may be left out.
    attrs : mapping
        Its attributes.

    Returns
    -------
    ndarray
        int32, or of the type of the output's zero point.

    Examples
    --------
    >>> a, b = np.full((1, 2), 255, np.uint8), np.full((2, 1), 127, np.int8)
    >>> integer_operator("MatMulInteger", [a, b], {})
    array([[64770]], dtype=int32)
    """
    given = [*inputs, None, None]
    if op in ("MatMulInteger", "ConvInteger"):
        x, w, x_zero, w_zero = given[:4]
        assert x is not None
        assert w is not None
        if op == "MatMulInteger":
            sums: Array = np.matmul(_minus(x, x_zero, -2), _minus(w, w_zero, -1))
            return sums.astype(np.int32)
        return convolve(_minus(x, x_zero, 1), _minus(w, w_zero, 0), attrs).astype(np.int32)
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias = given[:9]
    assert x is not None
    assert w is not None
    assert x_scale is not None
    assert w_scale is not None
    assert y_scale is not None
    assert y_zero is not None
    factor = x_scale.astype(np.float64) * w_scale.astype(np.float64) / y_scale.astype(np.float64)
    if op == "QLinearMatMul":
        return _requantise(np.matmul(_minus(x, x_zero, -2), _minus(w, w_zero, -1)), factor, y_zero)
    per_channel = (-1, *[1] * (x.ndim - 2))
    sums = convolve(_minus(x, x_zero, 1), _minus(w, w_zero, 0), attrs)
    if bias is not None:
        sums += bias.astype(np.int64).reshape(per_channel)
    return _requantise(sums, factor.reshape(per_channel) if factor.size > 1 else factor, y_zero)
