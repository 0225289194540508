"""The roofline of the machine: its peaks and its bandwidths, and what they allow a layer.

Williams, Waterman and Patterson, "Roofline: an insightful visual performance model", CACM 52(4), 2009; with
a roof for each level of the memory, as Ilic, Pratas and Sousa have it ("Cache-aware roofline model", IEEE
Computer Architecture Letters 13(1), 2014).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from fastconv import _core
from fastconv._measured import Results
from fastconv.lab.machine.bandwidth import OPS, Bandwidth, bandwidth, working_sets
from fastconv.lab.machine.peak import Peak, by_arithmetic, dtypes, in_use, peak_fma
from fastconv.lab.machine.roof import Roof

RESULTS = Results("roofline", "FASTCONV_ROOFLINE", dict)
NOISY = 0.25  # spread of samples from which a roof is doubtful: a neighbour, or a clock that moves


@dataclass(frozen=True)
class Bound:
    """What limits a piece of work: the roof (``compute`` or a level), and the seconds it needs there."""

    roof: str
    seconds: float


@dataclass(frozen=True)
class Roofline:
    """The measured limits of a tier on a number of threads.

    Attributes
    ----------
    cpu : str
        The processor's name.
    peak : Peak
        The FMA peak.
    bandwidths : tuple of Bandwidth
        One for each level and operation.
    capacities : mapping of str to int
        Bytes of each level of all threads together; memory holds everything.
    narrow : tuple of Peak
        The peaks of narrower dtypes, bf16 and int8, that the processor has instructions for.
    """

    cpu: str
    peak: Peak
    bandwidths: tuple[Bandwidth, ...]
    capacities: Mapping[str, int]
    narrow: tuple[Peak, ...] = ()

    @property
    def peaks(self) -> tuple[Peak, ...]:
        """The FMA peak, and those of narrower dtypes."""
        return (self.peak, *self.narrow)

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels of the memory, the nearest first."""
        return tuple(dict.fromkeys(b.level for b in self.bandwidths))

    def gbs(self, level: str) -> float:
        """Return the roof of a level in GB/s: the best of reading, writing and copying."""
        return max(b.gbs for b in self.bandwidths if b.level == level)

    def ridge(self, level: str, arithmetic: str = "f32") -> float:
        """Return the intensity, in FLOP/byte, from which the peak binds and not the level."""
        return by_arithmetic(self.peaks)[arithmetic].gflops / self.gbs(level)

    def level_of(self, size: int) -> str:
        """Return the nearest level that holds so many bytes."""
        return next((level for level in self.levels if size <= self.capacities.get(level, size)), "DRAM")

    def bound(self, flops: float, size: int, arithmetic: str = "f32") -> Bound:
        """Return the least time for some work on so many bytes, each moved once.

        The work is held against the peak of its arithmetic (:func:`fastconv.roofline.by_arithmetic`). Bytes
        come from the nearest level that holds them all, as after a step that has just written them: what a
        kernel must wait for if it does everything else right.
        """
        level = self.level_of(size)
        peak = by_arithmetic(self.peaks)[arithmetic].gflops
        compute, memory = flops / peak * 1e-9, size / self.gbs(level) * 1e-9
        return Bound("compute", compute) if compute >= memory else Bound(level, memory)

    def warnings(self) -> list[str]:
        """Return what makes the roofs doubtful: samples that differ, as beside a busy neighbour."""
        measured = [(f"the {p.name}", p.spread) for p in self.peaks]
        measured += [(f"{b.level} {b.op}", b.spread) for b in self.bandwidths]
        return [
            f"{what}: the median sample is {spread:.0%} below the best"
            " (a busy neighbour, or a throttled clock)"
            for what, spread in measured
            if spread > NOISY
        ]

    def raised(self, roof: Roof) -> Roofline:
        """Return it with the peaks that a roof has, measured again, where those are higher."""
        known = {p.dtype: p for p in roof.peaks.values()}
        peak, *narrow = (known.get(p.dtype, p) for p in self.peaks)
        return replace(self, peak=peak, narrow=tuple(narrow))

    def keep(self) -> None:
        """Write it to the file that :func:`measure_roofline` reads."""
        entry = {
            "peak": asdict(self.peak),
            "narrow": [asdict(p) for p in self.narrow],
            "bandwidths": [asdict(b) for b in self.bandwidths],
        }
        RESULTS.add({_key(self.cpu, self.peak.tier, self.peak.threads): entry})


def measure_roofline(
    tier: str | None = None, threads: int | None = None, *, seconds: float = 0.05, refresh: bool = False
) -> Roofline:
    """Measure the roofline of a tier on a number of threads, and keep it in a file.

    Parameters
    ----------
    tier : str, optional
        Name of an ISA tier that this CPU runs; the one in use when omitted.
    threads : int, optional
        Threads to run at once; ``fastconv.get_num_threads()`` when omitted.
    seconds : float, default 0.05
        For how long to take samples of each roof.
    refresh : bool, default False
        Measure all again. Without it only the FMA peak is, and the others are those on file, if they are
        there for this processor, tier and number of threads; of both FMA peaks the higher one is taken, for a
        roof is the best that was ever seen.

    Returns
    -------
    Roofline

    Notes
    -----
    The file is named by ``FASTCONV_ROOFLINE``, or is ``fastconv/roofline.json`` in ``XDG_CACHE_HOME`` (by
    default ``~/.cache``).

    Examples
    --------
    >>> from fastconv.roofline import measure_roofline
    >>> roof = measure_roofline(threads=1, seconds=0.002)
    >>> roof.levels[0], roof.ridge("L1") < roof.ridge("DRAM")
    ('L1', True)
    """
    tier, threads = in_use(tier, threads)
    peak = peak_fma(tier, threads, seconds=2 * seconds)  # before the key: it checks both
    cpu = _core.cpu_info()["model"]
    known = None if refresh else _from_file(RESULTS.read().get(_key(cpu, tier, threads)))
    if known is None:
        narrow = tuple(
            peak_fma(tier, threads, dtype=dtype, seconds=2 * seconds)
            for dtype in dtypes(tier)
            if dtype != peak.dtype
        )
        bandwidths = tuple(
            bandwidth(level, op, tier, threads, seconds=seconds)
            for level in working_sets(threads)
            for op in OPS
        )
    else:
        narrow, bandwidths = known.narrow, known.bandwidths
        peak = max(peak, known.peak, key=lambda p: p.gflops)
    roof = Roofline(cpu, peak, bandwidths, _capacities(threads), narrow)
    if known is None or peak != known.peak:
        roof.keep()
    return roof


def _key(cpu: str, tier: str, threads: int) -> str:
    return f"{cpu}, {tier}, {threads} threads, {_core.__version__}"


def _capacities(threads: int) -> dict[str, int]:
    caches = _core.cpu_info()["caches"]
    sizes = {"L1": caches["l1d"] * threads, "L2": caches["l2"] * threads, "L3": caches["l3"]}
    return {level: int(size) for level, size in sizes.items() if size}


def _from_file(entry: Mapping[str, Any] | None) -> Roofline | None:
    """Return what an entry of the file holds, or None where it is not one of this version's."""
    try:
        if entry is None:
            return None
        peak, narrow = Peak(**entry["peak"]), tuple(Peak(**p) for p in entry["narrow"])
        return Roofline("", peak, tuple(Bandwidth(**b) for b in entry["bandwidths"]), {}, narrow)
    except (TypeError, KeyError):
        return None
