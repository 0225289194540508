"""Timing several things in turns, so that a clock that changes changes for all of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

from fastconv.lab.machine import Roof
from fastconv.timing import CallTimes, time_calls

Key = TypeVar("Key", bound=Hashable)
Timer = Callable[[float], CallTimes]

PATIENCE = 0.5  # seconds: what takes longer is timed once, by the call whose result is checked


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
