"""Layers on the roofline: where each lies under the roofs, and what takes the time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastconv.lab.draw.canvas import BLUE, GREY, ORANGE, PURPLE, SKY, axes
from fastconv.lab.draw.labels import floor_of, short, worst
from fastconv.lab.draw.roofline import plot_rooflines
from fastconv.lab.profile.layers import LayerProfile, Profile

FAMILIES = (
    ("Winograd", PURPLE, lambda layer: layer.algorithm.startswith("winograd")),
    ("depthwise, grouped", SKY, lambda layer: layer.algorithm in ("depthwise", "grouped")),
    ("other convolutions and products", BLUE, lambda layer: layer.macs > 0),
    ("other layers", GREY, lambda _: True),
)
LEAST, MOST = 1 / 64, 512  # FLOP/byte: layers that do no work stand at the edge
SMALLEST, LARGEST = 12, 300  # points^2


def plot_profile(profile: Profile, ax: Any = None) -> Any:
    """Draw every layer of a profile under the machine's roofs.

    A filled point is the executed work, its area the layer's share of the time. Where the useful work is
    another, as Winograd's is, a ring marks it, joined by a line: it may lie above the roof. The peaks of
    integers are drawn where layers are held against them. The five layers that lose most have their names.

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
    figure, ax = axes(ax, 9, 6)
    roofline = replace(profile.roofline, narrow=profile.peaks[1:])
    floor, total = floor_of(profile), sum(layer.ms for layer in profile.layers)
    plot_rooflines([roofline], ax, intensities=(LEAST, MOST), floor=floor)

    def place(layer: LayerProfile) -> tuple[float, float]:
        return max(LEAST, layer.executed_flops / layer.bytes), max(layer.executed_gflops, floor)

    for label, colour, _ in FAMILIES:
        layers = [layer for layer in profile.layers if family_of(layer) == label]
        if not layers:
            continue
        x, y = zip(*map(place, layers), strict=True)
        areas = [max(SMALLEST, 4 * LARGEST * layer.ms / total) for layer in layers]
        ax.scatter(x, y, s=areas, color=colour, alpha=0.7, lw=0.5, edgecolors="white", label=label, zorder=3)
        for layer in layers:
            if layer.macs and abs(layer.flops / layer.executed_flops - 1) > 0.2:
                executed, useful = place(layer), (max(LEAST, layer.intensity), layer.gflops)
                ax.plot(*zip(executed, useful, strict=True), color="0.5", lw=0.5, alpha=0.6)
                ax.plot(*useful, "o", mfc="none", mec="0.5", ms=3.5, mew=0.7)
    named = sorted(worst(profile), key=lambda item: item[0].executed_gflops)
    for i, (layer, text) in enumerate(named):
        ax.annotate(
            text, place(layer), (0.985, 0.03 + 0.045 * i), textcoords="axes fraction", fontsize=8,
            ha="right", va="bottom", zorder=5,
            arrowprops={"arrowstyle": "-", "color": "0.5", "lw": 0.7, "relpos": (0, 0.5)},
        )  # fmt: skip
    share = profile.totals["share"]
    ax.set_title(f"{profile.model}: {total:.1f} ms, {share:.0%} of the roof ({ax.get_title()})", fontsize=10)
    ax.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.11), ncols=4, frameon=False)
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
    figure, ax = axes(ax, 9, 1.5 + 0.28 * len(worst))
    ideal, lost = [layer.ideal_ms for layer in worst], [layer.lost_ms for layer in worst]
    at = range(len(worst))
    ax.barh(at, ideal, color=BLUE, label="at the roof")
    ax.barh(at, lost, left=ideal, color=ORANGE, label="lost")
    names = [f"{short(layer.first_node)}  {layer.algorithm or layer.op}" for layer in worst]
    ax.set_yticks(list(at), names, fontsize=8)
    ax.invert_yaxis()
    for i, layer in enumerate(worst):
        ax.text(layer.ms, i, f" {layer.share:.0%} of {layer.roof}", va="center", fontsize=7)
    ax.margins(x=0.15)
    ax.set_xlabel("milliseconds")
    ax.set_title(f"{profile.model}: the {len(worst)} layers that lose most", fontsize=10)
    ax.legend(fontsize=8, loc="upper right", bbox_to_anchor=(1, -0.6 / figure.get_figheight()), frameon=False)
    return figure
