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


def _x(intensity: float) -> float:
    at = math.log2(min(max(intensity, LEAST), MOST) / LEAST) / math.log2(MOST / LEAST)
    return LEFT + at * (WIDTH - LEFT - RIGHT)


def _y(gflops: float, highest: float) -> float:
    at = math.log10(min(max(gflops, LOWEST), highest) / LOWEST) / math.log10(highest / LOWEST)
    return HEIGHT - BOTTOM - at * (HEIGHT - TOP - BOTTOM)


def svg_roofline(profile: Profile) -> str:
    """Return the picture as an element of a page."""
    roof = profile.roofline
    peak, highest = roof.peak.gflops, 4 * roof.peak.gflops
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
    text((LEFT + WIDTH) / 2, HEIGHT - 10, "arithmetic intensity, FLOP/byte; vertical: GFLOP/s")
    for i, level in enumerate(roof.levels):
        ridge, gbs, colour = roof.ridge(level), roof.gbs(level), LEVEL_COLOURS[level]
        start = max(LEAST, LOWEST / gbs)
        line(_x(start), _y(gbs * start, highest), _x(ridge), _y(peak, highest), colour, 2)
        text(WIDTH - RIGHT, HEIGHT - BOTTOM - 90 + 18 * i, f"{level} {gbs:.0f} GB/s", "end", colour)
    first = min(roof.ridge(level) for level in roof.levels)
    line(_x(first), _y(peak, highest), WIDTH - RIGHT, _y(peak, highest), "#000", 2)
    text(WIDTH - RIGHT, _y(peak, highest) - 6, f"FMA peak {peak:.0f} GFLOP/s", "end", "#000")
    total = sum(layer.ms for layer in profile.layers)
    for layer in profile.layers:
        colour = next(c for label, c, _ in FAMILIES if label == family_of(layer))
        intensity = layer.executed_flops / layer.bytes
        radius = max(3.0, 60 * math.sqrt(layer.ms / total / math.pi))
        told = (
            f"{layer.name}\n{layer.op} {layer.algorithm}\n{layer.ms:.3f} ms, {layer.gbs:.1f} GB/s,"
            f" {layer.executed_gflops:.1f} GFLOP/s executed, {layer.gflops:.1f} useful\n"
            f"{layer.share:.0%} of {layer.roof}, {layer.lost_ms:.3f} ms lost"
        )
        parts.append(
            f'<circle class="layer" cx="{_x(intensity):.1f}" cy="{_y(layer.executed_gflops, highest):.1f}"'
            f' r="{radius:.1f}" fill="{colour}" fill-opacity="0.7" stroke="#fff">'
            f"<title>{html.escape(told)}</title></circle>"
        )
    for i, (label, colour, _) in enumerate(FAMILIES):
        parts.append(f'<circle cx="{LEFT + 15}" cy="{TOP + 11 + 18 * i}" r="5" fill="{colour}"/>')
        text(LEFT + 26, TOP + 15 + 18 * i, label, "start")
    return "".join([*parts, "</svg>"])
