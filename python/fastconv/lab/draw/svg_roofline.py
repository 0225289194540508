"""Layers on the roofline without matplotlib: an SVG whose points tell their layer to the pointer."""

from __future__ import annotations

import math

from fastconv.lab.draw.layers import FAMILIES, LEAST, family_of
from fastconv.lab.draw.roofline import LEVEL_COLOURS
from fastconv.lab.draw.svg_chart import STRONG, Chart
from fastconv.lab.profile.layers import Profile

MOST = 512  # FLOP/byte
LOWEST = 0.1  # GFLOP/s
ROOF_COLOURS = {"f32": STRONG, "int8": "#777", "int16": "#0a7bb0"}


def _across(intensity: float) -> float:
    return math.log2(min(max(intensity, LEAST), MOST) / LEAST) / math.log2(MOST / LEAST)


def _up(gflops: float, highest: float) -> float:
    return math.log10(min(max(gflops, LOWEST), highest) / LOWEST) / math.log10(highest / LOWEST)


def svg_roofline(profile: Profile) -> str:
    """Return the picture as an element of a page."""
    roof = profile.roofline
    top = max(peak.gflops for peak in profile.peaks)
    highest = 4 * top
    units = "GFLOP/s, of integers GOP/s" if profile.peaks[1:] else "GFLOP/s"
    chart = Chart("roofline")
    floor, edge = chart.y(0), chart.x(1)

    def across(intensity: float) -> float:
        return chart.x(_across(intensity))

    def up(gflops: float) -> float:
        return chart.y(_up(gflops, highest))

    intensities = [2.0**power for power in range(int(math.log2(LEAST)), int(math.log2(MOST)) + 1, 2)]
    rates = [10.0**power for power in range(int(math.log10(LOWEST)), int(math.log10(highest)) + 1)]
    chart.grid(
        [(_across(x), f"{x:g}" if x >= 1 else f"1/{1 / x:.0f}") for x in intensities],
        [(_up(y, highest), f"{y:g}") for y in rates],
        f"arithmetic intensity, FLOP/byte; vertical: {units}",
    )
    for i, level in enumerate(roof.levels):
        gbs, colour = roof.gbs(level), LEVEL_COLOURS[level]
        ridge = top / gbs
        start = max(LEAST, LOWEST / gbs)
        chart.line(across(start), up(gbs * start), across(ridge), up(top), colour, 2)
        chart.text(edge, floor - 90 + 18 * i, f"{level} {gbs:.0f} GB/s", "end", colour)
    fastest = max(roof.gbs(level) for level in roof.levels)
    for peak in profile.peaks:
        at, colour = up(peak.gflops), ROOF_COLOURS[peak.dtype]
        chart.line(across(peak.gflops / fastest), at, edge, at, colour, 2)
        chart.text(edge, at - 6, f"{peak.name} {peak.gflops:.0f} {peak.unit}", "end", colour)
    total = sum(layer.ms for layer in profile.layers)
    for layer in profile.layers:
        colour = next(c for label, c, _ in FAMILIES if label == family_of(layer))
        intensity = layer.executed_flops / layer.bytes
        radius = max(3.0, 60 * math.sqrt(layer.ms / total / math.pi))
        unit = "GFLOP/s" if layer.arithmetic == "f32" else "GOP/s"
        told = (
            f"{layer.name}\n{layer.op} {layer.algorithm} {layer.tile}, {layer.elements}\n"
            f"{layer.ms:.3f} ms, {layer.gbs:.1f} GB/s,"
            f" {layer.executed_gflops:.1f} {unit} executed, {layer.gflops:.1f} useful\n"
            f"{layer.share:.0%} of {layer.roof}, {layer.lost_ms:.3f} ms lost"
        )
        if layer.pairs:
            told += f"\n{layer.saturating_pairs} of {layer.pairs} pairs of weights would saturate"
        chart.point(across(intensity), up(layer.executed_gflops), radius, colour, told)
    for i, (label, colour, _) in enumerate(FAMILIES):
        chart.key(i, label, colour)
    return chart.svg()
