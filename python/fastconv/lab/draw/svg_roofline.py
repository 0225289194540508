"""Layers on the roofline without matplotlib: an SVG whose points tell their layer to the pointer."""

from __future__ import annotations

import html
import math

from fastconv.lab.draw.layers import FAMILIES, LEAST, family_of
from fastconv.lab.draw.roofline import LEVEL_COLOURS
from fastconv.lab.profile.layers import Profile

WIDTH, HEIGHT = 960, 480
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 20, 50  # margins
MOST = 512  # FLOP/byte
LOWEST = 0.1  # GFLOP/s
ROOF_COLOURS = {"f32": "#000", "int8": "#777", "int16": "#0a7bb0"}


def _x(intensity: float) -> float:
    at = math.log2(min(max(intensity, LEAST), MOST) / LEAST) / math.log2(MOST / LEAST)
    return LEFT + at * (WIDTH - LEFT - RIGHT)


def _y(gflops: float, highest: float) -> float:
    at = math.log10(min(max(gflops, LOWEST), highest) / LOWEST) / math.log10(highest / LOWEST)
    return HEIGHT - BOTTOM - at * (HEIGHT - TOP - BOTTOM)


def svg_roofline(profile: Profile) -> str:
    """Return the picture as an element of a page."""
    roof = profile.roofline
    top = max(peak.gflops for peak in profile.peaks)
    highest = 4 * top
    units = "GFLOP/s, of integers GOP/s" if profile.peaks[1:] else "GFLOP/s"
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="roofline">']

    def line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1.0) -> None:
        parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
            f' stroke="{colour}" stroke-width="{width}"/>'
        )

    def text(x: float, y: float, content: str, anchor: str = "middle", colour: str = "#444") -> None:
        parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" style="fill:{colour}">'
            f"{html.escape(content)}</text>"
        )

    for power in range(int(math.log2(LEAST)), int(math.log2(MOST)) + 1, 2):
        line(_x(2.0**power), TOP, _x(2.0**power), HEIGHT - BOTTOM, "#eee")
        text(_x(2.0**power), HEIGHT - BOTTOM + 18, f"{2.0**power:g}" if power >= 0 else f"1/{2**-power}")
    for power in range(int(math.log10(LOWEST)), int(math.log10(highest)) + 1):
        line(LEFT, _y(10.0**power, highest), WIDTH - RIGHT, _y(10.0**power, highest), "#eee")
        text(LEFT - 8, _y(10.0**power, highest) + 4, f"{10.0**power:g}", "end")
    text((LEFT + WIDTH) / 2, HEIGHT - 10, f"arithmetic intensity, FLOP/byte; vertical: {units}")
    for i, level in enumerate(roof.levels):
        gbs, colour = roof.gbs(level), LEVEL_COLOURS[level]
        ridge = top / gbs
        start = max(LEAST, LOWEST / gbs)
        line(_x(start), _y(gbs * start, highest), _x(ridge), _y(top, highest), colour, 2)
        text(WIDTH - RIGHT, HEIGHT - BOTTOM - 90 + 18 * i, f"{level} {gbs:.0f} GB/s", "end", colour)
    fastest = max(roof.gbs(level) for level in roof.levels)
    for peak in profile.peaks:
        at, colour = _y(peak.gflops, highest), ROOF_COLOURS[peak.dtype]
        line(_x(peak.gflops / fastest), at, WIDTH - RIGHT, at, colour, 2)
        text(WIDTH - RIGHT, at - 6, f"{peak.name} {peak.gflops:.0f} {peak.unit}", "end", colour)
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
        parts.append(
            f'<circle class="layer" cx="{_x(intensity):.1f}" cy="{_y(layer.executed_gflops, highest):.1f}"'
            f' r="{radius:.1f}" fill="{colour}" fill-opacity="0.7" stroke="#fff">'
            f"<title>{html.escape(told)}</title></circle>"
        )
    for i, (label, colour, _) in enumerate(FAMILIES):
        parts.append(f'<circle cx="{LEFT + 15}" cy="{TOP + 11 + 18 * i}" r="5" fill="{colour}"/>')
        text(LEFT + 26, TOP + 15 + 18 * i, label, "start")
    return "".join([*parts, "</svg>"])
