"""Peaks: how many operations a second the cores do when multiply-adds in registers are all they do."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

from fastconv import _core
from fastconv.errors import ArgumentError

RISE = 1.01  # of the best sample, above which the next ones may be better still
LONGEST = 4  # times the time asked for
# Products of pairs of 16 bits beside those of bytes: what they are made by, and the share of the rate. Where
# one instruction sums four products of bytes, its sister sums two. Where bytes take two multiplications and a
# sum for four, pairs take one and a sum for two: the multipliers allow as many, and no more is known.
_PAIRS = {"tdpbusd": ("vpdpwssd", 1 / 16), "vpdpbusd": ("vpdpwssd", 0.5), "vpmaddubsw": ("vpmaddwd", 1.0)}


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


# Of which dtype the peak is measured that an arithmetic is held against.
MEASURED = {"f32": "f32", "bf16": "bf16", "int8": "int8", "int16": "int8", "bit": "bit"}


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
        Of what is multiplied: ``f32``, ``bf16`` (summed in f32), ``int8`` (unsigned by signed, summed in
        32 bits), ``int16``, which follows from int8 (:func:`by_arithmetic`), or ``bit`` (signs, compared and
        counted).
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
        return "GOP/s" if self.dtype in ("int8", "int16", "bit") else "GFLOP/s"

    @property
    def name(self) -> str:
        """What tables and pictures call it."""
        return "FMA peak" if self.dtype == "f32" else f"{self.dtype} {self.instruction}"

    @property
    def title(self) -> str:
        """What sentences call it."""
        return self.name if self.dtype == "f32" else f"peak of {self.name}"

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


def by_arithmetic(peaks: Iterable[Peak]) -> dict[str, Peak]:
    """Return the peak that each arithmetic of a program's steps is held against.

    Parameters
    ----------
    peaks : iterable of Peak
        Those that were measured, that of f32 among them.

    Returns
    -------
    dict of str to Peak
        Of ``f32``, ``bf16``, ``bit``, ``int8`` and ``int16``. Winograd's products of 8-bit layers are of 16
        bits: of those half as many where one instruction sums four products of bytes, and else as many. A
        tier without an instruction for bytes or bf16, or that helps to count bits, has the FMA peak there.

    Examples
    --------
    >>> measured = Peak("avx2", 1, 100.0, 99.0, 5), Peak("avx2", 1, 400.0, 396.0, 5, "int8", "vpdpbusd")
    >>> {name: peak.gflops for name, peak in by_arithmetic(measured).items()}
    {'f32': 100.0, 'bf16': 100.0, 'bit': 100.0, 'int8': 400.0, 'int16': 200.0}
    """
    known = {peak.dtype: peak for peak in peaks}
    found = {dtype: known.get(dtype, known["f32"]) for dtype in ("f32", "bf16", "bit", "int8")}
    int8 = found["int8"]
    if int8.instruction not in _PAIRS:
        return {**found, "int16": int8}
    instruction, share = _PAIRS[int8.instruction]
    gflops, median = share * int8.gflops, share * int8.median
    pairs = replace(int8, gflops=gflops, median=median, dtype="int16", instruction=instruction)
    return {**found, "int16": pairs}


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
    dtype : {"f32", "bf16", "int8", "bit"}
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


def machine_peak(threads: int | None = None, *, dtype: str = "f32", seconds: float = 0.2) -> Peak:
    """Measure every tier that runs here and return the highest peak: the roof of any program of a dtype.

    Parameters
    ----------
    threads : int, optional
        Threads to run at once; ``fastconv.get_num_threads()`` when omitted.
    dtype : {"f32", "bf16", "int8", "bit"}
        What to multiply.
    seconds : float, default 0.2
        For how long to take samples of each tier.

    Returns
    -------
    Peak
        The highest of the tiers' peaks.

    Raises
    ------
    ArgumentError
        If no tier has an instruction for the dtype.

    Examples
    --------
    >>> from fastconv.roofline import machine_peak
    >>> machine_peak(threads=1, seconds=0.01).gflops > 0
    True
    """
    tiers = [tier for tier in _core.tiers() if dtype in dtypes(tier)]
    if not tiers:
        raise ArgumentError(f"dtype: expected one that a tier of this processor has, got {dtype!r}")
    found = [peak_fma(tier, threads, dtype=dtype, seconds=seconds) for tier in tiers]
    return max(found, key=lambda p: p.gflops)
