"""What an argument of a method may be: the values that are tried for it, and which of them are right.

Those that are must be taken; the others must be refused by one of our errors that begins with the argument's
name.
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adversarial import functions

Right = Callable[[Any], bool]


@dataclass(frozen=True)
class Kind:
    """What is tried for an argument, and what tells the values that are right; None: any may be taken.

    ``named`` is how a message may begin, a regular expression, beside the argument's name.
    """

    values: tuple[Any, ...]
    right: Right | None
    named: str = ""


class Odd:
    """An object whose own methods fail."""

    def _fails(self, *_: Any) -> Any:
        raise KeyError("of the object's own")

    __len__ = __iter__ = __getitem__ = __index__ = __float__ = __bool__ = __repr__ = __str__ = _fails


class BytesPath(os.PathLike[bytes]):
    """A path that is not text."""

    def __fspath__(self) -> bytes:
        return b"model.onnx"


ANYTHING: tuple[Any, ...] = (*functions.OBJECTS, *functions.INTEGER_VALUES, *functions.NUMBER_VALUES, Odd())


def index(value: Any) -> int | None:
    """Return the integer that a value is, or None; a truth value is none."""
    try:
        return None if isinstance(value, bool | np.bool_) else operator.index(value)
    except Exception:  # an object's own mistake
        return None


def whole(low: int, high: int, *, none: bool = False, flags: bool = False) -> Right:
    """Return what tells integers from low to high, None too where it is allowed, and truth values."""

    def right(value: Any) -> bool:
        n = int(value) if flags and isinstance(value, bool) else index(value)
        return none if value is None else n is not None and low <= n <= high

    return right


def real(low: float, high: float) -> Right:
    """Return what tells numbers above low and up to high."""

    def right(value: Any) -> bool:
        if isinstance(value, bool | np.bool_ | str | bytes):
            return False
        try:
            return bool(low < float(value) <= high)
        except Exception:  # an object's own mistake
            return False

    return right


def one_of(*names: str | None) -> Right:
    """Return what tells certain names, and None where it is among them."""
    return lambda value: value in names if isinstance(value, str) or value is None else False


def is_shape(value: Any, expected: Sequence[int | None]) -> bool:
    """Tell sequences of integers, of any size where None is expected."""
    if not isinstance(value, tuple | list | range) and not (
        isinstance(value, np.ndarray) and value.ndim == 1
    ):
        return False
    sizes = [index(n) for n in value]
    fits = (
        n is not None and 0 <= n < 1 << 31 and m in (None, n) for n, m in zip(sizes, expected, strict=False)
    )
    return len(sizes) == len(expected) and all(fits)


def shapes(right: Sequence[int]) -> tuple[Any, ...]:
    """Return what may stand for a shape, most of it wrong."""
    wrong = (
        -1,
        -(1 << 62),
        1 << 31,
        1 << 62,
        1 << 64,
        1.0,
        math.nan,
        None,
        "3",
        True,
        functions.HUGE_TEXT,
        Odd(),
    )
    changed = [(*right[:i], n, *right[i + 1 :]) for n in wrong for i in range(len(right))]
    lengths = [(*right, 1), tuple(right[1:]), (2, *right[1:]), (0, *right[1:])]
    return (
        *ANYTHING,
        *changed,
        *lengths,
        list(right),
        np.array(right),
        np.array(right, np.uint8),
        np.ones(4),
    )


def forms(array: Any) -> tuple[Any, ...]:
    """Return what may stand for an array, some of it the same numbers in another form."""
    return (*functions.OBJECTS, *(form(array) for form in functions.FORMS.values()), Odd())


def three(*, zero: bool) -> Kind:
    """Return the kind of three finite numbers, for the colours of a picture."""
    values = (
        *((1, 2, 3), [1.0, 2, 3], np.ones(3), (1, 2), (0, 0, 0), (1, 2, "3"), (1, 2, math.nan), (1, None, 2)),
        *(
            (math.inf, 1, 1),
            np.ones((3, 1)),
            ([1], [2], [3]),
            (1, 2, Odd()),
            (1e308,) * 3,
            "123",
            (True,) * 3,
        ),
        *(np.array(["1", "2", "3"]), {1: 2, 2: 3, 3: 4}, (1e-320, 1, 1), range(1, 4), (1j, 1, 1), {1, 2, 3}),
    )

    def number(value: Any) -> bool:
        if not real(-1e30, 1e30)(value):
            return False
        return zero or np.float32(value) != 0

    def right(value: Any) -> bool:
        several = isinstance(value, tuple | list | range) or (
            isinstance(value, np.ndarray) and value.ndim == 1
        )
        return several and len(value) == 3 and all(map(number, value))

    return Kind((*ANYTHING, *values), right)


def _is_passes(value: Any) -> bool:
    if isinstance(value, str):
        return value in ("default", "none", "fold_pad")
    return isinstance(value, tuple | list) and all(isinstance(v, str) and v == "fold_pad" for v in value)


PASSES = Kind(
    (*ANYTHING, "none", "fold_pad", ["fold_pad"], ["fold_pad", 3], [["fold_pad"]], {"fold_pad": 1}),
    _is_passes,
)
PRECISION = Kind((*ANYTHING, "fast", "exact", "bf16", "FAST", b"fast"), one_of("fast", "exact", "bf16", None))


def is_flag(value: Any) -> bool:
    return isinstance(value, bool | np.bool_) or index(value) in (0, 1)


FLAG = Kind((*ANYTHING, 2), is_flag)
OPTIONAL_FLAG = Kind(FLAG.values, lambda v: v is None or is_flag(v))
MAX_BYTES = Kind((*ANYTHING, 1 << 20), whole(0, 1 << 100000, none=True))
THREADS = Kind(ANYTHING, whole(1, 4096, none=True, flags=True))
