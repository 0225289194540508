"""The roofline as a picture: rate against arithmetic intensity, both logarithmic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastconv._text import counted
from fastconv.errors import ArgumentError
from fastconv.lab.draw.canvas import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY, YELLOW, axes
from fastconv.lab.draw.labels import Line, apart, merged

if TYPE_CHECKING:
    from fastconv.lab.machine.roofline import Roofline

LEVEL_COLOURS = {"L1": GREEN, "L2": BLUE, "L3": ORANGE, "DRAM": RED}
DTYPE_COLOURS = {"f32": "black", "bf16": PURPLE, "int8": GREY, "int16": SKY, "bit": YELLOW}
STYLES = ("-", "--", "-.", ":")
COLUMNS = 3  # neighbouring lines have their words at different places along them
ROW = 0.04  # of the picture's height: between the words at two peaks
LETTER = 0.0075  # of the picture's width


def roofs_of(rooflines: Sequence[Roofline], *, narrow: bool = True) -> tuple[list[Line], list[Line]]:
    """Return the lines of bandwidths in GB/s and those of peaks, the highest first, with words at each."""
    levels, peaks = [], []
    tiers = {roof.peak.tier for roof in rooflines}
    counts = {roof.peak.threads for roof in rooflines}
    for style, roof in zip(STYLES * len(rooflines), rooflines, strict=False):
        which = [roof.peak.tier] * (len(tiers) > 1)
        which += [counted(roof.peak.threads, "thread")] * (len(counts) > 1)
        of = f", {', '.join(which)}" if which else ""
        for level in roof.levels:
            gbs = roof.gbs(level)
            levels.append(Line(gbs, f"{level} {gbs:.0f} GB/s{of}", LEVEL_COLOURS[level], style))
        for peak in roof.peaks if narrow else (roof.peak,):
            label = f"{peak.name} {peak.gflops:.0f} {peak.unit}{of}"
            peaks.append(Line(peak.gflops, label, DTYPE_COLOURS[peak.dtype], style))
    return merged(levels), merged(peaks)


def plot_rooflines(
    rooflines: Sequence[Roofline],
    ax: Any = None,
    *,
    intensities: tuple[float, float] = (1 / 16, 256),
    narrow: bool = True,
    floor: float | None = None,
) -> Any:
    """Draw rooflines, a roof for each level and the peaks of each, with what they are at the lines.

    Parameters
    ----------
    rooflines : sequence of Roofline
        Of one or several tiers and numbers of threads; each has a line style of its own. Lines that lie on
        each other are drawn once, with the words of all.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure when omitted.
    intensities : tuple of float
        The range of the horizontal axis, in FLOP/byte.
    narrow : bool, default True
        Whether to draw the peaks of bf16 and int8 too.
    floor : float, optional
        Where the vertical axis begins, in GFLOP/s; below all lines when omitted.

    Returns
    -------
    matplotlib.figure.Figure
        The figure, for ``savefig`` or a notebook.

    Examples
    --------
    >>> from fastconv.roofline import measure_roofline
    >>> figure = plot_rooflines([measure_roofline(threads=1, seconds=0.002)])
    >>> figure.axes[0].get_xscale()
    'log'
    """
    if not rooflines:
        raise ArgumentError("rooflines: expected at least one, got none")
    figure, ax = axes(ax, 8, 5.5)
    low, high = intensities
    levels, peaks = roofs_of(rooflines, narrow=narrow)
    floor = 0.7 * levels[-1].rate * low if floor is None else floor
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xlim(low, high)
    ax.set_ylim(floor, 3 * peaks[0].rate)
    draw_roofs(ax, levels, peaks)
    integers = narrow and any(roof.narrow for roof in rooflines)
    ax.set_xlabel("arithmetic intensity, FLOP/byte")
    ax.set_ylabel("GFLOP/s, of integers GOP/s" if integers else "GFLOP/s")
    ax.grid(True, which="major", color="0.9")
    ax.set_axisbelow(True)
    ax.set_title(rooflines[0].cpu if len(rooflines) > 1 else _title(rooflines[0]), fontsize=10)
    return figure


def draw_roofs(ax: Any, levels: Sequence[Line], peaks: Sequence[Line]) -> None:
    """Draw the lines of bandwidths up to the highest peak and those of peaks, each with its words at it."""
    (low, high), (floor, top) = ax.get_xlim(), ax.get_ylim()
    words = {"fontsize": 8, "rotation_mode": "anchor", "va": "bottom", "zorder": 4}
    words["bbox"] = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.3}
    for i, line in enumerate(levels):
        start, ridge = max(low, floor / line.rate), min(peaks[0].rate / line.rate, high)
        ends = [start, ridge]
        ax.plot(ends, [line.rate * x for x in ends], line.style, color=line.colour, lw=1.5)
        ax.plot([peak.rate / line.rate for peak in peaks], [peak.rate for peak in peaks], "o",
                color=line.colour, ms=3.5)  # fmt: skip
        at = along(i, start * 2**0.2, ridge, len(line.label) * LETTER * math.log2(high / low))
        slope = math.degrees(math.atan(line.rate))  # of the data; the picture's is made of it
        ax.text(at, 1.04 * line.rate * at, line.label, rotation=slope, transform_rotates_text=True, **words)
    decades = math.log10(top / floor)
    heights = apart([math.log10(1.03 * peak.rate) for peak in peaks], ROW * decades, -math.inf, math.inf)
    for peak, height in zip(peaks, heights, strict=True):
        ax.plot([peak.rate / levels[0].rate, high], [peak.rate] * 2, peak.style, color=peak.colour, lw=1.5)
        ax.text(0.92 * high, 10**height, peak.label, ha="right", **words)


def along(i: int, start: float, end: float, octaves: float) -> float:
    """Return where the words at the i-th of the parallel lines begin: neighbours' are not side by side.

    >>> [along(i, 1, 64, 4) for i in range(4)]
    [1.0, 2.0, 4.0, 1.0]
    """
    room = max(math.log2(end / start) - octaves, 0.0)
    return start * float(2 ** (room * (i % COLUMNS) / (COLUMNS - 1)))


def _title(roof: Roofline) -> str:
    return f"{roof.cpu}, {roof.peak.tier}, {counted(roof.peak.threads, 'thread')}"
