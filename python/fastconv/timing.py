"""Timing calls in this process."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class CallTimes:
    """The times of single calls, in seconds: the fastest, the median, how many, and each, ordered."""

    min: float
    median: float
    calls: int
    times: tuple[float, ...] = ()

    def percentile(self, share: float) -> float:
        """Return what such a share of the calls did not exceed."""
        return percentile(self.times, share)


def time_calls(call: Callable[[], object], seconds: float, warmup: int = 1) -> CallTimes:
    """Call a few times untimed, then for about `seconds`, at least once.

    Parameters
    ----------
    call : callable
        What to time.
    seconds : float
        No call starts after this long.
    warmup : int
        Untimed calls.

    Returns
    -------
    CallTimes
        The fastest and the median call, and the time of each.

    Examples
    --------
    >>> times = time_calls(lambda: sum(range(100)), 0.001)
    >>> 0 < times.min <= times.median
    True
    """
    import statistics  # in here: it takes long to import, and few time anything

    for _ in range(warmup):
        call()
    times: list[float] = []
    start = now = time.perf_counter()
    while not times or now < start + seconds:
        before = time.perf_counter()
        call()
        now = time.perf_counter()
        times.append(now - before)
    times.sort()
    return CallTimes(times[0], statistics.median(times), len(times), tuple(times))


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the least of some ordered numbers that so many of them do not exceed (nearest rank).

    >>> percentile([1, 2, 3, 4], 0.5), percentile([1, 2, 3, 4], 0.95)
    (2, 4)
    """
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
