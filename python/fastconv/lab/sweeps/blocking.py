"""Block sizes of ``gemm``: how long each MC x KC x NC takes, and what must move between the caches for it.

The five loops of Goto cut C = A B into blocks: of B, KC x NC, for L3; of A, MC x KC, for L2; panels of B,
KC x NR, for L1 (or, as fastconv ships it, for L2).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fastconv import _core
from fastconv._threads import threads as threads_of_process
from fastconv.lab.compare.cases import Case, gemm_arrays
from fastconv.lab.machine import Roof
from fastconv.lab.machine.setting import Setting, setting
from fastconv.lab.sweeps.checked import Expected, checked_product
from fastconv.lab.sweeps.stairs import gemm_shape
from fastconv.lab.timing import in_turns, timer

Sizes = tuple[int, int, int]
FLOAT, LINE = 4, 64  # bytes
NEAR = 1.15  # sizes closer than this to each other are one


@dataclass(frozen=True)
class Traffic:
    """Bytes that a product moves into a level, by the model of :func:`predict_traffic`.

    Attributes
    ----------
    l1, l2, l3 : int
        From L2 or beyond into L1, from L3 or beyond into L2, from memory into L3. A 64th of each is the
        predicted number of misses of that level.
    """

    l1: int
    l2: int
    l3: int


@dataclass(frozen=True)
class Candidate:
    """One choice of block sizes, its fastest call, and by what fraction of the best time it is slower."""

    mc: int
    kc: int
    nc: int
    seconds: float
    median: float
    gflops: float
    loss: float
    traffic: Traffic

    @property
    def sizes(self) -> Sizes:
        """MC, KC and NC."""
        return (self.mc, self.kc, self.nc)


@dataclass(frozen=True)
class BlockingSweep:
    """Block sizes around the shipped ones, timed.

    Attributes
    ----------
    setting : Setting
        The machine and its measured FMA peak.
    m, n, k, mr, nr : int
        The product's size and the register tile.
    shipped, textbook : tuple of int
        MC, KC and NC of ``csrc/gemm/blocking.h`` and of Low et al. 2016, none larger than the product.
    candidates : tuple of Candidate
        Every combination.
    """

    setting: Setting
    m: int
    n: int
    k: int
    mr: int
    nr: int
    shipped: Sizes
    textbook: Sizes
    candidates: tuple[Candidate, ...]

    @property
    def best(self) -> Candidate:
        """The fastest."""
        return min(self.candidates, key=lambda c: c.seconds)

    def at(self, sizes: Sizes) -> Candidate:
        """Return the candidate of those sizes."""
        return next(c for c in self.candidates if c.sizes == sizes)

    def rank_correlation(self, level: str) -> float:
        """Return Spearman's correlation of the times with the predicted traffic into a level."""
        times = _ranks([c.seconds for c in self.candidates])
        moved = _ranks([getattr(c.traffic, level) for c in self.candidates])
        if np.ptp(moved) == 0 or np.ptp(times) == 0:
            return 0.0
        return float(np.corrcoef(times, moved)[0, 1])


def _ranks(values: Sequence[float]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return each value's rank; equal ones share the mean of theirs."""
    _, inverse, counts = np.unique(np.asarray(values, np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = last - (counts - 1) / 2
    return mean[inverse]


def predict_traffic(
    shape: tuple[int, int, int], sizes: Sizes, mr: int, nr: int, caches: Mapping[str, int]
) -> Traffic:
    """Count what the five loops move into each level of the cache, in bytes.

    A level keeps what the loops come back to if that and what passes by fit it, and nothing else; lines, sets
    and prefetches are left out, as are the caches' other users. Threads share the work and not the count.

    Parameters
    ----------
    shape : tuple of int
        M, N, K.
    sizes : tuple of int
        MC, KC, NC.
    mr, nr : int
        The register tile.
    caches : mapping of str to int
        Bytes of ``"l1d"``, ``"l2"`` and ``"l3"``.

    Returns
    -------
    Traffic
        Bytes into L1, L2 and L3.

    Notes
    -----
    Into L1: the block of A once for each panel of B; a panel once for each block of rows if it fits half of
    L1, else once for each row tile; C read and written for each block of K. Into L2: a block of A once for
    each block of columns if it fits half of L2, else for each panel; the block of B once for each block of
    rows, or once if it fits half of L2; its packing; C as before. Into L3: each matrix once if all of them
    fit, else A for each block of columns, B, its packed copy if that does not fit, and C for each block of K.

    Examples
    --------
    >>> caches = {"l1d": 2**15, "l2": 2**19, "l3": 2**25}
    >>> deep = predict_traffic((1024, 1024, 1024), (60, 1024, 1024), 6, 16, caches)
    >>> flat = predict_traffic((1024, 1024, 1024), (252, 256, 1024), 6, 16, caches)
    >>> deep.l2 > flat.l2, deep.l1 > flat.l1  # deeper blocks: fewer rows in L2, and panels beyond L1
    (True, True)
    """
    m, n, k = shape
    mc, kc, nc = (min(size, most) for size, most in zip(sizes, (m, k, n), strict=True))

    def ceil(a: int, b: int) -> int:
        return -(-a // b)

    a, b, c = FLOAT * m * k, FLOAT * k * n, FLOAT * m * n
    passes_of_c = 2 * ceil(k, kc) - 1  # written for each block of K, read for each but the first
    panel_fits = FLOAT * kc * nr <= caches["l1d"] // 2
    a_fits = FLOAT * mc * kc <= caches["l2"] // 2
    b_fits = FLOAT * kc * nc <= caches["l2"] // 2
    packing = 2 * b
    l1 = a * ceil(n, nr) + b * ceil(m, mc if panel_fits else mr) + c * passes_of_c + packing
    l2 = (
        a * (ceil(n, nc) if a_fits else ceil(n, nr))
        + b * (1 if b_fits else ceil(m, mc))
        + c * passes_of_c
        + packing
    )
    l3 = a + b + c
    if a + b + c + FLOAT * kc * nc > caches["l3"]:
        packed_fits = FLOAT * kc * nc <= caches["l3"] // 2
        l3 = a * ceil(n, nc) + b + c * passes_of_c + (0 if packed_fits else b * ceil(m, mc))
    return Traffic(l1, l2, l3)


def size_axis(marked: Iterable[int], around: int, multiple: int, most: int) -> list[int]:
    """Return the marked sizes and, where none is near, an eighth to four times the one `around` by doubling.

    Sizes are multiples of the tile's, but `most`, the product's own, which is the largest.

    >>> size_axis([60, 252], 60, 6, 1024)
    [6, 12, 30, 60, 120, 252]
    """
    axis = sorted({min(size, most) for size in marked})
    for power in range(-3, 3):
        size = min(most, max(multiple, int(around * 2.0**power) // multiple * multiple))
        if all(max(size, other) / min(size, other) > NEAR for other in axis):
            axis.append(size)
    return sorted(axis)


def sweep_blocking(
    shape: tuple[int, int, int] = (1008, 1008, 1008),
    *,
    threads: int = 1,
    rounds: int = 4,
    seconds: float = 0.02,
    roof: Roof | None = None,
) -> BlockingSweep:
    """Check and time ``gemm``'s five loops with block sizes around the shipped ones, in turns.

    Where MC is all of M, panels of B are packed one by one as they are needed, as in ``gemm``, and NC has no
    part: those candidates differ by the noise of the measurement.

    Parameters
    ----------
    shape : tuple of int
        M, N and K. The default is one of whole tiles whose rows do not alias: where they are a multiple of
        1 KiB apart, ``gemm`` copies A for the smaller KC, which is not in the model.
    threads, rounds, seconds, roof
        As for :func:`~fastconv.sweep.staircase`.

    Returns
    -------
    BlockingSweep
        Every combination of sizes with its time and predicted traffic.

    Raises
    ------
    ArgumentError
        If a number is not positive.
    BenchError
        If a result is wrong.
    RoofError
        If one is faster than the measured FMA peak.

    Examples
    --------
    >>> from fastconv.sweep import sweep_blocking
    >>> sweep = sweep_blocking((40, 40, 40), rounds=1, seconds=1e-5)
    >>> sweep.at(sweep.shipped).loss >= sweep.best.loss == 0.0
    True
    """
    case = Case.of(gemm_shape(shape))
    m, n, k = shape
    a, b = gemm_arrays(case)
    out = np.empty((m, n), np.float32)
    expected = Expected(a, b)
    caches = _core.cpu_info()["caches"]
    nr, mr = _core.register_tiles()[1]
    found = _core.gemm_blockings(k)

    def clipped(sizes: Sizes) -> Sizes:
        return (min(sizes[0], m), min(sizes[1], k), min(sizes[2], n))

    shipped, textbook = clipped(found["shipped"]), clipped(found["textbook"])
    axes = [
        size_axis((shipped[i], textbook[i]), shipped[i], multiple, shape[at])
        for i, (multiple, at) in enumerate([(mr, 0), (1, 2), (nr, 1)])
    ]
    calls = {
        (mc, kc, nc): lambda mc=mc, kc=kc, nc=nc: _core.gemm_blocked(a, b, out, mc, kc, nc)
        for mc, kc, nc in itertools.product(*axes)
    }
    with threads_of_process(threads):
        roof = roof or Roof(threads)
        first = {
            sizes: checked_product(f"blocks of {sizes}", call, out, expected) for sizes, call in calls.items()
        }
        timers = {sizes: timer(call) for sizes, call in calls.items()}
        times = in_turns(timers, roof, rounds=rounds, seconds=seconds, first=first)
    flops, best = 2 * case.gemm.macs, min(t.min for t in times.values())
    candidates = []
    for sizes, t in times.items():
        rate = flops / t.min * 1e-9
        roof.hold(f"{case.name}: blocks of {sizes}", rate)
        traffic = predict_traffic(shape, sizes, mr, nr, caches)
        candidates.append(Candidate(*sizes, t.min, t.median, rate, t.min / best - 1, traffic))
    return BlockingSweep(setting(roof), m, n, k, mr, nr, shipped, textbook, tuple(candidates))
