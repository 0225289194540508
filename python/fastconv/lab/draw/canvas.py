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


# On a dark page: what matplotlib draws in black and white, but for words on cells, which are in INK.
_DARK = """<style>@media (prefers-color-scheme: dark) {
.fastconv path[style^="fill: #ffffff"] { fill: #1b1b1d !important }
.fastconv [style*="stroke: #000000"] { stroke: #dddddd !important }
.fastconv [style*="stroke: #e6e6e6"], .fastconv [style*="stroke: #cccccc"] { stroke: #444444 !important }
.fastconv text, .fastconv text[style*="fill: #000000"] { fill: #dddddd }
}</style>"""
INK = "#111111"


def svg(figure: Any) -> str:
    """Return a figure as an SVG document, the same every time: with a title, its words as text."""
    import matplotlib as mpl

    text = io.StringIO()
    titles = [figure.get_suptitle(), *(axis.get_title() for axis in figure.axes)]
    title = next((" ".join(t.split()) for t in titles if t), "fastconv")
    with mpl.rc_context({"svg.hashsalt": "fastconv", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Title": title})
    return (
        text.getvalue()
        .replace("<svg ", '<svg class="fastconv" role="img" ', 1)
        .replace("<defs>", f"{_DARK}\n <defs>", 1)
    )


def save(figure: Any, path: str | Path, argument: str = "path") -> None:
    """Write a figure, the same bytes every time; the suffix is the format, or an ArgumentError."""
    if Path(path).suffix == ".svg":
        Path(path).write_text(svg(figure), "utf-8")
        return
    try:
        figure.savefig(path, dpi=150)
    except ValueError as error:
        raise ArgumentError(f"{argument}: {error}") from error
