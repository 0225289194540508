"""The picture of what zeros are worth: how many times as fast a layer is against the share of zeros."""

from __future__ import annotations

from typing import Any

from fastconv.lab.draw.canvas import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY, YELLOW, axes
from fastconv.lab.sweeps.sparse import ELSEN_GAINS, XNNPACK_FROM, SparseSweep

COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW)
STYLES = {"single": (":", "o"), "1x16": ("--", "s"), "1x32": ("-", "^")}


def plot_sparse(found: SparseSweep, ax: Any = None) -> Any:
    """Draw the gain over the dense layer against the share of zeros, a line for each layer and pattern."""
    figure, axis = axes(ax, 8.5, 5.2)
    names = list(dict.fromkeys(one.layer for one in found.layers))
    for one in found.layers:
        line, marker = STYLES[one.pattern]
        axis.plot(
            [100 * share for share in one.zeros], one.gains, label=f"{one.layer}, {one.pattern}",
            color=COLOURS[names.index(one.layer) % len(COLOURS)], linestyle=line, marker=marker, markersize=4,
        )  # fmt: skip
    axis.axhline(1, color="black", linewidth=1)
    axis.axhspan(*ELSEN_GAINS, color=GREY, alpha=0.2, label="Elsen et al.: whole networks, a telephone")
    axis.axvline(
        100 * XNNPACK_FROM, color=GREY, linestyle="-.", linewidth=1, label="XNNPACK goes sparse from here"
    )
    axis.set_xlabel("zeros, % of the weights")
    axis.set_ylabel("times as fast as the dense layer")
    setting = found.setting
    axis.set_title(f"{setting.tier}, {setting.cpu}", fontsize=10)
    axis.legend(fontsize=7)
    return figure
