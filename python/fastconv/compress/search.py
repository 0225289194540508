"""The search for the fastest candidate whose loss is within a budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fastconv._progress import track
from fastconv.compress.agreement import share_of
from fastconv.compress.candidates import BF16, BYTES, FLOAT, Candidates, Kinds

POINTS = 8  # of the front between the networks of one kind
FASTER = 0.995  # of the time: a candidate must gain more than the clock errs by
SWEEPS = 2  # over the layers at most
CONTENDERS = 10  # turns of the last comparison

Alone = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Point:
    """A network of the front: the kind of each layer, milliseconds for a sample, share of loss."""

    kinds: Kinds
    ms: float
    loss: float

    @property
    def in_bytes(self) -> int:
        """How many layers are in 8 bits."""
        return self.kinds.count(BYTES)

    @property
    def in_bf16(self) -> int:
        """How many layers are in bf16."""
        return self.kinds.count(BF16)


def search(candidates: Candidates, alone: Alone, budget: float) -> list[Point]:
    """Return what was found on the way, the network to choose first.

    Layers change from floats to bf16 and to bytes in the order of what each change gains for what it loses,
    and the whole is measured at points of that row. From the best point on, layers and neighbours of layers
    change their kind while that is faster: this sees what conversions at the edges cost. The last word is a
    comparison in turns with the networks of one kind.

    Parameters
    ----------
    candidates : Candidates
    alone : mapping
        The signal-to-noise of the results if a layer alone is of a kind, in decibels, by kind and layer.
    budget : float
        The largest loss.
    """
    ends = [candidates.all_of(kind) for kind in candidates.kinds]
    seen = {kinds: _point(candidates, kinds) for kinds in ends}
    for kinds in track(_row(candidates, alone, budget), "measuring networks"):
        seen.setdefault(kinds, _point(candidates, kinds))
    best = min((p for p in seen.values() if p.loss <= budget), key=lambda p: p.ms)
    best = _refined(candidates, best, budget, seen)
    contenders = [kinds for kinds in dict.fromkeys((best.kinds, *ends)) if seen[kinds].loss <= budget]
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


@dataclass(frozen=True)
class _Change:
    """A layer's change to a kind: the milliseconds that it gains, and the share that it loses for them."""

    layer: int
    kind: str
    gain: float
    lost: float

    @property
    def worth(self) -> float:
        """What comes first; a change that gains nothing comes the later the more it loses."""
        lost = max(self.lost, 1e-30)
        return self.gain / lost if self.gain > 0 else self.gain * lost


def _changes(candidates: Candidates, alone: Alone, layer: int) -> list[_Change]:
    """Return the changes of a layer from floats on, the first one worth the most.

    It goes by way of bf16 where that is worth more than bytes at once.
    """
    name = candidates.layers[layer]
    choices = candidates.choices(name)

    def change(before: str, after: str) -> _Change:
        ms, ms_then = (candidates.layer_ms(kind)[name] for kind in (before, after))
        lost, lost_then = (0.0 if k == FLOAT else share_of(alone[k][name]) for k in (before, after))
        return _Change(layer, after, ms - ms_then, lost_then - lost)

    direct = {kind: change(FLOAT, kind) for kind in choices if kind != FLOAT}
    if len(direct) < 2:
        return list(direct.values())
    narrow, whole = direct[BF16], direct[BYTES]
    if narrow.gain <= 0 or narrow.worth <= whole.worth:
        return [whole]
    return [narrow, change(BF16, BYTES)]


def _row(candidates: Candidates, alone: Alone, budget: float) -> list[Kinds]:
    """Return networks after the first changes, in the order of worth, and the largest of the budget."""
    layers = range(len(candidates.layers))
    changes = [change for layer in layers for change in _changes(candidates, alone, layer)]
    changes.sort(key=lambda change: -change.worth)

    def first(count: int) -> Kinds:
        kinds = list(candidates.all_of(FLOAT))
        for change in changes[:count]:
            kinds[change.layer] = change.kind
        return tuple(kinds)

    # The loss grows with the row, but for what errors happen to cancel: its last point within the budget.
    low, high = 0, len(changes)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if candidates.loss(first(middle)) <= budget else (low, middle - 1)
    gaining = sum(change.gain > 0 for change in changes)
    counts = {low, min(low, gaining), *(len(changes) * i // POINTS for i in range(POINTS + 1))}
    return [first(count) for count in sorted(counts)]


def _refined(candidates: Candidates, best: Point, budget: float, seen: dict[Kinds, Point]) -> Point:
    """Change the kinds of layers and of pairs and fours of neighbours as long as that is faster."""
    names = candidates.layers
    times = {kind: candidates.layer_ms(kind) for kind in candidates.kinds}
    widths = [width for width in (4, 2, 1) if width <= len(names)]
    runs = [range(start, start + width) for width in widths for start in range(len(names) - width + 1)]
    for sweep in range(SWEEPS):
        start = best
        for run in track(runs, f"changing layers, sweep {sweep + 1} of {SWEEPS}"):
            for kind in reversed(candidates.kinds):
                changed = [i for i in run if best.kinds[i] != kind and kind in candidates.choices(names[i])]
                saved = sum(times[best.kinds[i]][names[i]] - times[kind][names[i]] for i in changed)
                # A layer of floats among bytes may gain by its edges alone.
                if not changed or not (saved > 0 or (kind == BYTES and len(changed) == 1)):
                    continue
                kinds = tuple(kind if i in changed else old for i, old in enumerate(best.kinds))
                if kinds in seen or candidates.loss(kinds) > budget:
                    continue
                seen[kinds] = _point(candidates, kinds)
                if seen[kinds].ms < FASTER * best.ms:
                    best = seen[kinds]
        if best is start:
            break
    return best
