"""What networks of 8 bits gain and lose, without matplotlib: points that tell their layer to the pointer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

from numpy import format_float_positional

from fastconv.compress.report import Cost
from fastconv.compress.search import Point
from fastconv.lab.draw.canvas import BLUE, GREY, ORANGE, PURPLE, RED, SKY
from fastconv.lab.draw.svg_chart import SOFT, Chart, round_steps

LEAST = 1e-8  # of the loss: what is below stands at the edge
KINDS = {"int8": ("in 8 bits", BLUE), "f32": ("in float", ORANGE), "bf16": ("in bf16", PURPLE)}


def _scales(
    chart: Chart, times: Sequence[float], losses: Sequence[float], caption: str
) -> tuple[Callable[[float], float], Callable[[float], float]]:
    """Draw the grid, and return where milliseconds and where losses are, whose axis is logarithmic."""
    columns = round_steps(min(times), max(times))
    first, last = columns[0], columns[-1]
    lost = [max(loss, LEAST) for loss in losses]
    low, high = (math.floor(math.log10(min(lost))), math.ceil(math.log10(max(lost))))
    high = max(high, low + 1)

    def across(ms: float) -> float:
        return chart.x((ms - first) / (last - first))

    def share(loss: float) -> float:
        return (math.log10(max(loss, LEAST)) - low) / (high - low)

    powers = range(low, high + 1)
    rows = [(share(10.0**n), f"{format_float_positional(10.0 ** (n + 2), 8, trim='-')} %") for n in powers]
    chart.grid([((ms - first) / (last - first), f"{ms:g}") for ms in columns], rows, caption)
    return across, lambda loss: chart.y(share(loss))


def svg_costs(costs: Sequence[Cost]) -> str:
    """Return a picture of a point a layer: the milliseconds that 8 bits gain, the signal that they lose.

    The lower and the further to the right a layer is, the more it is worth in 8 bits. Areas are times in
    floats.
    """
    chart = Chart("milliseconds that 8 bits gain against signal that they lose, a point a layer")
    chart.left = 90
    gains = [cost.before - cost.after for cost in costs]
    across, up = _scales(
        chart, [0.0, *gains], [cost.loss for cost in costs],
        "milliseconds gained in 8 bits; vertical: loss if the layer alone is in 8 bits",
    )  # fmt: skip
    chart.line(across(0), chart.y(0), across(0), chart.y(1), SOFT)
    slowest = max(cost.before for cost in costs)
    for cost, gain in sorted(zip(costs, gains, strict=True), key=lambda pair: -pair[0].before):
        told = (
            f"{cost.name}\n{cost.op}, {KINDS[cost.kind][0]}\n"
            f"{cost.before:.3f} ms in floats, {cost.after:.3f} in 8 bits\n"
            f"{cost.loss:.2g} of the signal lost if it alone is in 8 bits"
        )
        radius = max(3.0, 16 * math.sqrt(cost.before / slowest))
        chart.point(across(gain), up(cost.loss), radius, KINDS[cost.kind][1], told)
    there = {"int8", *(cost.kind for cost in costs)}
    for row, (label, colour) in enumerate(KINDS[kind] for kind in KINDS if kind in there):
        chart.key(row, label, colour)
    return chart.svg()


def svg_front(points: Sequence[Point], front: Sequence[Point], chosen: Point, budget: float) -> str:
    """Return a picture of networks by time and loss, those joined that no other is better than in both."""
    chart = Chart("milliseconds against loss, a point a network")
    chart.left = 90
    lossy = [point.loss for point in points if point.loss > 0]
    edge = min([budget, *lossy], default=0.0) / 10 or LEAST  # where networks stand that lose nothing
    across, up = _scales(
        chart, [point.ms for point in points], [edge, budget, *(point.loss for point in points)],
        "milliseconds; vertical: loss, of networks that lose nothing the lowest line",
    )  # fmt: skip
    chart.line(chart.x(0), up(budget), chart.x(1), up(budget), RED, 2)
    chart.text(chart.x(1), up(budget) - 6, f"budget {budget:.3%}", "end", RED)
    at = [(across(point.ms), up(max(point.loss, edge))) for point in front]
    for (x1, y1), (x2, y2) in itertools.pairwise(at):
        chart.line(x1, y1, x2, y1, SKY, 2)
        chart.line(x2, y1, x2, y2, SKY, 2)
    for point in points:
        told = f"{point.ms:.3f} ms, loss {point.loss:.3%}\n{point.in_bytes} of {len(point.kinds)} in 8 bits"
        told += f", {point.in_bf16} in bf16" if point.in_bf16 else ""
        colour = RED if point == chosen else SKY if point in front else GREY
        chart.point(across(point.ms), up(max(point.loss, edge)), 8 if point == chosen else 5, colour, told)
    for row, (label, colour) in enumerate((("chosen", RED), ("the front", SKY), ("others", GREY))):
        chart.key(row, label, colour)
    return chart.svg()
