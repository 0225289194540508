"""Element types: conversions between them."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.errors import DTypeError, UnsupportedOpError
from fastconv.graph.context import Context
from fastconv.graph.registry import op
from fastconv.graph.value import Array, Value

# By ONNX's numbers and, before opset 6, Cast's names. bfloat16 is ml_dtypes', which onnx brings.
_NAMES = {
    1: "FLOAT",
    2: "UINT8",
    3: "INT8",
    4: "UINT16",
    5: "INT16",
    6: "INT32",
    7: "INT64",
    9: "BOOL",
    10: "FLOAT16",
    11: "DOUBLE",
    12: "UINT32",
    13: "UINT64",
    16: "BFLOAT16",
}
_NUMPY = {"FLOAT": "float32", "DOUBLE": "float64"}


def element_type(name: str, number: int | str) -> np.dtype[Any]:
    """Return the dtype that ONNX has a number (or a name) for; ``name`` starts the message."""
    known = _NAMES.get(number) if isinstance(number, int) else number
    if known not in _NAMES.values():
        raise UnsupportedOpError(f"{name}: expected an element type among {_NAMES}, got {number!r}")
    assert isinstance(known, str)
    if known == "BFLOAT16":
        return _bfloat16(name)
    return np.dtype(_NUMPY.get(known, known.lower()))


def _bfloat16(name: str) -> np.dtype[Any]:
    try:
        import ml_dtypes
    except ImportError:
        raise UnsupportedOpError(
            f"{name}: bfloat16 needs the package ml_dtypes: pip install ml_dtypes"
        ) from None
    return np.dtype(ml_dtypes.bfloat16)


@op("Cast", ignore=("saturate", "round_mode"), any_dtype=True)
def cast(ctx: Context, x: Value, *, to: int | str) -> Value:
    """Another element type; floats are cut to integers towards zero."""
    return ctx.cast(x, element_type("to", to))


@op("CastLike", ignore=("saturate", "round_mode"), any_dtype=True)
def cast_like(ctx: Context, x: Value, like: Value) -> Value:
    """The element type of another value."""
    return ctx.cast(x, like.dtype)


@op("BitCast", any_dtype=True)
def bit_cast(ctx: Context, x: Value, *, to: int) -> Value:
    """The same bits as another element type of the same size."""
    dtype = element_type("to", to)
    if dtype.itemsize != x.dtype.itemsize:
        raise DTypeError(f"to: expected a type of {x.dtype.itemsize} bytes, as {x.dtype}, got {dtype}")

    def function(array: Array) -> Array:
        return np.ascontiguousarray(array).view(dtype).reshape(array.shape)

    return ctx.call(function, [x], x.shape, dtype)
