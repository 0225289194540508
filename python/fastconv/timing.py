"""Timing calls in this process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class CallTimes:
    """The times of single calls, in seconds, and how many there were."""

    min: float
    median: float
    calls: int


def time_calls(call: Callable[[], object], seconds: float) -> CallTimes:
    """Call once untimed, then for about `seconds`, at least once.

    Parameters
    ----------
    call : callable
        What to time.
    seconds : float
        No call starts after this long.

    Returns
    -------
    CallTimes
        The fastest and the median call.

    Examples
    --------
    >>> times = time_calls(lambda: sum(range(100)), 0.001)
    >>> 0 < times.min <= times.median
    True
    """
    call()
    times: list[float] = []
    start = now = time.perf_counter()
    while not times or now < start + seconds:
        before = time.perf_counter()
        call()
        now = time.perf_counter()
        times.append(now - before)
    return CallTimes(min(times), statistics.median(times), len(times))
