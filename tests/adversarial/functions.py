"""Public functions called with arguments that somebody made to hurt: strategies of ``hypothesis``.

A call starts out right, its arguments drawn for the function's family; then some are replaced by what no
caller would mean: axes of zero, 2^62, None, the other byte order, strides of zero, an ``out`` that is an
input. What may come of it is an error of ours whose message starts with an argument's name, or the right
result. What kind of thing an argument is, its name says: a new function with the same names is tried by
itself, and ``family`` refuses one that nothing is known about.

The right arguments and the right results are those of :mod:`~adversarial.families`.
"""

from __future__ import annotations

import decimal
import fractions
import inspect
import math
import operator
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from adversarial.drawing import Arguments
from adversarial.families import family
from fastconv.errors import FastconvError

COARSE = (
    2.0**-8
)  # what activations and Winograd's forms may differ by, relatively; a misread argument by more
EXTREME = 1e30  # beyond it float32 and the float64 reference overflow at different places
MEMORY = 256 << 20  # address space of a child: larger results are refused by the system, not written

ARRAYS = (
    *("x", "w", "bias", "residual", "scale", "a", "b", "c"),
    *("running_mean", "running_var", "weight", "grid"),
)
INTEGERS = (
    "stride",
    "padding",
    "dilation",
    "groups",
    "num_groups",
    "kernel_size",
    "output_padding",
    "output_size",
    "upscale_factor",
    "downscale_factor",
    "size",
    "axis",
    "threads",
    "a_zero_point",
    "b_zero_point",
    "x_zero_point",
    "w_zero_point",
    "out_zero_point",
)
NUMBERS = (
    *("alpha", "beta", "eps", "negative_slope", "scale_factor"),
    *("a_scale", "b_scale", "x_scale", "w_scale", "out_scale"),
)
NAMES = ("layout", "mode", "algorithm", "precision", "activation", "x_dtype", "out_dtype", "padding_mode")
FLAGS = ("ceil_mode", "count_include_pad", "align_corners", "trans_a", "trans_b")

# Classes whose objects are called, and with what.
PLANNED = {
    **{f"Conv{n}d": ("x", "residual", "out") for n in (1, 2, 3)},
    **{f"ConvTranspose{n}d": ("x", "residual", "out") for n in (1, 2, 3)},
    "QConv2d": ("x", "out"),
    "XnorConv2d": ("x", "residual", "out"),
}

HUGE_TEXT = 10**5000  # Python refuses to write it out
OBJECTS: tuple[Any, ...] = (
    *(None, True, False, "", "1", "\0", "x" * 10_000, b"ab", (), [], {}, set(), object(), object, len),
    *(1j, math.nan, math.inf, -math.inf, HUGE_TEXT, -HUGE_TEXT, [None], [[1]], range(2), slice(2)),
    *(np.zeros((2, 2)), np.array("x"), np.array(None), np.str_("relu"), np.bool_(True), np.float16(1)),
)
INTEGER_VALUES: tuple[Any, ...] = (
    *(
        -(1 << 62),
        -(1 << 31),
        -2,
        -1,
        0,
        1,
        2,
        3,
        1000,
        (1 << 31) - 1,
        1 << 31,
        1 << 62,
        (1 << 63) - 1,
        1 << 64,
    ),
    *(
        1.0,
        2.5,
        (1,),
        (1, 1),
        (2, 1),
        (1, 1, 1),
        (1,) * 4,
        (0,) * 6,
        (1,) * 40,
        [2, 1],
        (1 << 31, 1),
        (1, -1),
    ),
    *(
        (1.0, 1),
        (True, 1),
        (None, 1),
        (HUGE_TEXT, 1),
        np.int64(2),
        np.uint8(1),
        np.array(2),
        np.array([1, 2]),
    ),
    *(np.array([[1, 1]]), np.array([1.5]), np.array([], np.int64), "same", "valid", "same_lower"),
)
NUMBER_VALUES: tuple[Any, ...] = (
    *(0, -1, 2, 0.0, -0.0, 0.5, -0.5, 1.5, 3.0, 1e308, -1e308, 1e-320, 1 << 62, 10**400, (2.0, 0.5), (2.0,)),
    *((math.nan, 1.0), (1e308, 1e308), (1.0, None), [1, 2], np.float32(0.5), np.int8(2), np.array(0.5)),
    *(
        np.array([0.5]),
        np.array([2.0, 1.0]),
        fractions.Fraction(1, 2),
        decimal.Decimal("0.5"),
        decimal.Decimal("sNaN"),
    ),
)
NAME_VALUES: tuple[Any, ...] = (
    *("NCHW", "NHWC", "NCW", "NWC", "NCDHW", "NDHWC", "nchw", "nearest", "bilinear", "bicubic", "auto"),
    *("exact", "direct", "im2col", "winograd_f2", "winograd_f4", "reference", "none", "relu", b"NCHW"),
    *(np.array("NCHW"), ("relu",), ("relu", 1.0), ("leaky_relu", 0.5), ("leaky_relu", math.nan), ["relu"]),
    *(("leaky_relu", "x"), ("clamp", 1.0, -1.0), ("clamp", 0.0, 1.0, 2.0), ((),), ("elu", HUGE_TEXT)),
    *(("elu", 1 << 62), "gelu", "fast", "zeros", "reflect", "replicate", "circular", "border", "bf16"),
)  # fmt: skip


class Exporter:
    """An object whose ``__array__`` or ``__dlpack__`` fails or returns what is no array."""

    def __init__(self, protocol: str, value: Any) -> None:
        def call(*_: Any, **__: Any) -> Any:
            if isinstance(value, Exception):
                raise value
            return value

        self.__dict__[protocol] = call
        self.__array__ = call


# ---- arrays ----------------------------------------------------------------------------------------------


def spaced(a: Any) -> Any:
    """Return a copy with gaps between its elements, running backwards along the first axis."""
    if a.ndim == 0:
        return a.copy()
    wide = np.zeros(tuple(2 * n for n in a.shape), a.dtype)
    view = wide[tuple(slice(None, None, -2) if i == 0 else slice(None, None, 2) for i in range(a.ndim))]
    view[...] = a
    return view


def unaligned(a: Any) -> Any:
    """Return a copy that begins at an odd address."""
    raw = np.zeros(a.nbytes + 1, np.uint8)
    view = raw[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def read_only(a: Any) -> Any:
    """Return a copy that may not be written."""
    copy = a.copy()
    copy.flags.writeable = False
    return copy


def overlapping_itself(a: Any) -> Any:
    """Return a writable view of the shape whose elements lie over one another."""
    return np.lib.stride_tricks.as_strided(np.zeros(a.size + 1, a.dtype), a.shape, (4,) * a.ndim)


def with_value(a: Any, value: float) -> Any:
    """Return a copy whose first element is another, if it can be."""
    copy = a.copy()
    if a.dtype.kind == "f":
        copy.flat[:1] = value
    return copy


#: Each takes an array that would be right: the same numbers in another form, or something that is wrong.
FORMS: dict[str, Callable[[Any], Any]] = {
    "gaps": spaced,
    "unaligned": unaligned,
    "read-only": read_only,
    "Fortran order": np.asfortranarray,
    "zero strides": lambda a: np.broadcast_to(np.float32(1), a.shape),
    "masked": lambda a: np.ma.masked_array(a, a > 0),
    "dlpack": lambda _: Exporter("__dlpack__", ValueError("no")),
    "array": lambda _: Exporter("__array__", KeyError("no")),
    "array of text": lambda _: Exporter("__array__", "x"),
    "NaN": lambda a: with_value(a, math.nan),
    "infinity": lambda a: with_value(a, math.inf),
    "other byte order": lambda a: a.astype(a.dtype.newbyteorder()),
    "f64": lambda a: a.astype(np.float64),
    "f16": lambda a: a.astype(np.float16),
    "s32": lambda a: a.astype(np.int32),
    "bool": lambda a: a.astype(bool),
    "complex": lambda a: a.astype(np.complex64),
    "objects": lambda a: a.astype(object),
    "text": lambda a: a.astype(str),
    "records": lambda a: np.zeros(a.shape, [("f", np.float32)]),
    "list": lambda a: a.tolist(),
    "buffer": memoryview,
    "rank 0": lambda _: np.float32(1).reshape(()),
    "one more axis": lambda a: a[np.newaxis],
    "one axis less": lambda a: a[0] if a.ndim and a.shape[0] else a.reshape(-1),
    "rank 7": lambda a: a.reshape(*a.shape, *(1,) * (7 - a.ndim)),
    "rank 40": lambda a: a.reshape(*a.shape, *(1,) * (40 - a.ndim)),
    "no elements": lambda a: a[:0] if a.ndim else a,
    "no last axis": lambda a: a[..., :0] if a.ndim else a,
    "longer": lambda a: np.concatenate([a, a]) if a.ndim else a,
    "empty and huge": lambda a: np.zeros((0, *(1 << 20,) * 2, *a.shape[3:]), np.float32) if a.ndim > 2 else a,
    "reversed axes": lambda a: a.T,
}  # fmt: skip


# ---- hostile arguments -----------------------------------------------------------------------------------


def hostile_value(draw: Any, name: str, arguments: Arguments) -> Any:
    """Draw what no caller would mean for an argument."""
    right = arguments.get(name)
    if name in ARRAYS and isinstance(right, np.ndarray) and draw(st.integers(0, 9)):
        return FORMS[draw(st.sampled_from(sorted(FORMS)))](right)
    kinds = ((INTEGERS, INTEGER_VALUES), (NUMBERS, NUMBER_VALUES), (NAMES, NAME_VALUES))
    for names, values in kinds:
        if name in names:
            return draw(st.sampled_from((*values, *values, *OBJECTS)))
    if name in ARRAYS or name in FLAGS:
        return draw(st.sampled_from((*OBJECTS, 0, 1, 2)))
    raise LookupError(f"{name}: no strategy draws such an argument; see adversarial.functions")


def hostile_out(draw: Any, result: Any, arguments: Arguments) -> Any:
    """Draw an output: one that is right, one that is an input or lies over one, or anything else."""
    given = [v for n, v in arguments.items() if n in ARRAYS and isinstance(v, np.ndarray)]
    choice = draw(st.integers(0, 9))
    if choice < 3 and given:
        a = draw(st.sampled_from(given))
        return draw(st.sampled_from((a, a[::-1] if a.ndim else a, a.T, a[1:] if a.ndim else a)))
    if choice < 5 and result is not None and given and given[0].base is None and given[0].size >= result.size:
        return given[0].reshape(-1)[given[0].size - result.size :].reshape(result.shape)
    if choice == 9 or result is None:
        return draw(st.sampled_from(OBJECTS))
    right = np.zeros(np.shape(result), result_type(result, arguments))
    forms: dict[str, Callable[[Any], Any]] = {
        **FORMS,
        "over itself": overlapping_itself,
        "right": lambda a: a,
    }
    return forms[draw(st.sampled_from(sorted(forms)))](right)


def result_type(correct: Any, arguments: Arguments) -> Any:
    """Return the type of a result whose reference is given: float32, or the first array's half of it."""
    first = arguments.get("x", arguments.get("a"))
    real = np.float16 if isinstance(first, np.ndarray) and first.dtype == np.float16 else np.float32
    return real if correct is None or correct.dtype.kind == "f" else correct.dtype


def meant(name: str, value: Any) -> Any:
    """Return an argument that was accepted as the reference takes it."""
    if isinstance(value, np.ma.MaskedArray):
        value = np.asarray(value)
    if name in ARRAYS and (isinstance(value, list | tuple) or getattr(value, "dtype", None) == np.float16):
        array = np.asarray(value)
        return array if name == "bias" and array.dtype.kind == "i" else array.astype(np.float32)
    if name == "output_size" and value is not None and np.ndim(value):
        return tuple(value)
    if name in INTEGERS and value is not None and not isinstance(value, str):
        if np.ndim(value) == 0:
            return operator.index(value)
        values = tuple(operator.index(v) for v in value)
        return values[0] if len(values) == 1 else values
    if name in NUMBERS and value is not None:
        return float(value) if np.ndim(value) == 0 else tuple(float(v) for v in value)
    if name in FLAGS:
        return bool(value)
    return value


def extreme(value: Any) -> bool:
    """Tell whether an argument leads out of what float32 holds."""
    if isinstance(value, np.ndarray):
        return not bool(np.isfinite(value.astype(np.float64)).all())
    if isinstance(value, tuple | list):
        return any(map(extreme, value))
    return isinstance(value, float) and not (value == 0 or 1 / EXTREME < abs(value) < EXTREME)


def expected(name: str, arguments: Arguments) -> Any:
    """Return the reference's result, None where it has none."""
    taken = {n: meant(n, v) for n, v in arguments.items() if n not in ("out", "algorithm", "precision")}
    with np.errstate(all="ignore"):
        return family(name)[1](taken)


def call(name: str, arguments: Arguments) -> Any:
    """Call a public function; an object of ``PLANNED`` is made and called."""
    import fastconv

    function = getattr(fastconv, name)
    if name not in PLANNED:
        return function(**arguments)
    given = dict(arguments)
    called = {n: given.pop(n) for n in PLANNED[name] if n in given}
    return function(**given)(called.pop("x"), **called)


def parameters(name: str) -> list[str]:
    """Return the names of a public function's arguments that are tried."""
    import fastconv

    names = [
        n for n in inspect.signature(getattr(fastconv, name)).parameters if n != "tune"
    ]  # which measures
    return [*PLANNED.get(name, ()), *names]


def try_call(name: str, arguments: Arguments) -> str:
    """Call a function and fail unless an error of ours or the right result comes of it; return which."""
    out = arguments.get("out")
    before = {n: v.copy() for n, v in arguments.items() if isinstance(v, np.ndarray)}
    try:
        y = call(name, arguments)
    except FastconvError as error:
        if not re.match(rf"({'|'.join(parameters(name))})\b", str(error)):
            raise AssertionError(f"names no argument: {error}") from error
        return type(error).__name__
    except MemoryError as error:  # numpy's, for a result that would be that large
        shape = getattr(error, "shape", ())
        if math.prod(shape) * 4 <= MEMORY // 4:
            raise AssertionError(f"out of memory, but not for a large result: {shape}") from error
        return "MemoryError"
    for n, a in before.items():
        written = n == "out" or (isinstance(out, np.ndarray) and np.may_share_memory(arguments[n], out))
        assert written or np.array_equal(a, arguments[n], equal_nan=a.dtype.kind == "f"), f"{n} was changed"
    assert out is None or y is out, "the result is not out"
    assert isinstance(y, np.ndarray), f"expected an array, got {type(y)}"
    correct = expected(name, {**arguments, **before})
    wanted = np.dtype(result_type(correct, before))
    assert y.dtype == wanted, f"expected {wanted}, got {y.dtype}"
    if correct is None:
        return "ran"
    assert y.shape == correct.shape, f"expected shape {correct.shape}, got {y.shape}"
    rounds = arguments.get("precision") == "bf16"  # tests/conv/test_bf16.py has its bound
    if not rounds and not any(map(extreme, arguments.values())):
        size = np.abs(correct.astype(np.float64))
        near = np.abs(y - correct.astype(np.float64)) <= COARSE * (1 + size)
        assert (near | ~(size < EXTREME)).all(), f"expected\n{correct}\ngot\n{y}"
    return "ran"


def try_function(name: str, count: int, seed: int | None = None) -> dict[str, int]:
    """Try a public function so many times in this process; return how often it ended how.

    Without a seed the calls are the same each time.
    """
    ends: dict[str, int] = {}
    build, _ = family(name)
    names = parameters(name)

    def tried(data: Any) -> None:
        draw = data.draw
        arguments = build(draw, name)
        changed = draw(st.lists(st.sampled_from(names), max_size=3, unique=True))
        result = None if "out" not in changed else expected(name, arguments)
        for n in changed:
            if n != "out":
                arguments[n] = hostile_value(draw, n, arguments)
        if "out" in changed:
            arguments["out"] = hostile_out(draw, result, arguments)
        try:
            end = try_call(name, arguments)
        except Exception as error:
            told = {n: described(v) for n, v in arguments.items()}
            raise AssertionError(f"{name}({told}): {type(error).__name__}: {error}") from error
        ends[end] = ends.get(end, 0) + 1

    run = settings(
        max_examples=count,
        deadline=None,
        derandomize=seed is None,
        database=None,
        phases=[Phase.generate],  # the first call that failed is told; making it smaller takes minutes
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )(given(st.data())(tried))
    (run if seed is None else seeded(seed)(run))()
    return ends


def described(value: Any) -> str:
    """Return what an argument is, briefly."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype.str}{list(value.shape)} strides {list(value.strides)}"
    try:
        return repr(value)[:200]
    except Exception:  # an integer that Python refuses to write out, or an object's own mistake
        return f"{type(value).__name__} that cannot be written out"
