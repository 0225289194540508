"""The fp32 FMA peak: how many GFLOP/s the cores do when multiply-adds in registers are all they do."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from fastconv import _core

RISE = 1.01  # of the best sample, above which the next ones may be better still
LONGEST = 4  # times the time asked for


def in_use(tier: str | None, threads: int | None) -> tuple[str, int]:
    """Return a tier and a number of threads, those in use where none is given."""
    return (
        _core.active_tier() if tier is None else tier,
        _core.get_num_threads() if threads is None else threads,
    )


def stable(sample: Callable[[float], list[float]], seconds: float) -> list[float]:
    """Take samples for a time, and again until their best no longer rises, or four times as long.

    >>> rising = iter([[1.0], [2.0], [2.0], [9.0]])
    >>> stable(lambda seconds: next(rising), 1.0)
    [1.0, 2.0, 2.0]
    """
    samples = sample(seconds / 2)
    for _ in range(2 * LONGEST - 1):
        best = max(samples)
        samples += sample(seconds / 2)
        if max(samples) < RISE * best:
            break
    return samples


@dataclass(frozen=True)
class Peak:
    """A measured FMA peak.

    Attributes
    ----------
    tier : str
        The ISA tier whose vectors were used.
    threads : int
        How many threads ran at once.
    gflops : float
        The best sample, in GFLOP/s (a fused multiply-add counts as two): the roof.
    median : float
        The median sample; far below `gflops` where the machine is shared or its clock moves.
    samples : int
        How many samples of a few milliseconds were taken.
    """

    tier: str
    threads: int
    gflops: float
    median: float
    samples: int

    @property
    def spread(self) -> float:
        """How far the median sample fell below the best one, as a fraction of the best."""
        return 1.0 - self.median / self.gflops


def peak_fma(tier: str | None = None, threads: int | None = None, *, seconds: float = 0.2) -> Peak:
    """Measure the fp32 FMA peak of a tier on a number of threads.

    Parameters
    ----------
    tier : str, optional
        Name of an ISA tier that this CPU runs; the one in use when omitted.
    threads : int, optional
        Threads to run at once; ``fastconv.get_num_threads()`` when omitted.
    seconds : float, default 0.2
        For how long to take samples, and up to four times as long while the best one still rises. The best
        one counts, so longer finds a higher or equal peak.

    Returns
    -------
    Peak
        The best and the median sample.

    Raises
    ------
    ArgumentError
        If the tier is unknown or cannot run here, or a number is not positive.

    Examples
    --------
    >>> from fastconv.roofline import peak_fma
    >>> peak = peak_fma("ref", threads=1, seconds=0.01)
    >>> peak.gflops >= peak.median > 0
    True
    """
    tier, threads = in_use(tier, threads)
    samples = stable(partial(_core.peak_fma, tier, threads), seconds)
    return Peak(tier, threads, max(samples), statistics.median(samples), len(samples))


def machine_peak(threads: int | None = None, *, seconds: float = 0.2) -> Peak:
    """Measure every tier that runs here and return the highest peak: the roof of any program.

    Parameters
    ----------
    threads : int, optional
        Threads to run at once; ``fastconv.get_num_threads()`` when omitted.
    seconds : float, default 0.2
        For how long to take samples of each tier.

    Returns
    -------
    Peak
        The highest of the tiers' peaks.

    Examples
    --------
    >>> from fastconv.roofline import machine_peak
    >>> machine_peak(threads=1, seconds=0.01).gflops > 0
    True
    """
    return max((peak_fma(tier, threads, seconds=seconds) for tier in _core.tiers()), key=lambda p: p.gflops)
