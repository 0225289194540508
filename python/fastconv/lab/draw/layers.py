"""Layers on the roofline: where each lies under the roofs, and what takes the time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastconv.lab.draw.canvas import BLUE, GREY, ORANGE, PURPLE, SKY, axes
from fastconv.lab.draw.roofline import plot_rooflines
from fastconv.lab.profile.layers import LayerProfile, Profile

FAMILIES = (
    ("Winograd", PURPLE, lambda layer: layer.algorithm.startswith("winograd")),
    ("depthwise, grouped", SKY, lambda layer: layer.algorithm in ("depthwise", "grouped")),
    ("other convolutions and products", BLUE, lambda layer: layer.macs > 0),
    ("other layers", GREY, lambda _: True),
)
LEAST = 1 / 64  # FLOP/byte: layers that do no work stand at the edge
SMALLEST, LARGEST = 12, 300  # points^2


def plot_profile(profile: Profile, ax: Any = None) -> Any:
    """Draw every layer of a profile under the machine's roofs.

    A filled point is the executed work, its area the layer's share of the time. Where the useful work is
    another, as Winograd's is, a ring marks it, joined by a line: it may lie above the roof. The peaks of
    integers are drawn where layers are held against them.

    Parameters
    ----------
    profile : Profile
        From :func:`fastconv.profile`.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure when omitted.

    Returns
    -------
    matplotlib.figure.Figure
        The figure, for ``savefig`` or a notebook.

    Examples
    --------
    >>> from fastconv.models import resnet18
    >>> from fastconv.profiler import profile
    >>> model = resnet18(resnet18.random_weights())
    >>> figure = plot_profile(profile(model, (1, 3, 64, 64), seconds=0.1))
    >>> figure.axes[0].get_xlabel()
    'arithmetic intensity, FLOP/byte'
    """
    figure, ax = axes(ax, 9, 5.5)
    roofline = replace(profile.roofline, narrow=profile.peaks[1:])
    plot_rooflines([roofline], ax, intensities=(LEAST, 512))
    total = sum(layer.ms for layer in profile.layers)
    for label, colour, _ in FAMILIES:
        layers = [layer for layer in profile.layers if family_of(layer) == label]
        if not layers:
            continue
        x = [max(LEAST, layer.executed_flops / layer.bytes) for layer in layers]
        y = [max(layer.executed_gflops, 0.1) for layer in layers]
        areas = [max(SMALLEST, 4 * LARGEST * layer.ms / total) for layer in layers]
        ax.scatter(x, y, s=areas, color=colour, alpha=0.7, lw=0.5, edgecolors="white", label=label, zorder=3)
        for layer, at, rate in zip(layers, x, y, strict=True):
            if layer.macs and abs(layer.flops / layer.executed_flops - 1) > 0.2:
                useful = max(LEAST, layer.intensity), layer.gflops
                ax.plot([at, useful[0]], [rate, useful[1]], color=colour, lw=0.6, alpha=0.6)
                ax.plot(*useful, "o", mfc="none", mec=colour, ms=5)
    ax.set_ylim(0.1, 4 * max(peak.gflops for peak in profile.peaks))
    share = profile.totals["share"]
    ax.set_title(f"{profile.model}: {total:.1f} ms, {share:.0%} of the roof ({ax.get_title()})", fontsize=10)
    ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def family_of(layer: LayerProfile) -> str:
    """Return which of the families a layer belongs to."""
    return next(label for label, _, belongs in FAMILIES if belongs(layer))


def plot_losses(profile: Profile, ax: Any = None, *, layers: int = 20) -> Any:
    """Draw the layers that lose most: the time at the roof, and what is lost beyond it.

    Parameters
    ----------
    profile : Profile
        From :func:`fastconv.profile`.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure when omitted.
    layers : int, default 20
        How many.

    Returns
    -------
    matplotlib.figure.Figure
        The figure, for ``savefig`` or a notebook.

    Examples
    --------
    >>> from fastconv.models import resnet18
    >>> from fastconv.profiler import profile
    >>> model = resnet18(resnet18.random_weights())
    >>> figure = plot_losses(profile(model, (1, 3, 64, 64), seconds=0.1), layers=3)
    >>> len(figure.axes[0].get_yticks())
    3
    """
    worst = profile.sorted_by("lost_ms")[:layers]
    figure, ax = axes(ax, 9, 1.2 + 0.28 * len(worst))
    ideal, lost = [layer.ideal_ms for layer in worst], [layer.lost_ms for layer in worst]
    at = range(len(worst))
    ax.barh(at, ideal, color=BLUE, label="at the roof")
    ax.barh(at, lost, left=ideal, color=ORANGE, label="lost")
    names = [f"{_short(layer.name)}  {layer.algorithm or layer.op}" for layer in worst]
    ax.set_yticks(list(at), names, fontsize=8)
    ax.invert_yaxis()
    for i, layer in enumerate(worst):
        ax.text(layer.ms, i, f" {layer.share:.0%} of {layer.roof}", va="center", fontsize=7)
    ax.margins(x=0.15)
    ax.set_xlabel("milliseconds")
    ax.set_title(f"{profile.model}: the {len(worst)} layers that lose most", fontsize=10)
    ax.legend(fontsize=8, loc="lower right")
    return figure


def _short(name: str, longest: int = 40) -> str:
    first = name.split()[0] if name else ""
    return first if len(first) <= longest else "..." + first[3 - longest :]
