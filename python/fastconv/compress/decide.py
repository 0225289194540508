"""Which sets of channels a network can do without, and why not the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

import numpy as np

from fastconv.compress.channels import Channels, Trace
from fastconv.compress.layers import Layer
from fastconv.graph.registry import describe
from fastconv.graph.value import Array


def read_channels(trace: Trace, layer: Layer) -> Channels | None:
    """Return the channels that a layer reads; None where they are not known."""
    given = trace.channels.get(layer.node.inputs[0])
    return given if given is not None and len(given.sets) == layer.inputs else None


def all_sets(trace: Trace) -> set[int]:
    """Return the numbers of all sets."""
    return {number for known in trace.channels.values() for number in known.sets.tolist()}


def needed(trace: Trace) -> dict[int, str]:
    """Return the sets that must stay if a network is to compute the same, and the reason of each.

    The others are read by no weights, or they are constants that the next layer's bias takes in exactly.
    Where zeros are around an image of constants, the bias cannot; but of all such channels that one layer
    reads one is enough, with the weights of all of them.
    """
    kept = dict(trace.frozen)
    shared: list[tuple[Layer, Array]] = []
    for layer in trace.layers.values():
        given = read_channels(trace, layer)
        if given is None or layer.depthwise:
            continue
        used = layer.weights.reshape(layer.groups, -1, *layer.weights.shape[1:]).any((1, 3)).reshape(-1)
        folds = given.known & ((given.constants == 0) | (not layer.bordered))
        seen = used & given.known & ~folds
        if layer.groups == 1:
            shared.append((layer, seen))
            used = used & ~seen
        for i in np.flatnonzero(used & ~folds).tolist():
            why = "sees zeros beside its constant" if seen[i] else "reads it where it is no constant"
            kept.setdefault(int(given.sets[i]), f"{describe(layer.node)} {why}")
    for layer, seen in shared:
        _keep_one(trace, layer, seen, kept)
    return kept


def _keep_one(trace: Trace, layer: Layer, seen: Array, kept: dict[int, str]) -> None:
    """Keep the largest of the constants that a layer sees with zeros beside them, unless one stays anyway."""
    given = read_channels(trace, layer)
    assert given is not None
    going = seen & ~np.isin(given.sets, list(kept))
    staying = given.known & (given.constants != 0) & ~going
    if going.any() and not staying.any():
        best = int(np.argmax(np.where(going, np.abs(given.constants), -1.0)))
        reader = describe(layer.node)
        kept[int(given.sets[best])] = f"it stands for all constants beside which {reader} sees zeros"


def balance(trace: Trace, kept: dict[int, str], order: Iterable[int] = ()) -> frozenset[int]:
    """Return the sets to remove: all that are not kept, but for those that the shape of layers needs.

    Each value keeps a channel, and the groups of a layer stay alike; the reasons are entered into ``kept``.
    Of the channels of a group those stay that come last in ``order``.
    """
    rank = {number: i for i, number in enumerate(order)}
    removed = all_sets(trace) - kept.keys()

    def keep(numbers: Iterable[int], reason: str) -> None:
        for number in numbers:
            removed.discard(number)
            kept.setdefault(number, reason)

    while True:
        before = len(removed)
        for name, known in trace.channels.items():
            if removed.issuperset(known.sets.tolist()):
                best = max(known.sets.tolist(), key=lambda n: rank.get(n, 0))
                keep([best], f"value {name!r} needs a channel")
        for output, layer in trace.layers.items():
            if layer.groups == 1:
                continue
            reason = f"{describe(layer.node)} has groups of one size"
            given, written = read_channels(trace, layer), trace.channels[output]
            if given is None:
                keep(written.sets.tolist(), reason)
            elif not layer.depthwise:
                sides = given.sets, written.sets
                _balance_groups(layer.groups, sides, removed, rank, partial(keep, reason=reason))
        if len(removed) == before:
            return frozenset(removed)


def _balance_groups(
    groups: int,
    sides: tuple[Array, Array],
    removed: set[int],
    rank: Mapping[int, int],
    keep: Callable[[Iterable[int]], None],
) -> None:
    """Remove as many inputs, and as many outputs, of each group that is not removed as a whole."""
    both = [a.reshape(groups, -1).tolist() for a in sides]
    whole = [removed.issuperset(i) and removed.issuperset(o) for i, o in zip(*both, strict=True)]
    for side in both:
        going = [[n for n in group if n in removed] for group, w in zip(side, whole, strict=True) if not w]
        fewest = min(map(len, going), default=0)
        for group in going:
            keep(sorted(group, key=lambda n: rank.get(n, 0))[fewest:])
