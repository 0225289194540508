"""The roofline as a picture: rate against arithmetic intensity, both logarithmic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastconv._text import counted
from fastconv.errors import ArgumentError
from fastconv.lab.draw.canvas import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY, axes

if TYPE_CHECKING:
    from fastconv.lab.machine.roofline import Roofline

LEVEL_COLOURS = {"L1": GREEN, "L2": BLUE, "L3": ORANGE, "DRAM": RED}
DTYPE_COLOURS = {"f32": "black", "bf16": PURPLE, "int8": GREY, "int16": SKY}
STYLES = ("-", "--", "-.", ":")


def plot_rooflines(
    rooflines: Sequence[Roofline],
    ax: Any = None,
    *,
    intensities: tuple[float, float] = (1 / 16, 256),
    narrow: bool = True,
) -> Any:
    """Draw rooflines, a roof for each level and the peaks of each, with their ridge points.

    Parameters
    ----------
    rooflines : sequence of Roofline
        Of one or several tiers and numbers of threads; each has a line style of its own.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure when omitted.
    intensities : tuple of float
        The range of the horizontal axis, in FLOP/byte.
    narrow : bool, default True
        Whether to draw the peaks of bf16 and int8 too.

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
    figure, ax = axes(ax, 7.5, 5)
    low, high = intensities
    for style, roof in zip(STYLES * len(rooflines), rooflines, strict=False):
        several = f"{roof.peak.tier}, {counted(roof.peak.threads, 'thread')}: " if len(rooflines) > 1 else ""
        peaks = roof.peaks if narrow else (roof.peak,)
        for level in roof.levels:
            gbs, colour = roof.gbs(level), LEVEL_COLOURS[level]
            ridges = [min(max(peak.gflops / gbs, low), high) for peak in peaks]
            label = f"{several}{level} {gbs:.0f} GB/s"
            ax.plot(
                [low, max(ridges)], [gbs * low, gbs * max(ridges)], style, color=colour, lw=1.5, label=label
            )
            ax.plot(ridges, [gbs * ridge for ridge in ridges], "o", color=colour, ms=4)
        fastest = max(roof.gbs(level) for level in roof.levels)
        for peak in sorted(peaks, key=lambda p: p.gflops):
            ax.plot(
                [max(peak.gflops / fastest, low), high], [peak.gflops] * 2, style,
                color=DTYPE_COLOURS[peak.dtype], lw=1.5,
                label=f"{several}{peak.name} {peak.gflops:.0f} {peak.unit}",
            )  # fmt: skip
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xlim(low, high)
    ax.set_xlabel("arithmetic intensity, FLOP/byte")
    ax.set_ylabel("GFLOP/s, of integers GOP/s" if narrow and any(r.narrow for r in rooflines) else "GFLOP/s")
    ax.grid(True, which="major", color="0.9")
    ax.set_axisbelow(True)
    title = rooflines[0].cpu if len(rooflines) > 1 else _title(rooflines[0])
    ax.set_title(title, fontsize=10)
    ax.legend(fontsize=8, loc="lower right")
    return figure


def _title(roof: Roofline) -> str:
    return f"{roof.cpu}, {roof.peak.tier}, {counted(roof.peak.threads, 'thread')}"
