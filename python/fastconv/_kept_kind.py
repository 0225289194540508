"""What comes in goes out: results are of the kind and, of half precision, of the type of what was given.

The first array of a call decides. A result shares its memory with the array that is given of it. float16
and bfloat16 are widened to float32, without loss, and the result is rounded once; all arrays of a call are
then of that type, as torch demands. No array of float64 is converted: that would lose what its type promises.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from fastconv import _arguments as arguments
from fastconv._foreign import imported, maker_for
from fastconv.errors import DTypeError

F = TypeVar("F", bound=Callable[..., Any])

_HALVES = ("float16", "bfloat16")


def kept_kind(*names: str, half: bool = True) -> Callable[[F], F]:
    """Have a function of ndarrays take arrays of any library, and return its result as one of the first's.

    ``names`` are those of its arrays, the first first; ``out`` is one of it too. With ``half`` the function
    is one of float32, and arrays of half precision are widened for it, its result rounded.
    """

    def decorated(function: F) -> F:
        code = function.__code__
        positional = code.co_varnames[: code.co_argcount]
        place = positional.index(names[0])

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            first = args[place] if len(args) > place else kwargs.get(names[0])
            if type(first) is np.ndarray and (first.dtype.itemsize != 2 or not half):
                return function(*args, **kwargs)
            given = dict(zip(positional, args, strict=False)) | kwargs
            if len(given) != len(args) + len(kwargs):
                return function(*args, **kwargs)  # which says what is wrong with such arguments
            translated = _Call(names, given, half)
            return translated.result(function(**translated.arguments))

        return cast(F, call)

    return decorated


class _Call:
    """The arguments of one call, and what is to become of its result."""

    def __init__(self, names: tuple[str, ...], given: Mapping[str, Any], half: bool) -> None:
        first = given.get(names[0])
        self._make = maker_for(first)
        self.arguments = dict(given)
        self._out = given.get("out")
        self._view = self._out  # of the memory that `out` has
        self._half: np.dtype[Any] | None = None
        if self._out is not None and self._make is not None:
            self._view = self.arguments["out"] = imported("out", self._out)
        if half and first is not None and not isinstance(first, list | tuple):
            array = imported(names[0], first) if not isinstance(first, np.ndarray) else first
            if array.dtype.name in _HALVES and array.dtype.isnative:
                self._half = array.dtype
                self._widen(names)

    def _widen(self, names: tuple[str, ...]) -> None:
        """Widen all arrays, each of half precision; lists get the type that is needed."""
        for name in names:
            value = self.arguments.get(name)
            if value is None or isinstance(value, list | tuple):
                continue
            array = value if isinstance(value, np.ndarray) else imported(name, value)
            if array.dtype != self._half:
                raise DTypeError(f"{name}: expected dtype {self._half}, as {names[0]} has, got {array.dtype}")
            arguments.check_mask(name, array)
            self.arguments[name] = array.astype(np.float32, subok=False)
        self.arguments.pop("out", None)  # which the result is rounded into

    def result(self, y: Any) -> Any:
        """Return a result of the function as one of what was given."""
        if self._half is not None:
            y = self._rounded(y)
        if self._out is not None:
            return self._out
        return y if self._make is None else self._make(y)

    def _rounded(self, y: NDArray[Any]) -> NDArray[Any]:
        assert self._half is not None
        if self._out is None:
            with np.errstate(all="ignore"):  # too large for half precision: infinity, as in torch
                return y.astype(self._half)
        view = arguments.checked_output(self._view, y.shape, (), dtype=self._half)
        with np.errstate(all="ignore"):
            np.copyto(view, y, casting="unsafe")
        return view
