"""Layers on the roofline without matplotlib: an SVG whose points tell their layer to the pointer."""

from __future__ import annotations

import math
from dataclasses import replace

from fastconv.lab.draw.labels import Line, apart, floor_of, worst
from fastconv.lab.draw.layers import FAMILIES, LEAST, MOST, family_of
from fastconv.lab.draw.roofline import along, roofs_of
from fastconv.lab.draw.svg_chart import SOFT, STRONG, Chart
from fastconv.lab.profile.layers import LayerProfile, Profile

ROW = 17  # between two lines of words
LETTER = 6.8  # width of one


class _Roofline(Chart):
    """A chart of rates against intensities, both logarithmic."""

    def __init__(self, profile: Profile, highest: float) -> None:
        super().__init__(f"{profile.model}: its layers under the roofs of {profile.roofline.cpu}")
        self.floor, self.highest = floor_of(profile), highest
        octaves = range(int(math.log2(LEAST)), int(math.log2(MOST)) + 1, 2)
        decades = range(round(math.log10(self.floor)), int(math.log10(highest)) + 1)
        self.grid(
            [(_share(2.0**n, LEAST, MOST), f"{2.0**n:g}" if n >= 0 else f"1/{2**-n}") for n in octaves],
            [(_share(10.0**n, self.floor, highest), f"{10.0**n:g}") for n in decades],
            "arithmetic intensity, FLOP/byte",
            "GFLOP/s, of integers GOP/s" if profile.peaks[1:] else "GFLOP/s",
        )

    def at(self, intensity: float, rate: float) -> tuple[float, float]:
        """Return the place of an intensity and a rate, those beyond an end at it."""
        return self.x(_share(intensity, LEAST, MOST)), self.y(_share(rate, self.floor, self.highest))

    def place(self, layer: LayerProfile) -> tuple[float, float]:
        """Return the place of a layer."""
        return self.at(layer.executed_flops / layer.bytes, layer.executed_gflops)


def _share(value: float, low: float, high: float) -> float:
    return math.log(min(max(value, low), high) / low) / math.log(high / low)


def svg_roofline(profile: Profile) -> str:
    """Return the picture as an element of a page."""
    levels, peaks = roofs_of([replace(profile.roofline, narrow=profile.peaks[1:])])
    chart = _Roofline(profile, 4 * peaks[0].rate)
    _draw_roofs(chart, levels, peaks)
    total = sum(layer.ms for layer in profile.layers)
    for layer in profile.layers:
        colour = next(c for label, c, _ in FAMILIES if label == family_of(layer))
        chart.point(
            *chart.place(layer), max(3.0, 60 * math.sqrt(layer.ms / total / math.pi)), colour, _told(layer)
        )
    _draw_names(chart, profile)
    families = {family_of(layer) for layer in profile.layers}
    for i, (label, colour) in enumerate((label, c) for label, c, _ in FAMILIES if label in families):
        chart.key(i, label, colour)
    return chart.svg()


def _draw_roofs(chart: _Roofline, levels: list[Line], peaks: list[Line]) -> None:
    """Draw the lines, each with its words at it."""
    octave, top, right = chart.at(2, 1)[0] - chart.at(1, 1)[0], peaks[0].rate, chart.x(1)
    for i, line in enumerate(levels):
        start, ridge = max(LEAST, chart.floor / line.rate), top / line.rate
        (x1, y1), (x2, y2) = chart.at(start, line.rate * start), chart.at(ridge, top)
        chart.line(x1, y1, x2, y2, line.colour, 2)
        angle = math.atan2(y1 - y2, x2 - x1)
        begin = along(i, start * 2**0.4, ridge, (LETTER * len(line.label) + 30) * math.cos(angle) / octave)
        x, y = chart.at(begin, line.rate * begin)
        x, y = x - 5 * math.sin(angle), y - 5 * math.cos(angle)
        chart.text(x, y, line.label, "start", STRONG, turned=-math.degrees(angle))
    heights = apart([chart.at(1, peak.rate)[1] - 6 for peak in peaks], ROW, 0, chart.height)
    for peak, height in zip(peaks, heights, strict=True):
        x, y = chart.at(peak.rate / levels[0].rate, peak.rate)
        chart.line(x, y, right, y, STRONG if peak.colour == "black" else peak.colour, 2)
        chart.text(right - 6, height, peak.label, "end", STRONG)


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


def _draw_names(chart: _Roofline, profile: Profile) -> None:
    """Name the layers that lose most in the corner that is empty, each with a line to its point."""
    named = sorted(worst(profile), key=lambda item: -item[0].executed_gflops)
    right = chart.x(1) - 6
    for i, (layer, text) in enumerate(named):
        y = chart.y(0) - 10 - ROW * (len(named) - 1 - i)
        chart.line(*chart.place(layer), right - LETTER * len(text) - 6, y - 4, SOFT, 0.7)
        chart.text(right, y, text, "end", STRONG)
