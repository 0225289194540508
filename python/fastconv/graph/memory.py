"""The memory plan: where in one arena each intermediate buffer lies.

Buffers that are alive at the same time never overlap.

Greedy by size (Pisarchyk and Lee, "Efficient memory management for deep neural net inference",
arXiv:2001.03288): the largest buffer first, each into the smallest gap that fits between those already
placed and alive with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ALIGNMENT = 16  # floats: one cache line


@dataclass(frozen=True)
class Lifetime:
    """Floats that a buffer holds, and the first and last step that touch it."""

    size: int
    first: int
    last: int

    @property
    def aligned(self) -> int:
        """The size rounded up to whole cache lines."""
        return -(-self.size // ALIGNMENT) * ALIGNMENT

    def meets(self, other: Lifetime) -> bool:
        """Whether the two are alive during a common step."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class MemoryPlan:
    """Offsets in floats by buffer, and the figures that judge them."""

    offsets: Mapping[int, int]
    arena: int  # floats
    total: int  # of all buffers, had each its own memory
    lower_bound: int  # the most that is alive during one step: no plan can need less


def plan_memory(lifetimes: Mapping[int, Lifetime]) -> MemoryPlan:
    """Place buffers in an arena.

    >>> plan = plan_memory({0: Lifetime(32, 0, 1), 1: Lifetime(16, 1, 2), 2: Lifetime(32, 2, 3)})
    >>> plan.offsets[0] == plan.offsets[2], plan.arena, plan.total
    (True, 48, 80)
    """
    offsets: dict[int, int] = {}
    by_size = sorted(lifetimes, key=lambda b: (-lifetimes[b].aligned, lifetimes[b].first, b))
    for buffer in by_size:
        life = lifetimes[buffer]
        neighbours = sorted((offsets[b], lifetimes[b].aligned) for b in offsets if lifetimes[b].meets(life))
        offsets[buffer] = _best_gap(neighbours, life.aligned)
    ends = [offsets[b] + lifetimes[b].aligned for b in offsets]
    steps = range(max((life.last for life in lifetimes.values()), default=-1) + 1)
    alive = [sum(life.aligned for life in lifetimes.values() if life.first <= s <= life.last) for s in steps]
    return MemoryPlan(
        offsets, max(ends, default=0), sum(life.aligned for life in lifetimes.values()), max(alive, default=0)
    )


def _best_gap(taken: list[tuple[int, int]], size: int) -> int:
    """Return the start of the smallest gap that fits between sorted (offset, size) ranges, or their end."""
    best, best_gap, end = None, 0, 0
    for offset, length in taken:
        gap = offset - end
        if gap >= size and (best is None or gap < best_gap):
            best, best_gap = end, gap
        end = max(end, offset + length)
    return end if best is None else best
