"""Peaks: how many operations a second the cores do when multiply-adds in registers are all they do."""

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
    """A measured peak of multiply-adds.

    Attributes
    ----------
    tier : str
        The ISA tier whose vectors were used.
    threads : int
        How many threads ran at once.
    gflops : float
        The best sample, in 1e9 operations a second (a multiply-add counts as two): the roof.
    median : float
        The median sample; far below `gflops` where the machine is shared or its clock moves.
    samples : int
        How many samples of a few milliseconds were taken.
    dtype : str
        Of what is multiplied: ``f32``, ``bf16`` (summed in f32), or ``int8`` (unsigned by signed, summed in
        32 bits).
    instruction : str
        That was measured; ``vpmaddubsw``, whose sums saturate, with the two that complete it.
    """

    tier: str
    threads: int
    gflops: float
    median: float
    samples: int
    dtype: str = "f32"
    instruction: str = "fma"

    @property
    def unit(self) -> str:
        """``GFLOP/s``, or ``GOP/s`` of integers."""
        return "GOP/s" if self.dtype == "int8" else "GFLOP/s"

    @property
    def name(self) -> str:
        """What tables and pictures call it."""
        return "FMA peak" if self.dtype == "f32" else f"{self.dtype} {self.instruction}"

    @property
    def spread(self) -> float:
        """How far the median sample fell below the best one, as a fraction of the best."""
        return 1.0 - self.median / self.gflops


def dtypes(tier: str | None = None) -> tuple[str, ...]:
    """Return the dtypes whose products this processor has an instruction of a tier's for.

    >>> dtypes("ref")
    ('f32',)
    """
    return tuple(_core.peak_instructions(_core.active_tier() if tier is None else tier))


def peak_fma(
    tier: str | None = None, threads: int | None = None, *, dtype: str = "f32", seconds: float = 0.2
) -> Peak:
    """Measure the peak of multiply-adds of a tier on a number of threads.

    Parameters
    ----------
    tier : str, optional
        Name of an ISA tier that this CPU runs; the one in use when omitted.
    threads : int, optional
        Threads to run at once; ``fastconv.get_num_threads()`` when omitted.
    dtype : {"f32", "bf16", "int8"}
        What to multiply; :func:`dtypes` says which there are.
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
        If the tier is unknown or cannot run here, it has no instruction for the dtype, or a number is not
        positive.

    Examples
    --------
    >>> from fastconv.roofline import peak_fma
    >>> peak = peak_fma("ref", threads=1, seconds=0.01)
    >>> peak.gflops >= peak.median > 0
    True
    """
    tier, threads = in_use(tier, threads)
    samples = stable(partial(_core.peak, tier, dtype, threads), seconds)
    instruction = _core.peak_instructions(tier)[dtype]
    return Peak(tier, threads, max(samples), statistics.median(samples), len(samples), dtype, instruction)


def machine_peak(threads: int | None = None, *, seconds: float = 0.2) -> Peak:
    """Measure every tier that runs here and return the highest f32 peak: the roof of any f32 program.

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
