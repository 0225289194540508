"""What every public function does with its arguments before it calls ``_core``: check, name, normalise.

Arrays become float32 ndarrays without a copy; images become *logical* NCHW views, whatever their memory
order, which is what ``_core`` takes. A message starts with the argument's name, then says what was expected,
then what came.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastconv import _core
from fastconv._foreign import imported
from fastconv.errors import ArgumentError, DTypeError, ShapeError

FloatArray: TypeAlias = NDArray[np.float32]

MAX_RANK = 6  # csrc/core/types.h, kMaxRank

_LAYOUTS = {1: ("NCW", "NWC"), 2: ("NCHW", "NHWC"), 3: ("NCDHW", "NDHWC")}
_INF = math.inf
# Looked at first with `is`, which nearly every array passes: the comparison of dtypes takes 0.2 us.
_FLOAT32 = np.dtype(np.float32)
_FLOATS = ("float16", "bfloat16", "float64")
_UINT8, _INT8 = np.dtype(np.uint8), np.dtype(np.int8)

# Axes of a channels-last array in NC<spatial> order, and back, by rank; np.moveaxis works them out in 2 us.
_TO_LOGICAL = {rank: (0, rank - 1, *range(1, rank - 1)) for rank in range(2, MAX_RANK + 1)}
_TO_PHYSICAL = {rank: (0, *range(2, rank), 1) for rank in range(2, MAX_RANK + 1)}

# Name: its _core name and the defaults of its parameters (csrc/core/epilogue.h, enum Act).
_ACTIVATIONS: dict[str, tuple[str, tuple[float, ...]]] = {
    "relu": ("clamp", (0.0, _INF)),
    "relu6": ("clamp", (0.0, 6.0)),
    "clamp": ("clamp", (-_INF, _INF)),
    "leaky_relu": ("leaky_relu", (0.01,)),
    "sigmoid": ("sigmoid", ()),
    "silu": ("silu", ()),
    "hardsigmoid": ("hardsigmoid", (1.0 / 6.0, 0.5)),
    "hardswish": ("hardswish", ()),
    "gelu": ("gelu", ()),
    "gelu_tanh": ("gelu_tanh", ()),
    "mish": ("mish", ()),
    "tanh": ("tanh", ()),
    "elu": ("elu", (1.0,)),
}


def as_array(name: str, x: Any, rank: int | None = None, dtype: np.dtype[Any] = _FLOAT32) -> NDArray[Any]:
    """Return `x` as an ndarray of the given dtype and rank (of at most `MAX_RANK` where it is None).

    Takes ndarrays, whatever exports ``__dlpack__`` or ``__array__``, and lists of numbers. Shares memory,
    unless the data is not aligned to 4 bytes. Arrays of other dtypes are not converted: that would hide a
    copy, and what is lost by it.
    """
    if not isinstance(x, np.ndarray):
        x = _from_list(name, x, dtype) if isinstance(x, list | tuple) else imported(name, x)
    if x.dtype is not dtype and x.dtype != dtype:
        raise DTypeError(
            f"{name}: expected dtype {dtype.name} in native byte order, got {_dtype_name(x.dtype)}"
            + ("; astype('float32') makes it that" if x.dtype.name in _FLOATS and dtype == _FLOAT32 else "")
        )
    if rank is None and x.ndim > MAX_RANK:
        raise ShapeError(f"{name}: expected at most {MAX_RANK} dimensions, got {x.ndim} (shape {x.shape})")
    if rank is not None and x.ndim != rank:
        raise ShapeError(f"{name}: expected {rank} dimensions, got {x.ndim} (shape {x.shape})")
    if type(x) is not np.ndarray:
        check_mask(name, x)
    array: NDArray[Any] = x if type(x) is np.ndarray else np.asarray(x)
    return array if array.flags.aligned else array.copy()


def as_bytes(name: str, x: Any, rank: int) -> NDArray[Any]:
    """Return `x` as an ndarray of uint8 or int8 and of a rank, without a copy; else as `as_array`."""
    if not isinstance(x, np.ndarray):
        x = imported(name, x)
    if x.dtype is not _UINT8 and x.dtype is not _INT8 and x.dtype not in (_UINT8, _INT8):
        raise DTypeError(f"{name}: expected dtype uint8 or int8, got {_dtype_name(x.dtype)}")
    return as_array(name, x, rank, x.dtype)


def check_mask(name: str, x: Any) -> None:
    """Refuse a masked array that hides some of its elements: what is under a mask is no data."""
    if isinstance(x, np.ma.MaskedArray):
        count = int(np.count_nonzero(np.ma.getmaskarray(x)))
        if count:
            raise DTypeError(f"{name}: expected an array without masked elements, got {count} of {x.size}")


def _from_list(name: str, x: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return numbers in lists as an array of a dtype; DTypeError where it does not hold them."""
    try:
        array = np.array(x)
    except Exception as error:  # lists of unequal lengths, or an object's own mistake
        raise DTypeError(f"{name}: expected numbers in lists of equal lengths, got: {error}") from error
    if (
        array.dtype.kind not in {"f": "iuf", "i": "iu", "u": "iu", "b": "b"}.get(dtype.kind, "")
        and array.size
    ):
        raise DTypeError(f"{name}: expected numbers for dtype {dtype.name}, got a list of {array.dtype.name}")
    with np.errstate(all="ignore"):
        converted = array.astype(dtype)
    held = np.isfinite(converted) | ~np.isfinite(array) if dtype.kind == "f" else converted == array
    if not np.all(held):
        raise DTypeError(f"{name}: expected numbers that {dtype.name} holds, got a list with larger ones")
    return converted


def _dtype_name(dtype: np.dtype[Any]) -> str:
    return dtype.name if dtype.isnative else f"{dtype.name} in the other byte order ({dtype.str})"


def as_vector(name: str, x: Any, length: int, of: str) -> FloatArray:
    """Return `x` as a dense float32 vector, one element for each of `length` things; `of` is their name."""
    vector = as_array(name, x, rank=1)
    if vector.shape[0] != length:
        raise ShapeError(f"{name}: expected one element for each of {length} {of}, got {vector.shape[0]}")
    return np.ascontiguousarray(vector)


def integer(name: str, value: Any, minimum: int) -> int:
    """Return `value` as an int that is at least `minimum`; bools and floats are not integers."""
    if type(value) is int and minimum <= value < 2**31:  # the common case, as in number()
        return value
    if isinstance(value, (bool, np.bool_)):
        raise DTypeError(f"{name}: expected an integer, got {shown(value)}")
    try:
        n = operator.index(value)
    except Exception:  # TypeError, or an object's own mistake
        raise DTypeError(f"{name}: expected an integer, got {_described(value)}") from None
    if n < minimum:
        raise ArgumentError(f"{name}: expected an integer of at least {minimum}, got {shown(n)}")
    if n >= 2**31:
        raise ArgumentError(f"{name}: expected an integer below 2**31, got {shown(n)}")
    return n


def integers(name: str, value: Any, count: int, minimum: int) -> tuple[int, ...]:
    """Return `count` integers of at least `minimum`; `value` is one for all of them, or a sequence."""
    if isinstance(value, int):
        return (integer(name, value, minimum),) * count
    if isinstance(value, (str, bytes)):
        raise DTypeError(f"{name}: expected {_count(count)}, got {shown(value)}")
    if not isinstance(value, (Sequence, np.ndarray)) or (isinstance(value, np.ndarray) and value.ndim == 0):
        return (integer(name, value, minimum),) * count
    if len(value) == 1:
        return (integer(name, value[0], minimum),) * count
    if len(value) != count:
        raise ArgumentError(f"{name}: expected {_count(count)}, got {len(value)} values: {shown(value)}")
    return tuple(integer(name, v, minimum) for v in value)


def pair(name: str, value: Any, minimum: int) -> tuple[int, int]:
    """Return `integers` for height and width."""
    h, w = integers(name, value, 2, minimum)
    return h, w


def number(name: str, value: Any) -> float:
    """Return `value` as a float; bools, strings and NaN are refused."""
    if type(value) is float and value == value:  # the common case: a microsecond counts in small products
        return value
    if isinstance(value, (bool, np.bool_, str, bytes)):
        raise DTypeError(f"{name}: expected a number, got {shown(value)}")
    try:
        x = float(value)
    except OverflowError:
        raise ArgumentError(
            f"{name}: expected a number in the range of a float, got {shown(value)}"
        ) from None
    except Exception:  # TypeError, ValueError, or an object's own mistake
        raise DTypeError(f"{name}: expected a number, got {_described(value)}") from None
    if math.isnan(x):
        raise ArgumentError(f"{name}: expected a number, got nan")
    return x


def flag(name: str, value: Any) -> bool:
    """Return `value` as a bool: True, False, 1 or 0."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    try:
        n = operator.index(value)
    except Exception:  # TypeError, or an object's own mistake
        n = -1
    if n not in (0, 1):
        raise DTypeError(f"{name}: expected True or False, got {shown(value)}")
    return n == 1


def shown(value: Any) -> str:
    """Return `value` as a message shows it: of what is long, the beginning."""
    try:
        text = repr(value)
    except Exception:  # an integer of more digits than Python writes, or an object's own mistake
        return f"{type(value).__name__} that cannot be shown"
    return text if len(text) <= 200 else f"{text[:200]}..."


def _count(count: int) -> str:
    return "an integer" if count == 1 else f"an integer or {count} of them"


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    return f"{type(value).__name__} {shown(value)}"


def activation(name: str, value: Any) -> tuple[str, float, float]:
    """Return the name, alpha and beta that ``_core`` takes for an activation.

    `value` is None, a name, or a tuple of a name and its parameters: ``("leaky_relu", 0.1)``,
    ``("clamp", 0.0, 1.0)``.
    """
    if value is None:
        return "none", 0.0, 0.0
    key, *given = value if isinstance(value, tuple) and value else (value,)
    if not isinstance(key, str) or key not in _ACTIVATIONS:
        raise ArgumentError(f"{name}: expected None or one of {', '.join(_ACTIVATIONS)}, got {shown(value)}")
    act, defaults = _ACTIVATIONS[key]
    accepted = 0 if key in ("relu", "relu6") else len(defaults)  # the name of those two says it all
    if len(given) > accepted:
        raise ArgumentError(f"{name}: expected at most {accepted} parameters of {key}, got {shown(value)}")
    parameters = [*(number(name, v) for v in given), *defaults[len(given) :], 0.0, 0.0]
    return act, parameters[0], parameters[1]


def frozen_activation(value: Any) -> tuple[str | float, ...] | None:
    """Return what says the same to :func:`activation`, without the objects that the caller may change."""
    act, alpha, beta = activation("activation", value)
    return None if act == "none" else (act, alpha, beta)[: 1 + len(_ACTIVATIONS[act][1])]


def is_channels_last(layout: Any, spatial: int = 2) -> bool:
    """Tell which of the two layouts of so many spatial dimensions `layout` is."""
    first, last = _LAYOUTS[spatial]
    if not isinstance(layout, str) or layout not in (first, last):
        raise ArgumentError(f"layout: expected {first!r} or {last!r}, got {shown(layout)}")
    return layout == last


def logical(x: NDArray[Any], channels_last: bool) -> NDArray[Any]:
    """View an array of the caller's layout in logical order (NCHW)."""
    return x.transpose(_TO_LOGICAL[x.ndim]) if channels_last else x


def physical(y: NDArray[Any], channels_last: bool) -> NDArray[Any]:
    """View an array in logical order (NCHW) in the caller's layout: the inverse of `logical`."""
    return y.transpose(_TO_PHYSICAL[y.ndim]) if channels_last else y


def output(
    out: Any,
    shape: tuple[int, ...],
    x: NDArray[Any],
    channels_last: bool,
    inputs: Sequence[NDArray[Any]] = (),
    dtype: np.dtype[Any] = _FLOAT32,
) -> NDArray[Any]:
    """Return the array to write, in logical order: a new one, or `out`, checked.

    `shape` and `x` (the input) are in logical order, `out` in the caller's layout. A new array has
    channels-last memory where the caller's layout says so or where `x` has. `out` may overlap neither `x` nor
    the other `inputs`.
    """
    if out is not None:
        n, c, *spatial = shape
        expected = (n, *spatial, c) if channels_last else shape
        return logical(checked_output(out, expected, (x, *inputs), dtype=dtype), channels_last)
    if channels_last or (x.ndim > 2 and x.shape[1] > 1 and x.strides[1] == x.itemsize != x.strides[-1]):
        n, c, *spatial = shape
        return logical(empty((n, *spatial, c), dtype), True)
    return empty(shape, dtype)


def empty(shape: tuple[int, ...], dtype: np.dtype[Any] = _FLOAT32) -> NDArray[Any]:
    """Return a new array for a result; MemoryError, numpy's, where the machine has not that much."""
    try:
        return np.empty(shape, dtype)
    except ValueError:  # more bytes than an address counts, or an empty array with such other dimensions
        raise ShapeError(f"out: expected a result that an array can hold, got shape {shape}") from None


def output_like(out: Any, x: FloatArray) -> FloatArray:
    """Return the array that an element-by-element function writes: a new one, or `out`, which may be `x`."""
    if out is None:
        return np.empty_like(x, subok=False)
    return checked_output(out, x.shape, (x,), in_place=True)


def checked_output(
    out: Any,
    shape: tuple[int, ...],
    inputs: Sequence[NDArray[Any]],
    *,
    in_place: bool = False,
    dtype: np.dtype[Any] = _FLOAT32,
) -> NDArray[Any]:
    """Return `out`, writable, of that shape and type, which overlaps no input (`in_place`: or is one)."""
    if not isinstance(out, np.ndarray):
        raise DTypeError(f"out: expected a numpy array, got {type(out).__name__}")
    if out.dtype is not dtype and out.dtype != dtype:
        raise DTypeError(
            f"out: expected dtype {dtype.name} in native byte order, got {_dtype_name(out.dtype)}"
        )
    if out.shape != shape:
        raise ShapeError(f"out: expected shape {shape}, got {out.shape}")
    if type(out) is not np.ndarray:
        check_mask("out", out)
    flags = out.flags
    if not (flags.writeable and flags.aligned):
        raise ArgumentError(
            f"out: expected a writable array aligned to {dtype.itemsize} bytes, got one that is not"
        )
    if not (flags.c_contiguous or flags.f_contiguous) and not _distinct(out):
        raise ArgumentError(f"out: expected distinct elements, got strides {out.strides} that repeat some")
    for x in inputs:
        if not (in_place and _same(x, out)) and _overlap(x, out):
            raise ArgumentError("out: expected memory that no input shares, got an array that overlaps one")
    return out


def _distinct(out: NDArray[Any]) -> bool:
    """Tell whether elements lie apart, each axis stepping over all that those of smaller strides reach."""
    end = out.itemsize
    for stride, n in sorted((abs(s), n) for s, n in zip(out.strides, out.shape, strict=True)):
        if n > 1:
            if stride < end:
                return False
            end += stride * (n - 1)
    return True


def _same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return bool(a.ctypes.data == b.ctypes.data and a.strides == b.strides and a.shape == b.shape)


def _overlap(a: NDArray[Any], b: NDArray[Any]) -> bool:
    if not _core.bounds_overlap(a, b):
        return False
    try:
        return np.shares_memory(a, b, max_work=10_000)  # type: ignore[arg-type]  # the stub knows 0 and -1
    except np.exceptions.TooHardError:
        return True  # their bounds overlap, and no quick proof that their elements do not


PRECISIONS = ("fast", "exact", "bf16")


def check_precision(precision: Any) -> None:
    """Raise unless `precision` is one of its names."""
    if not isinstance(precision, str) or precision not in PRECISIONS:
        raise ArgumentError(f"precision: expected 'fast', 'exact' or 'bf16', got {shown(precision)}")
