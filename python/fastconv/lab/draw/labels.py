"""Words at the lines and points of a picture: which lines are one, and where words cover no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastconv.lab.profile.layers import LayerProfile, Profile

SAME = 0.08  # rates that differ by less are one line: measurements scatter as much
NAMED = 5  # layers that lose most, named in pictures
LONGEST = 34  # letters of a layer's name


@dataclass(frozen=True)
class Line:
    """A roof in a picture: its height, the words at it, and how it is drawn."""

    rate: float
    label: str
    colour: str
    style: str = "-"


def merged(lines: Sequence[Line], within: float = SAME) -> list[Line]:
    """Return lines, the highest first; those that lie on each other are one, with the words of all.

    >>> roofs = [Line(200, "L3 200 GB/s", "red"), Line(20, "DRAM 20 GB/s", "blue"), Line(204, "L2", "red")]
    >>> [line.label for line in merged(roofs)]
    ['L2 / L3 200 GB/s', 'DRAM 20 GB/s']
    """
    groups: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: -line.rate):
        if groups and line.rate >= groups[-1][0].rate * (1 - within):
            groups[-1].append(line)
        else:
            groups.append([line])
    return [
        Line(group[0].rate, " / ".join(line.label for line in group), group[0].colour, group[0].style)
        for group in groups
    ]


def apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return places between two ends, at least a gap from each other, near those wanted and in their order.

    >>> apart([5, 1, 4.5], 2, 0, 6)
    [6, 1, 4]
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    places = list(wanted)
    least = low
    for i in order:
        places[i] = max(wanted[i], least)
        least = places[i] + gap
    most = high
    for i in reversed(order):
        places[i] = min(places[i], most)
        most = places[i] - gap
    return places


def short(name: str, longest: int = LONGEST) -> str:
    """Return a name, or the end of a long one.

    >>> short("Conv_0"), short("a/b/c", 4)
    ('Conv_0', '...c')
    """
    return name if len(name) <= longest else "..." + name[3 - longest :]


def worst(profile: Profile, most: int = NAMED) -> list[tuple[LayerProfile, str]]:
    """Return the layers that lose most, each with the words that name it in a picture."""
    total = sum(layer.ms for layer in profile.layers)
    return [
        (layer, f"{short(layer.first_node)}: {layer.lost_ms:.2g} ms lost ({layer.lost_ms / total:.0%})")
        for layer in profile.sorted_by("lost_ms")[:most]
        if layer.lost_ms > 0
    ]


def floor_of(profile: Profile, least: float = 0.1) -> float:
    """Return where the axis of rates begins: the power of ten below all layers that do work."""
    rates = [layer.executed_gflops for layer in profile.layers if layer.executed_flops]
    floor = least
    while rates and floor * 10 <= min(rates):
        floor *= 10
    return floor
