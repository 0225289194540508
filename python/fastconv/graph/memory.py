"""The memory plan: where in one arena each intermediate buffer lies.

Buffers that are alive at the same time never overlap.

Greedy by size (Pisarchyk and Lee, "Efficient memory management for deep neural net inference",
arXiv:2001.03288): the largest buffer first, each into the smallest gap that fits between those already
placed and alive with it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fastconv.graph.context import Buffer, Step

ALIGNMENT = 64  # bytes: one cache line


class Lifetime(NamedTuple):
    """Bytes that a buffer holds, and the first and last step that touch it."""

    size: int
    first: int
    last: int

    @property
    def aligned(self) -> int:
        """The size rounded up to whole cache lines."""
        return -(-self.size // ALIGNMENT) * ALIGNMENT


class MemoryPlan(NamedTuple):
    """Offsets in bytes by buffer, and the figures that judge them."""

    offsets: Mapping[int, int]
    arena: int  # bytes
    total: int  # of all buffers, had each its own memory
    lower_bound: int  # the most that is alive during one step: no plan can need less


def plan_memory(lifetimes: Mapping[int, Lifetime]) -> MemoryPlan:
    """Place buffers in an arena.

    >>> plan = plan_memory({0: Lifetime(128, 0, 1), 1: Lifetime(64, 1, 2), 2: Lifetime(128, 2, 3)})
    >>> plan.offsets[0] == plan.offsets[2], plan.arena, plan.total
    (True, 192, 320)
    """
    offsets: dict[int, int] = {}
    sizes = {buffer: life.aligned for buffer, life in lifetimes.items()}
    steps = max((life.last for life in lifetimes.values()), default=-1) + 1
    # Of the buffers that have a place, by step: which are alive there, and which from there on.
    present: list[list[int]] = [[] for _ in range(steps)]
    beginning: list[list[int]] = [[] for _ in range(steps)]
    for buffer in sorted(lifetimes, key=lambda b: (-sizes[b], lifetimes[b].first, b)):
        first, last, size = lifetimes[buffer].first, lifetimes[buffer].last, sizes[buffer]
        beside = [*present[first], *itertools.chain.from_iterable(beginning[first + 1 : last + 1])]
        offsets[buffer] = _best_gap(sorted((offsets[b], sizes[b]) for b in beside), size)
        beginning[first].append(buffer)
        for step in range(first, last + 1):
            present[step].append(buffer)
    return MemoryPlan(
        offsets,
        max((offset + sizes[buffer] for buffer, offset in offsets.items()), default=0),
        sum(sizes.values()),
        max(alive(lifetimes, steps), default=0),
    )


def lifetimes_of(steps: Sequence[Step], buffers: Sequence[Buffer]) -> dict[int, Lifetime]:
    """From which step to which the buffers of the arena hold something."""
    lives: dict[int, Lifetime] = {}
    for i, step in enumerate(steps):
        for tensor in step.tensors():
            buffer = buffers[tensor.buffer]
            if buffer.kind == "arena" and buffer.size:
                first = lives[tensor.buffer].first if tensor.buffer in lives else i
                lives[tensor.buffer] = Lifetime(buffer.nbytes, first, i)
    return lives


def alive(lifetimes: Mapping[int, Lifetime], steps: int) -> list[int]:
    """Bytes that are alive at each of a number of steps.

    >>> alive({0: Lifetime(128, 0, 1), 1: Lifetime(64, 1, 2)}, 4)
    [128, 192, 64, 0]
    """
    change = [0] * (steps + 1)
    for life in lifetimes.values():
        change[life.first] += life.aligned
        change[life.last + 1] -= life.aligned
    return list(itertools.accumulate(change[:-1]))


def _best_gap(taken: list[tuple[int, int]], size: int) -> int:
    """Return the start of the smallest gap that fits between sorted (offset, size) ranges, or their end."""
    best, best_gap, end = None, 0, 0
    for offset, length in taken:
        gap = offset - end
        if gap >= size and (best is None or gap < best_gap):
            best, best_gap = end, gap
        end = max(end, offset + length)
    return end if best is None else best
