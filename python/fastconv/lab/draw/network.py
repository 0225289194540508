"""A network's steps as a graph, each with its time: for Mermaid, or as a picture."""

from __future__ import annotations

import html
from collections.abc import Sequence

from fastconv.graph.compile import Stage
from fastconv.graph.context import Step
from fastconv.graph.program import Program
from fastconv.graph.table import described
from fastconv.graph.value import Tensor

WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 220, 52, 24, 28, 20  # of a step's box, between boxes, around all
PALE, DARK = (255, 255, 255), (230, 159, 0)  # of a step that takes no time, and of the slowest


def sources(program: Program) -> list[list[int]]:
    """Return, for each step, the steps whose results it reads, by their places in the program."""
    found: list[list[int]] = []
    for stage in program.stages:
        first = len(found)
        for i, step in enumerate(stage.steps):
            read = {first + j for t in step.inputs if t is not None for j in _writers(stage, t, i)}
            if not read and i == 0 and first:  # what passes between the parts of a program
                read = {first - 1}
            found.append(sorted(read))
    return found


def _writers(stage: Stage, tensor: Tensor, before: int) -> list[int]:
    """Return the steps of a stage that wrote a tensor: one, or those that each wrote a part of it."""
    parts: list[int] = []
    for j in reversed(range(before)):
        output = stage.steps[j].output
        if output.buffer == tensor.buffer:
            if (output.offset, output.size) == (tensor.offset, tensor.size):
                return parts or [j]
            parts.append(j)
    return parts


def mermaid(program: Program, seconds: Sequence[float]) -> str:
    """Return the graph in Mermaid's words, which GitHub and many editors draw.

    Parameters
    ----------
    program : Program
        Of :meth:`fastconv.Model.program`.
    seconds : sequence of float
        The time of each step.

    Returns
    -------
    str
        A ``flowchart``; to stand in Markdown it goes between lines of three backticks, the first with
        ``mermaid``.

    Examples
    --------
    >>> from fastconv.models import squeezenet1_1
    >>> model = squeezenet1_1(squeezenet1_1.random_weights())
    >>> program = model.program((1, 3, 64, 64))
    >>> mermaid(program, [0.001] * len(program.steps)).splitlines()[0]
    'flowchart TD'
    """
    lines = ["flowchart TD"]
    for i, texts in enumerate(_texts(program.steps, seconds)):
        label = "<br/>".join(html.escape(text).replace("&quot;", "#quot;") for text in texts)
        lines.append(f'  s{i}["{label}"]')
        lines.append(f"  style s{i} fill:{_colour(seconds[i], max(seconds))}")
    lines += [f"  s{j} --> s{i}" for i, read in enumerate(sources(program)) for j in read]
    return "\n".join(lines) + "\n"


def svg_network(program: Program, seconds: Sequence[float]) -> str:
    """Return the graph as an SVG document: a box for each step, the darker the longer it takes.

    A step lies below all that it reads, and steps that read the same things beside each other.

    Parameters
    ----------
    program, seconds
        As for :func:`mermaid`.
    """
    read = sources(program)
    rank: list[int] = []
    for parents in read:
        rank.append(1 + max((rank[j] for j in parents), default=-1))
    column = [rank[:i].count(rank[i]) for i in range(len(rank))]
    widest = max(column, default=0) + 1
    width = 2 * MARGIN + widest * (WIDTH + GAP_X) - GAP_X
    height = 2 * MARGIN + (max(rank, default=0) + 1) * (HEIGHT + GAP_Y) - GAP_Y
    at = [
        (MARGIN + c * (WIDTH + GAP_X), MARGIN + r * (HEIGHT + GAP_Y))
        for c, r in zip(column, rank, strict=True)
    ]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
        f' height="{height}" font-family="sans-serif" font-size="11">',
        "<title>The steps of a network and their times</title>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for i, parents in enumerate(read):
        for x, y in (at[j] for j in parents):
            x1, y1, x2, y2 = x + WIDTH / 2, y + HEIGHT, at[i][0] + WIDTH / 2, at[i][1]
            bend = (y1 + y2) / 2 if y2 - y1 <= GAP_Y else y1 + GAP_Y
            parts.append(
                f'<path d="M{x1} {y1}C{x1} {bend} {x2} {y2 - GAP_Y} {x2} {y2}" fill="none" stroke="#888"/>'
            )
    for (x, y), texts, taken in zip(at, _texts(program.steps, seconds), seconds, strict=True):
        fill = _colour(taken, max(seconds))
        parts.append(f"<g><title>{html.escape(' | '.join(texts))}</title>")
        parts.append(
            f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="4" fill="{fill}" stroke="#444"/>'
        )
        for row, text in enumerate(texts):
            shown = text if len(text) <= 36 else text[:35] + "\u2026"
            parts.append(f'<text x="{x + 8}" y="{y + 15 + 15 * row}">{html.escape(shown)}</text>')
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _texts(steps: Sequence[Step], seconds: Sequence[float]) -> list[tuple[str, str, str]]:
    """Return three lines for each step: what it does, of which nodes, its result's shape and its time."""
    return [
        (
            " ".join(filter(None, (described(step), step.algorithm))),
            " ".join((step.node.name, *step.node.absorbed)),
            f"{'x'.join(map(str, step.output.shape))}  {1e3 * taken:.3f} ms",
        )
        for step, taken in zip(steps, seconds, strict=True)
    ]


def _colour(seconds: float, slowest: float) -> str:
    share = seconds / slowest if slowest else 0.0
    mixed = (round(pale + share * (dark - pale)) for pale, dark in zip(PALE, DARK, strict=True))
    return "#" + "".join(f"{value:02x}" for value in mixed)
