"""Layers on the roofline without matplotlib: an SVG whose points tell their layer to the pointer."""

from __future__ import annotations

import html
import math
from dataclasses import replace

from fastconv.lab.draw.labels import Line, apart, floor_of, worst
from fastconv.lab.draw.layers import FAMILIES, LEAST, MOST, family_of
from fastconv.lab.draw.roofline import along, roofs_of
from fastconv.lab.profile.layers import LayerProfile, Profile

WIDTH, HEIGHT = 960, 520
LEFT, RIGHT, TOP, BOTTOM = 76, 20, 44, 50  # margins
ROW = 17  # between two lines of words
LETTER = 6.8  # width of one


class _Picture:
    """The elements of a picture of rates against intensities, both logarithmic."""

    def __init__(self, floor: float, highest: float) -> None:
        self.floor, self.highest = floor, highest
        self.parts: list[str] = []

    def x(self, intensity: float) -> float:
        at = math.log2(min(max(intensity, LEAST), MOST) / LEAST) / math.log2(MOST / LEAST)
        return LEFT + at * (WIDTH - LEFT - RIGHT)

    def y(self, rate: float) -> float:
        at = math.log10(min(max(rate, self.floor), self.highest) / self.floor)
        return HEIGHT - BOTTOM - at / math.log10(self.highest / self.floor) * (HEIGHT - TOP - BOTTOM)

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str, colour: str = "") -> None:
        stroke = f' style="stroke:{colour}"' if colour not in ("", "black") else ""  # else the page's own
        at = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
        self.parts.append(f'<line class="{kind}" {at}{stroke}/>')

    def text(self, x: float, y: float, content: str, anchor: str = "middle", turned: float = 0) -> None:
        turn = f' transform="rotate({turned:.2f} {x:.1f} {y:.1f})"' if turned else ""
        at = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
        self.parts.append(f"<text {at}{turn}>{html.escape(content)}</text>")

    def point(self, layer: LayerProfile) -> tuple[float, float]:
        return self.x(layer.executed_flops / layer.bytes), self.y(layer.executed_gflops)


def svg_roofline(profile: Profile) -> str:
    """Return the picture as an element of a page, whose style draws its classes."""
    levels, peaks = roofs_of([replace(profile.roofline, narrow=profile.peaks[1:])])
    picture = _Picture(floor_of(profile), 4 * peaks[0].rate)
    _draw_grid(picture, "GFLOP/s, of integers GOP/s" if profile.peaks[1:] else "GFLOP/s")
    _draw_roofs(picture, levels, peaks)
    _draw_layers(picture, profile)
    _draw_names(picture, profile)
    families = {family_of(layer) for layer in profile.layers}
    at = float(LEFT)
    for label, colour, _ in FAMILIES:
        if label in families:
            picture.parts.append(f'<circle cx="{at + 6:.1f}" cy="{TOP - 26}" r="5" fill="{colour}"/>')
            picture.text(at + 16, TOP - 22, label, "start")
            at += 36 + LETTER * len(label)
    title = html.escape(f"{profile.model}: its layers under the roofs of {profile.roofline.cpu}")
    head = f'<svg class="roofline" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
    return "".join([head, f"<title>{title}</title>", *picture.parts, "</svg>"])


def _draw_grid(picture: _Picture, units: str) -> None:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for power in range(int(math.log2(LEAST)), int(math.log2(MOST)) + 1, 2):
        x = picture.x(2.0**power)
        picture.line(x, TOP, x, bottom, "grid")
        picture.text(x, bottom + 18, f"{2.0**power:g}" if power >= 0 else f"1/{2**-power}")
    for power in range(round(math.log10(picture.floor)), int(math.log10(picture.highest)) + 1):
        y = picture.y(10.0**power)
        picture.line(LEFT, y, right, y, "grid")
        picture.text(LEFT - 8, y + 4, f"{10.0**power:g}", "end")
    picture.text((LEFT + right) / 2, HEIGHT - 8, "arithmetic intensity, FLOP/byte")
    picture.text(18, (TOP + bottom) / 2, units, turned=-90)


def _draw_roofs(picture: _Picture, levels: list[Line], peaks: list[Line]) -> None:
    """Draw the lines, each with its words at it."""
    octave, top = picture.x(2) - picture.x(1), peaks[0].rate
    for i, line in enumerate(levels):
        start, ridge = max(LEAST, picture.floor / line.rate), top / line.rate
        (x1, y1), (x2, y2) = ((picture.x(at), picture.y(line.rate * at)) for at in (start, ridge))
        picture.line(x1, y1, x2, y2, "roof", line.colour)
        angle = math.atan2(y1 - y2, x2 - x1)
        at = along(i, start * 2**0.4, ridge, (LETTER * len(line.label) + 30) * math.cos(angle) / octave)
        x, y = picture.x(at) - 5 * math.sin(angle), picture.y(line.rate * at) - 5 * math.cos(angle)
        picture.text(x, y, line.label, "start", -math.degrees(angle))
    heights = apart([picture.y(peak.rate) - 6 for peak in peaks], ROW, TOP, HEIGHT)
    for peak, height in zip(peaks, heights, strict=True):
        y = picture.y(peak.rate)
        picture.line(picture.x(peak.rate / levels[0].rate), y, WIDTH - RIGHT, y, "roof", peak.colour)
        picture.text(WIDTH - RIGHT - 6, height, peak.label, "end")


def _draw_layers(picture: _Picture, profile: Profile) -> None:
    total = sum(layer.ms for layer in profile.layers)
    for layer in profile.layers:
        colour = next(c for label, c, _ in FAMILIES if label == family_of(layer))
        x, y = picture.point(layer)
        radius = max(3.0, 60 * math.sqrt(layer.ms / total / math.pi))
        picture.parts.append(
            f'<circle class="layer" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{colour}">'
            f"<title>{html.escape(_told(layer))}</title></circle>"
        )


def _told(layer: LayerProfile) -> str:
    """Return what the pointer is told of a layer."""
    unit = "GFLOP/s" if layer.arithmetic == "f32" else "GOP/s"
    told = (
        f"{layer.name}\n{layer.op} {layer.algorithm} {layer.tile}, {layer.elements}\n"
        f"{layer.ms:.3f} ms, {layer.gbs:.1f} GB/s,"
        f" {layer.executed_gflops:.1f} {unit} executed, {layer.gflops:.1f} useful\n"
        f"{layer.share:.0%} of {layer.roof}, {layer.lost_ms:.3f} ms lost"
    )
    if layer.pairs:
        told += f"\n{layer.saturating_pairs} of {layer.pairs} pairs of weights would saturate"
    return told


def _draw_names(picture: _Picture, profile: Profile) -> None:
    """Name the layers that lose most in the corner that is empty, each with a line to its point."""
    named = sorted(worst(profile), key=lambda item: -item[0].executed_gflops)
    for i, (layer, text) in enumerate(named):
        y = HEIGHT - BOTTOM - 10 - ROW * (len(named) - 1 - i)
        left = WIDTH - RIGHT - 6 - LETTER * len(text)
        picture.line(*picture.point(layer), left - 6, y - 4, "leader")
        picture.text(WIDTH - RIGHT - 6, y, text, "end")
