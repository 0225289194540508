"""What all pictures share: colours, figures that no window manager knows of, files with the same bytes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from fastconv.errors import ArgumentError

# Okabe and Ito's palette, which the colour-blind tell apart.
BLUE, ORANGE, GREEN, RED, SKY, PURPLE, YELLOW, GREY = (
    *("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#999999"),
)


def axes(ax: Any, width: float, height: float) -> tuple[Any, Any]:
    """Return the figure and axes to draw in: those of the caller, or new ones of a size in inches."""
    if ax is not None:
        return ax.figure, ax
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def svg(figure: Any) -> str:
    """Return a figure as an SVG document, the same every time."""
    import matplotlib as mpl

    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "fastconv"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def save(figure: Any, path: str | Path, argument: str = "path") -> None:
    """Write a figure, the same bytes every time; the suffix is the format, or an ArgumentError."""
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "fastconv"}):
        try:
            figure.savefig(path, metadata={"Date": None} if Path(path).suffix == ".svg" else None, dpi=150)
        except ValueError as error:
            raise ArgumentError(f"{argument}: {error}") from error
