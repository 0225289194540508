"""The search for the fastest candidate whose loss is within a budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fastconv._progress import track
from fastconv.compress.agreement import share_of
from fastconv.compress.candidates import BYTES, FLOAT, Candidates, Kinds

POINTS = 8  # of the front between the networks of one kind
FASTER = 0.995  # of the time: a candidate must gain more than the clock errs by
SWEEPS = 2  # over the layers at most
CONTENDERS = 10  # turns of the last comparison


@dataclass(frozen=True)
class Point:
    """A network of the front: how many layers are in 8 bits, milliseconds for a sample, share of loss."""

    kinds: Kinds
    ms: float
    loss: float

    @property
    def in_bytes(self) -> int:
        """How many layers are in 8 bits."""
        return self.kinds.count(BYTES)


def search(candidates: Candidates, alone: Mapping[str, float], budget: float) -> list[Point]:
    """Return what was found on the way, the network to choose first.

    Layers become bytes in the order of what they gain for what they lose, and the whole is measured at points
    of that row. From the best point on, layers and neighbours of layers change their kind while that is
    faster: this sees what conversions at the edges cost. The last word is a comparison in turns with the
    networks of one kind.

    Parameters
    ----------
    candidates : Candidates
    alone : mapping
        The signal-to-noise of the results if a layer alone is rounded, in decibels, by layer.
    budget : float
        The largest loss.
    """
    floats, integers = candidates.all_of(FLOAT), candidates.all_of(BYTES)
    seen = {kinds: _point(candidates, kinds) for kinds in (floats, integers)}
    for kinds in track(_row(candidates, alone, budget), "measuring networks"):
        seen.setdefault(kinds, _point(candidates, kinds))
    best = min((p for p in seen.values() if p.loss <= budget), key=lambda p: p.ms)
    best = _refined(candidates, best, budget, seen)
    contenders = [
        kinds for kinds in dict.fromkeys((best.kinds, floats, integers)) if seen[kinds].loss <= budget
    ]
    for kinds in contenders:
        seen[kinds] = Point(kinds, candidates.again(kinds, CONTENDERS), seen[kinds].loss)
    chosen = min(contenders, key=lambda kinds: seen[kinds].ms)
    return [seen[chosen], *(point for kinds, point in seen.items() if kinds != chosen)]


def front(points: list[Point]) -> list[Point]:
    """Return the points that no other is both faster and nearer than, the fastest first.

    >>> front([Point(("f32",), 2.0, 0.0), Point(("int8",), 1.0, 0.1), Point(("f32",), 3.0, 0.2)])
    [Point(kinds=('int8',), ms=1.0, loss=0.1), Point(kinds=('f32',), ms=2.0, loss=0.0)]
    """
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: (p.ms, p.loss)):
        if not kept or point.loss < kept[-1].loss:
            kept.append(point)
    return kept


def _point(candidates: Candidates, kinds: Kinds) -> Point:
    return Point(kinds, candidates.ms(kinds), candidates.loss(kinds))


def _row(candidates: Candidates, alone: Mapping[str, float], budget: float) -> list[Kinds]:
    """Return networks whose first layers, in the order of worth, are bytes, and the largest of the budget."""
    before, after = (candidates.layer_ms(kind) for kind in (FLOAT, BYTES))
    names = candidates.layers
    lost = {name: max(share_of(alone[name]), 1e-30) for name in names}

    def worth(name: str) -> float:
        gain = before[name] - after[name]
        return gain / lost[name] if gain > 0 else gain * lost[name]

    order = sorted(names, key=lambda name: (-worth(name), name))

    def first(count: int) -> Kinds:
        chosen = set(order[:count])
        return tuple(BYTES if name in chosen else FLOAT for name in names)

    # The loss grows with the row, but for what errors happen to cancel: its last point within the budget.
    low, high = 0, len(order)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if candidates.loss(first(middle)) <= budget else (low, middle - 1)
    gaining = sum(before[name] > after[name] for name in names)
    counts = {low, min(low, gaining), *(len(order) * i // POINTS for i in range(POINTS + 1))}
    return [first(count) for count in sorted(counts)]


def _refined(candidates: Candidates, best: Point, budget: float, seen: dict[Kinds, Point]) -> Point:
    """Change the kinds of layers and of pairs and fours of neighbours as long as that is faster."""
    before, after = (candidates.layer_ms(kind) for kind in (FLOAT, BYTES))
    names = candidates.layers
    widths = [width for width in (4, 2, 1) if width <= len(names)]
    runs = [range(start, start + width) for width in widths for start in range(len(names) - width + 1)]
    for sweep in range(SWEEPS):
        start = best
        for run in track(runs, f"changing layers, sweep {sweep + 1} of {SWEEPS}"):
            for kind in (BYTES, FLOAT):
                changed = [i for i in run if best.kinds[i] != kind]
                saved = sum(before[names[i]] - after[names[i]] for i in changed)
                # A layer of floats among bytes may gain by its edges alone.
                promising = saved > 0 if kind == BYTES else saved < 0
                if not changed or not (promising or (kind == BYTES and len(changed) == 1)):
                    continue
                kinds = tuple(kind if i in run else old for i, old in enumerate(best.kinds))
                if kinds in seen or candidates.loss(kinds) > budget:
                    continue
                seen[kinds] = _point(candidates, kinds)
                if seen[kinds].ms < FASTER * best.ms:
                    best = seen[kinds]
        if best is start:
            break
    return best
