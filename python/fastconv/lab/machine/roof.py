"""A roof: the peak that rates are held against, measured again before one above it is called a bug."""

from __future__ import annotations

from fastconv import _core
from fastconv._text import counted
from fastconv.errors import FastconvError
from fastconv.lab.machine.peak import Peak, machine_peak, peak_fma

SLACK = 1.02  # times the roof: the clock may have been higher than in any of the roof's samples, not more
AGAIN = (0.1, 0.3, 0.9)  # seconds of the further measurements


class RoofError(FastconvError, ValueError):
    """A rate above the machine's roof: a unit is wrong, or work is counted that was not done."""


class Roof:
    """The highest FMA peak of a number of threads that was measured so far, of one tier or of any.

    Parameters
    ----------
    threads : int
        Threads to run at once.
    tier : str, optional
        Name of an ISA tier; the one with the highest peak when omitted.

    Attributes
    ----------
    peak : Peak
        The peak.

    Examples
    --------
    >>> from fastconv.roofline import Roof
    >>> roof = Roof(1)
    >>> roof.hold("half of it", 0.5 * roof.peak.gflops)
    """

    def __init__(self, threads: int, tier: str | None = None) -> None:
        self.peak: Peak = peak_fma(tier, threads) if tier else machine_peak(threads)
        self._tiers = [tier] if tier else _core.tiers()

    @classmethod
    def of(cls, peak: Peak, *, again: bool = True) -> Roof:
        """Return the roof of a peak that is known; `again` says whether it may be measured again."""
        roof = cls.__new__(cls)
        roof.peak, roof._tiers = peak, [peak.tier] if again else []
        return roof

    def raise_to(self, seconds: float) -> None:
        """Measure again for so many seconds, and keep the highest peak.

        Of any tier, where none was named: on a busy machine the first to seem the highest may not be.
        """
        for tier in self._tiers:
            again = peak_fma(tier, self.peak.threads, seconds=seconds / len(self._tiers))
            self.peak = max(self.peak, again, key=lambda p: p.gflops)

    def hold(self, what: str, rate: float) -> None:
        """Raise RoofError if a rate of executed work, in GFLOP/s, is above the peak by more than 2 %.

        A clock may rise by so much between two samples. On a shared machine the roof itself may have been
        measured too low, so it is measured again first, longer and longer.
        """
        for seconds in AGAIN:
            if rate <= self.peak.gflops:
                return
            self.raise_to(seconds)
        if rate > SLACK * self.peak.gflops:
            where = f"{self.peak.tier}, {counted(self.peak.threads, 'thread')}"
            raise RoofError(
                f"{what}: expected at most the measured FMA peak of {self.peak.gflops:.1f} GFLOP/s ({where}),"
                f" got {rate:.1f}: work is counted that was not done, or a unit is wrong"
            )
