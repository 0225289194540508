"""The bandwidth of each level of the memory: how many bytes a second the cores read, write and copy there."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from functools import partial

from fastconv import _core
from fastconv.errors import ArgumentError
from fastconv.lab.machine.peak import in_use, stable

LEVELS = ("L1", "L2", "L3", "DRAM")  # from the nearest
OPS = ("read", "write", "copy")
MEMORY = 64 << 20, 1 << 30  # bytes of DRAM's working set, at least and at most: beyond every cache


@dataclass(frozen=True)
class Bandwidth:
    """A measured bandwidth.

    Attributes
    ----------
    level : str
        ``L1``, ``L2``, ``L3`` or ``DRAM``.
    op : str
        ``read``, ``write``, or ``copy``, where a byte counts twice. Writes are plain stores: what they miss
        in the caches is read first, and counts once.
    tier, threads
        The ISA tier and how many threads ran at once.
    bytes : int
        The working set of each thread.
    gbs : float
        The best sample, in GB/s of all threads together: the roof.
    median : float
        The median sample.
    samples : int
        How many samples of a few milliseconds were taken.
    """

    level: str
    op: str
    tier: str
    threads: int
    bytes: int
    gbs: float
    median: float
    samples: int

    @property
    def spread(self) -> float:
        """How far the median sample fell below the best one, as a fraction of the best."""
        return 1.0 - self.median / self.gbs


def working_sets(threads: int) -> dict[str, int]:
    """Return the bytes a thread that are read from each level, of those that this machine has.

    Half of L1 and of L2, which are a core's own. Of L3, which cores (and the neighbours of a virtual machine)
    share, a quarter for all threads together, but four times L2 at least. Four times L3 for memory, divided
    by the threads.

    >>> sets = working_sets(1)
    >>> sets["L1"] < sets["DRAM"]
    True
    """
    caches = _core.cpu_info()["caches"]
    l1, l2, l3 = (int(caches[name]) for name in ("l1d", "l2", "l3"))
    sets = {"L1": l1 // 2, "L2": l2 // 2, "L3": max(4 * l2, l3 // 4 // threads) if l3 else 0}
    least, most = MEMORY
    sets["DRAM"] = min(max(4 * max(l2 * threads, l3), least), most) // threads
    return {level: size for level, size in sets.items() if size}


def bandwidth(
    level: str, op: str = "read", tier: str | None = None, threads: int | None = None, *, seconds: float = 0.1
) -> Bandwidth:
    """Measure the bandwidth of a level.

    Parameters
    ----------
    level : {"L1", "L2", "L3", "DRAM"}
        Which memory; working sets follow from the caches that are found (:func:`working_sets`).
    op : {"read", "write", "copy"}
        What is done with it.
    tier : str, optional
        Name of an ISA tier that this CPU runs; the one in use when omitted.
    threads : int, optional
        Threads to run at once, each on memory of its own; ``fastconv.get_num_threads()`` when omitted.
    seconds : float, default 0.1
        For how long to take samples, and up to four times as long while the best one still rises.

    Returns
    -------
    Bandwidth
        The best and the median sample.

    Raises
    ------
    ArgumentError
        If the tier, the level or the operation is unknown or not there, or a number is not positive.

    Examples
    --------
    >>> from fastconv.roofline import bandwidth
    >>> found = bandwidth("L1", threads=1, seconds=0.01)
    >>> found.gbs >= found.median > 0
    True
    """
    tier, threads = in_use(tier, threads)
    sets = working_sets(max(1, threads))
    if level not in sets:
        raise ArgumentError(f"level: expected one of {', '.join(sets)}, got {level!r}")
    size = sets[level]
    samples = stable(partial(_core.bandwidth, tier, op, size, threads), seconds)
    return Bandwidth(level, op, tier, threads, size, max(samples), statistics.median(samples), len(samples))
