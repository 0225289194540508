"""What the sweeps share: products that are checked before they are timed, and results as plain data."""

from __future__ import annotations

import time
import types
import typing
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from fastconv.lab.compare.suite import BenchError
from fastconv.testing.tolerance import sum_bound

Result = TypeVar("Result")
Array = npt.NDArray[np.float32]


def checked_product(
    name: str, call: Callable[[], object], out: Array, expected: Expected, fill: float = float("nan")
) -> float:
    """Call once, compare the product in `out` with float64, and return how long the call took.

    Raises
    ------
    BenchError
        If an element is further from float64 than rounding can take a sum of K products.
    """
    out.fill(fill)  # what an earlier variant left there must not pass for this one's result
    start = time.perf_counter()
    call()
    took = time.perf_counter() - start
    expected.check(name, out)
    return took


class Expected:
    """A product in float64, and how far from it a float32 result may lie, element by element.

    Parameters
    ----------
    a, b : array
        The factors.
    """

    def __init__(self, a: Array, b: Array) -> None:
        left, right = a.astype(np.float64), b.astype(np.float64)
        self.product = left @ right
        self.bound = sum_bound(np.abs(left) @ np.abs(right), a.shape[1])

    def check(self, name: str, got: npt.NDArray[Any]) -> None:
        """Raise BenchError, with the variant's name, unless a result is within the bound everywhere."""
        if got.shape != self.product.shape:
            raise BenchError(f"{name}: expected a product of shape {self.product.shape}, got {got.shape}")
        wrong = ~(np.abs(got - self.product) <= self.bound)  # a NaN is wrong too
        if wrong.any():
            raise BenchError(
                f"{name}: expected every element within rounding of numpy's float64 product, "
                f"got {int(wrong.sum())} of {wrong.size} outside"
            )


def revive(kind: type[Result], data: Any) -> Result:
    """Make a result of what ``dataclasses.asdict`` and JSON have made of it.

    >>> from fastconv.lab.machine.setting import Setting
    >>> revive(Setting, {"cpu": "x", "tier": "ref", "threads": 1, "caches": {}, "peak_gflops": 1.0,
    ...                  "version": "0", "date": "", "git_sha": None}).tier
    'ref'
    """
    value: Any = _revive(kind, data)
    return value  # type: ignore[no-any-return]


def _revive(kind: Any, data: Any) -> Any:
    if is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        known = (f.name for f in fields(kind) if f.name in data or f.default is MISSING)
        return kind(**{name: _revive(hints[name], data[name]) for name in known})
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        each = arguments if Ellipsis not in arguments else arguments[:1] * len(data)
        return tuple(_revive(k, v) for k, v in zip(each, data, strict=True))
    if origin is dict:
        return {key: _revive(arguments[1], value) for key, value in data.items()}
    if origin in (typing.Union, types.UnionType):
        return None if data is None else _revive(arguments[0], data)
    return data
