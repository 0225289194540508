"""What the sweeps share: where a measurement was made, turns, the roof, and results as plain data."""

from __future__ import annotations

import statistics
import time
import types
import typing
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from fastconv import _core
from fastconv._text import counted
from fastconv.bench.compare import BenchError
from fastconv.bench.record import made_with
from fastconv.roofline import Roof
from fastconv.testing.tolerance import sum_bound
from fastconv.timing import CallTimes, time_calls

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")
Timer = Callable[[float], CallTimes]
Array = npt.NDArray[np.float32]

PATIENCE = 0.5  # seconds: what takes longer is timed once, by the call whose result is checked


@dataclass(frozen=True)
class Setting:
    """On what a sweep was measured.

    Attributes
    ----------
    cpu, tier : str
        The processor's name and the instruction set tier in use.
    threads : int
        Of every call; the most, where a sweep varies them.
    caches : dict of str to int
        Sizes of ``"l1d"``, ``"l2"`` and ``"l3"`` in bytes.
    peak_gflops : float
        The measured FMA peak of that many threads, the highest of any tier's.
    version, date : str
        Of fastconv, and the day.
    git_sha : str, optional
        The commit of the checkout.
    """

    cpu: str
    tier: str
    threads: int
    caches: dict[str, int]
    peak_gflops: float
    version: str
    date: str
    git_sha: str | None

    def __str__(self) -> str:
        return (
            f"{self.cpu}, tier {self.tier}, {counted(self.threads, 'thread')}, "
            f"measured FMA peak {self.peak_gflops:.1f} GFLOP/s"
        )


def setting(roof: Roof) -> Setting:
    """Describe this machine, with the highest peak that the roof has seen."""
    info, peak = _core.cpu_info(), roof.peak
    caches = dict(info["caches"])
    return Setting(info["model"], _core.active_tier(), peak.threads, caches, peak.gflops, **made_with())


def timer(call: Callable[[], object]) -> Timer:
    """Return what times a call of this process for a number of seconds."""
    return lambda seconds: time_calls(call, seconds)


def in_turns(
    timers: Mapping[Key, Timer],
    roof: Roof,
    *,
    rounds: int,
    seconds: float,
    first: Mapping[Key, float] | None = None,
) -> dict[Key, CallTimes]:
    """Time several things in turns, so that a clock that changes changes for all of them.

    Parameters
    ----------
    timers : mapping of Hashable to callable
        What times each for a number of seconds.
    roof : Roof
        Gets a sample in each round.
    rounds : int
        Turns of each.
    seconds : float
        Length of a turn.
    first : mapping of Hashable to float, optional
        The length of the first call of each in seconds. Where it is longer than ``PATIENCE`` it is the
        measurement.

    Returns
    -------
    dict of Hashable to CallTimes
        The fastest call of all rounds and the median of the rounds' medians.
    """
    slow = {key: t for key, t in (first or {}).items() if t > PATIENCE}
    turns: dict[Key, list[CallTimes]] = {key: [CallTimes(t, t, 1)] for key, t in slow.items()}
    for _ in range(rounds):
        roof.raise_to(0.005)
        for key, take in timers.items():
            if key not in slow:
                turns.setdefault(key, []).append(take(seconds))
    return {
        key: CallTimes(
            min(t.min for t in turns[key]),
            statistics.median(t.median for t in turns[key]),
            sum(t.calls for t in turns[key]),
        )
        for key in timers
    }


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

    >>> revive(Setting, {"cpu": "x", "tier": "ref", "threads": 1, "caches": {}, "peak_gflops": 1.0,
    ...                  "version": "0", "date": "", "git_sha": None}).tier
    'ref'
    """
    value: Any = _revive(kind, data)
    return value  # type: ignore[no-any-return]


def _revive(kind: Any, data: Any) -> Any:
    if is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        return kind(**{f.name: _revive(hints[f.name], data[f.name]) for f in fields(kind)})
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        each = arguments if Ellipsis not in arguments else arguments[:1] * len(data)
        return tuple(_revive(k, v) for k, v in zip(each, data, strict=True))
    if origin is dict:
        return {key: _revive(arguments[1], value) for key, value in data.items()}
    if origin in (typing.Union, types.UnionType):
        return None if data is None else _revive(arguments[0], data)
    return data
