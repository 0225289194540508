"""Element types: conversions between them."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.errors import DTypeError, UnsupportedOpError
from fastconv.graph.context import Context
from fastconv.graph.registry import op
from fastconv.graph.value import Array, Value

# By ONNX's numbers and, before opset 6, Cast's names.
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
    17: "FLOAT8E4M3FN",
    18: "FLOAT8E4M3FNUZ",
    19: "FLOAT8E5M2",
    20: "FLOAT8E5M2FNUZ",
    21: "UINT4",
    22: "INT4",
    23: "FLOAT4E2M1",
    25: "UINT2",
    26: "INT2",
}
_NUMPY = {"FLOAT": "float32", "DOUBLE": "float64"}
# Those that numpy lacks are ml_dtypes', which onnx brings.
_ML_DTYPES = {
    "BFLOAT16": "bfloat16",
    "FLOAT8E4M3FN": "float8_e4m3fn",
    "FLOAT8E4M3FNUZ": "float8_e4m3fnuz",
    "FLOAT8E5M2": "float8_e5m2",
    "FLOAT8E5M2FNUZ": "float8_e5m2fnuz",
    "UINT4": "uint4",
    "INT4": "int4",
    "FLOAT4E2M1": "float4_e2m1fn",
    "UINT2": "uint2",
    "INT2": "int2",
}


def element_type(name: str, number: int | str) -> np.dtype[Any]:
    """Return the dtype that ONNX has a number (or a name) for; ``name`` starts the message."""
    known = _NAMES.get(number) if isinstance(number, int) else number
    if known not in _NAMES.values():
        raise UnsupportedOpError(f"{name}: expected an element type among {_NAMES}, got {number!r}")
    assert isinstance(known, str)
    if known not in _ML_DTYPES:
        return np.dtype(_NUMPY.get(known, known.lower()))
    try:
        import ml_dtypes
    except ImportError:
        raise UnsupportedOpError(
            f"{name}: {_ML_DTYPES[known]} needs the package ml_dtypes: pip install ml_dtypes"
        ) from None
    dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, _ML_DTYPES[known]))
    return dtype


def is_float8(dtype: np.dtype[Any]) -> bool:
    """Whether a dtype is one of the 8-bit floats."""
    return dtype.name.startswith("float8_")


def to_float8(x: Array, dtype: np.dtype[Any], saturate: bool) -> Array:
    """Convert to an 8-bit float; what is out of its range becomes its ends, or else infinite or NaN."""
    if not saturate:
        return x.astype(dtype)
    import ml_dtypes  # whose dtype it is

    limits: Any = ml_dtypes.finfo(dtype)
    return np.clip(x, float(limits.min), float(limits.max)).astype(dtype)


def _cast(ctx: Context, x: Value, dtype: np.dtype[Any], saturate: int) -> Value:
    if is_float8(dtype) and x.dtype != dtype:
        return ctx.call(lambda a: to_float8(a, dtype, saturate != 0), [x], x.shape, dtype, "cast")
    return ctx.cast(x, dtype)


@op("Cast", ignore=("round_mode",), any_dtype=True)
def cast(ctx: Context, x: Value, *, saturate: int = 1, to: int | str) -> Value:
    """Another element type; floats are cut to integers towards zero."""
    return _cast(ctx, x, element_type("to", to), saturate)


@op("CastLike", ignore=("round_mode",), any_dtype=True)
def cast_like(ctx: Context, x: Value, like: Value, *, saturate: int = 1) -> Value:
    """Return x in the element type of another value."""
    return _cast(ctx, x, like.dtype, saturate)


@op("BitCast", any_dtype=True)
def bit_cast(ctx: Context, x: Value, *, to: int) -> Value:
    """Return the same bits as another element type of the same size."""
    dtype = element_type("to", to)
    if dtype.itemsize != x.dtype.itemsize:
        raise DTypeError(f"to: expected a type of {x.dtype.itemsize} bytes, as {x.dtype}, got {dtype}")

    def function(array: Array) -> Array:
        return np.ascontiguousarray(array).view(dtype).reshape(array.shape)

    return ctx.call(function, [x], x.shape, dtype)
