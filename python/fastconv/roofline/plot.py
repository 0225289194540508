"""The roofline as a picture: rate against arithmetic intensity, both logarithmic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastconv._text import counted
from fastconv.errors import ArgumentError
from fastconv.pictures import BLUE, GREEN, ORANGE, RED, axes

if TYPE_CHECKING:
    from fastconv.roofline.machine import Roofline

LEVEL_COLOURS = {"L1": GREEN, "L2": BLUE, "L3": ORANGE, "DRAM": RED}  # black is for the FMA peak
STYLES = ("-", "--", "-.", ":")


def plot_rooflines(
    rooflines: Sequence[Roofline], ax: Any = None, *, intensities: tuple[float, float] = (1 / 16, 256)
) -> Any:
    """Draw rooflines, a roof for each level and an FMA peak each, with their ridge points.

    Parameters
    ----------
    rooflines : sequence of Roofline
        Of one or several tiers and numbers of threads; each has a line style of its own.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure when omitted.
    intensities : tuple of float
        The range of the horizontal axis, in FLOP/byte.

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
        peak = roof.peak.gflops
        for level in roof.levels:
            gbs = roof.gbs(level)
            ridge = min(max(roof.ridge(level), low), high)
            colour = LEVEL_COLOURS[level]
            label = f"{several}{level} {gbs:.0f} GB/s"
            ax.plot([low, ridge], [gbs * low, gbs * ridge], style, color=colour, lw=1.5, label=label)
            ax.plot([ridge], [gbs * ridge], "o", color=colour, ms=4)
        first = min(roof.ridge(level) for level in roof.levels)
        label = f"{several}FMA peak {peak:.0f} GFLOP/s"
        ax.plot([max(first, low), high], [peak, peak], style, color="black", lw=1.5, label=label)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xlim(low, high)
    ax.set_xlabel("arithmetic intensity, FLOP/byte")
    ax.set_ylabel("GFLOP/s")
    ax.grid(True, which="major", color="0.9")
    ax.set_axisbelow(True)
    title = rooflines[0].cpu if len(rooflines) > 1 else _title(rooflines[0])
    ax.set_title(title, fontsize=10)
    ax.legend(fontsize=8, loc="lower right")
    return figure


def _title(roof: Roofline) -> str:
    return f"{roof.cpu}, {roof.peak.tier}, {counted(roof.peak.threads, 'thread')}"
