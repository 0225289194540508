"""A roof: the peak that rates are held against, measured again before one above it is called a bug."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from fastconv import _core
from fastconv._text import counted
from fastconv.errors import FastconvError
from fastconv.lab.machine.peak import MEASURED, Peak, by_arithmetic, dtypes, machine_peak, peak_fma

SLACK = 1.02  # times the roof: the clock may have been higher than in any of the roof's samples, not more
AGAIN = (0.1, 0.3, 0.9)  # seconds of the further measurements


class RoofError(FastconvError, ValueError):
    """A rate above the machine's roof: a unit is wrong, or work is counted that was not done."""


class Roof:
    """The highest peaks of a number of threads that were measured so far, of one tier or of any.

    Parameters
    ----------
    threads : int
        Threads to run at once.
    tier : str, optional
        Name of an ISA tier; the one with the highest peak when omitted.

    Attributes
    ----------
    peak : Peak
        The FMA peak.

    Examples
    --------
    >>> from fastconv.roofline import Roof
    >>> roof = Roof(1)
    >>> roof.hold("half of it", 0.5 * roof.peak.gflops)
    """

    def __init__(self, threads: int, tier: str | None = None) -> None:
        self.peak: Peak = peak_fma(tier, threads) if tier else machine_peak(threads)
        self._tiers = [tier] if tier else _core.tiers()
        self._narrow: dict[str, Peak] = {}  # of other dtypes, once somebody asks

    @classmethod
    def of(cls, peak: Peak, narrow: Iterable[Peak] = (), *, again: bool = True) -> Roof:
        """Return the roof of peaks that are known; `again` says whether they may be measured again."""
        roof = cls.__new__(cls)
        roof.peak, roof._tiers = peak, [peak.tier] if again else []
        roof._narrow = {p.dtype: p for p in narrow if p.dtype in MEASURED.values()}
        return roof

    @property
    def peaks(self) -> dict[str, Peak]:
        """The peak of each arithmetic (:func:`by_arithmetic`); that of int8 is measured at the first call."""
        self._measure("int8")
        return by_arithmetic((self.peak, *self._narrow.values()))

    def _measure(self, dtype: str) -> None:
        """Measure the peak of a dtype, unless it is known or no tier has one."""
        if dtype in self._narrow or not any(dtype in dtypes(tier) for tier in self._tiers):
            return
        threads, (first, *others) = self.peak.threads, self._tiers
        of_any = machine_peak(threads, dtype=dtype) if others else None
        self._narrow[dtype] = of_any or peak_fma(first, threads, dtype=dtype)

    def peak_of(self, arithmetic: str) -> Peak:
        """Return the peak of an arithmetic; for ``f32`` no other is measured."""
        if arithmetic == "f32":
            return self.peak
        self._measure(MEASURED[arithmetic])
        return self.peaks[arithmetic]

    def raise_to(self, seconds: float, dtype: str = "f32") -> None:
        """Measure the peak of a dtype again for so many seconds, and keep the highest.

        Of any tier, where none was named: on a busy machine the first to seem the highest may not be.
        Several threads count as so many times one alone where that is more: a neighbour may have kept
        them from running at once whenever they were measured.
        """
        tiers = [tier for tier in self._tiers if dtype in dtypes(tier)]
        threads = self.peak.threads
        counts = sorted({threads, 1})
        for tier in tiers:
            for count in counts:
                share = seconds / len(tiers) / len(counts)
                again = peak_fma(tier, count, dtype=dtype, seconds=share)
                again = replace(again, threads=threads, gflops=again.gflops * threads / count)
                if dtype == "f32":
                    self.peak = max(self.peak, again, key=lambda p: p.gflops)
                else:
                    self._narrow[dtype] = max(self.peak_of(dtype), again, key=lambda p: p.gflops)

    def hold(self, what: str, rate: float, arithmetic: str = "f32") -> None:
        """Raise RoofError if a rate of executed work, in GFLOP/s, is above the peak by more than 2 %.

        A clock may rise by so much between two samples. On a shared machine the roof itself may have been
        measured too low, so it is measured again first, longer and longer. Integers and bf16 are held against
        nothing where the tier has no instruction for them: how many other ones do, nobody has measured.
        """
        peak = self.peak_of(arithmetic)
        measured = MEASURED[arithmetic]
        if measured != "f32" and peak.dtype == "f32":
            return
        for seconds in AGAIN:
            if rate <= peak.gflops:
                return
            self.raise_to(seconds, measured)
            peak = self.peak_of(arithmetic)
        if rate > SLACK * peak.gflops:
            where = f"{peak.tier}, {counted(peak.threads, 'thread')}"
            raise RoofError(
                f"{what}: expected at most the measured {peak.title} of {peak.gflops:.1f} {peak.unit}"
                f" ({where}), got {rate:.1f}: work is counted that was not done, or a unit is wrong"
            )
