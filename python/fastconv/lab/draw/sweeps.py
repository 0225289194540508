"""Pictures of the sweeps. Each function returns the figure; with ``ax`` it draws into one of the caller's.

Maps are in cividis, which the colour-blind read too, as they do the palette of canvas.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fastconv._text import counted
from fastconv.errors import ArgumentError
from fastconv.lab.draw.canvas import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, RED, SKY, YELLOW, axes, save
from fastconv.lab.draw.sparse import plot_sparse
from fastconv.lab.sweeps.algorithms import AlgorithmMap, LayerTimes
from fastconv.lab.sweeps.blocking import BlockingSweep
from fastconv.lab.sweeps.conv_blocking import ConvBlocking, LayerBlocks
from fastconv.lab.sweeps.scaling import SizeSweep, ThreadSweep
from fastconv.lab.sweeps.stairs import NUMPY, Staircase
from fastconv.lab.sweeps.tiles import TileSweep

ALGORITHM_COLOURS = {
    "winograd_f4": BLUE,
    "winograd_f2": SKY,
    "implicit": ORANGE,
    "im2col": RED,
    "direct": GREEN,
    "depthwise": PURPLE,
    "planar": YELLOW,
    "reference": GREY,
}
COLOURS = (BLUE, ORANGE, GREEN, RED, SKY, PURPLE, GREY)  # of lines and points
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
RATIOS = (1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100)  # ticks
PANELS = 12  # of one picture
LAYOUTS = {"NHWC": "NHWC: in a network", "NCHW": "NCHW: of arrays alone"}  # who uses each
PALE = 0.55  # of a map's range: above it, text is dark


def plot_staircase(found: Staircase, ax: Any = None) -> Any:
    """Draw a point for each step on a logarithmic axis, with its rate and its gain over the step before."""
    figure, axis = axes(ax, 8.5, 1.1 + 0.42 * len(found.steps))
    rates = [step.gflops for step in found.steps]
    ours = [i for i, step in enumerate(found.steps) if step.name != NUMPY]
    axis.plot([rates[i] for i in ours], ours, "o-", color=BLUE, markersize=9, linewidth=1, label="steps")
    for i, step in enumerate(found.steps):
        text = f"{step.gflops:.3g}"
        if i > 0 and step.name != NUMPY:
            text += f" (x{step.gflops / rates[i - 1]:.2f})"
        elif step.name == NUMPY:
            axis.plot(step.gflops, i, "D", color=GREY, markersize=9)
        left = step.gflops > max(rates) / 20  # else its words would leave the picture
        axis.annotate(
            text, (step.gflops, i), (-9 if left else 9, 0), textcoords="offset points", fontsize=8,
            va="center", ha="right" if left else "left", bbox=_PLATE,
        )  # fmt: skip
    peak = found.setting.peak_gflops
    axis.axvline(peak, color="black", linestyle="--", linewidth=1)
    axis.text(peak, -0.75, f"FMA peak {peak:.0f}", ha="right", va="center", fontsize=8)
    axis.set_xscale("log")
    axis.set_xlim(min(rates) / 2, max(peak, *rates) * 1.3)
    axis.set_ylim(len(found.steps) - 0.4, -1.1)
    axis.set_yticks(range(len(found.steps)), [step.name for step in found.steps], fontsize=9)
    axis.grid(True, axis="x", color="0.9")
    axis.set_axisbelow(True)
    axis.set_xlabel("GFLOP/s, logarithmic; in brackets: times the step above", fontsize=9)
    axis.set_title(f"{found.m} x {found.n} x {found.k}: {_where(found.setting)}", fontsize=10)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    return figure


_PLATE = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5}  # behind words on lines


def _where(setting: Any) -> str:
    return f"{counted(setting.threads, 'thread')}, {setting.tier}, {setting.cpu}"


def plot_blocking(found: BlockingSweep, ax: Any = None) -> Any:
    """Draw the loss of each MC x KC against the best, a map for each NC; with ``ax`` the shipped NC."""
    from matplotlib.figure import Figure

    widths = sorted({c.nc for c in found.candidates})
    heights, depths = (sorted({getattr(c, name) for c in found.candidates}) for name in ("mc", "kc"))
    if ax is not None:
        figure, panels = ax.figure, {found.shipped[2]: ax}
    else:
        columns = min(2, len(widths))
        rows = math.ceil(len(widths) / columns)
        size = (columns * (1.4 + 0.62 * len(depths)), rows * (1.0 + 0.36 * len(heights)) + 1.0)
        figure = Figure(figsize=(max(6.5, size[0]), size[1]), layout="constrained")
        grid = list(figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
        panels = dict(zip(widths, grid, strict=False))
        for left_over in grid[len(widths) :]:
            left_over.set_visible(False)
    most = max(5.0, *(100 * c.loss for c in found.candidates))
    image = None
    for nc, axis in panels.items():
        losses = [[100 * found.at((mc, kc, nc)).loss for kc in depths] for mc in heights]
        image = axis.imshow(losses, cmap="cividis_r", vmin=0, vmax=most, aspect="auto", origin="lower")
        for i, row in enumerate(losses):
            for j, loss in enumerate(row):
                colour = INK if loss < PALE * most else "white"
                axis.text(j, i, f"{loss:.0f}", ha="center", va="center", fontsize=8, color=colour)
        _mark(axis, found, nc, heights, depths)
        axis.set_xticks(range(len(depths)), depths, fontsize=8)
        axis.set_yticks(range(len(heights)), heights, fontsize=8)
        axis.set_title(f"NC = {nc}", fontsize=9)
        axis.set_xlabel("KC", fontsize=8)
        axis.set_ylabel("MC", fontsize=8)
    if ax is None:
        figure.colorbar(image, ax=list(panels.values()), label="% slower than the best")
        figure.legend(handles=_marks(), loc="outside lower center", ncols=3, fontsize=8, frameon=False)
        title = f"{found.m} x {found.n} x {found.k}: {_where(found.setting)}"
        figure.suptitle(title, fontsize=10)
    return figure


_MARKS = (("shipped", "black", 0.47), ("textbook", RED, 0.41), ("best", BLUE, 0.35))  # frames in each other


def _mark(axis: Any, found: BlockingSweep, nc: int, heights: list[int], depths: list[int]) -> None:
    """Frame the cells of the shipped sizes, the textbook's and the best."""
    sizes = {"shipped": found.shipped, "textbook": found.textbook, "best": found.best.sizes}
    for name, (mc, kc, width) in sizes.items():
        if width == nc:
            _frame(axis, name, depths.index(kc), heights.index(mc))


def _frame(axis: Any, name: str, x: int, y: int) -> None:
    """Frame a cell of a map."""
    from matplotlib.patches import Rectangle

    colour, half = next((colour, half) for mark, colour, half in _MARKS if mark == name)
    corner = (x - half, y - half)
    axis.add_patch(Rectangle(corner, 2 * half, 2 * half, fill=False, edgecolor=colour, linewidth=2.2))


def _marks(names: Sequence[str] = ("shipped", "textbook", "best")) -> list[Any]:
    from matplotlib.patches import Patch

    return [
        Patch(fill=False, edgecolor=colour, linewidth=2.2, label=name)
        for name, colour, _ in _MARKS
        if name in names
    ]


def plot_tiles(found: TileSweep, ax: Any = None) -> Any:
    """Draw the rate of each register tile against its rows, a line for each width."""
    figure, axis = axes(ax, 7, 4)
    widths = list(dict.fromkeys(tile.width for tile in found.tiles))
    for width, colour, marker in zip(widths, (SKY, BLUE, ORANGE), MARKERS, strict=False):
        line = [tile for tile in found.tiles if tile.width == width]
        axis.plot(
            [t.rows for t in line], [t.gflops for t in line],
            color=colour, marker=marker, label=f"{width} wide",
        )  # fmt: skip
    main = found.at(*found.main)
    axis.plot(
        main.rows, main.gflops, "o", markersize=14, fillstyle="none", color=RED,
        label=f"{main.rows} x {main.width}: most of the work",
    )  # fmt: skip
    axis.axhline(found.setting.peak_gflops, color="black", linestyle="--", linewidth=1, label="FMA peak")
    axis.set_ylim(0, 1.12 * found.setting.peak_gflops)
    axis.set_xticks(range(1, max(t.rows for t in found.tiles) + 1))
    axis.set_xlabel("rows of the tile")
    axis.set_ylabel("GFLOP/s")
    axis.set_title(f"Register tiles, operands in L1, K = {found.k}: {_where(found.setting)}", fontsize=10)
    axis.legend(fontsize=8, loc="lower right")
    return figure


def plot_algorithms(found: AlgorithmMap, ax: Any = None) -> Any:
    """Draw which algorithm wins where, and what the planner's pick loses; layers of a table as a list."""
    if not found.is_grid:
        return _plot_layers(found, ax)
    sizes = sorted({layer.size for layer in found.layers})
    channels = sorted({layer.channels for layer in found.layers})
    figure, axis = axes(ax, max(6.5, 1.6 + 0.95 * len(channels)), 2.2 + 0.62 * len(sizes))
    winners = [name for name in ALGORITHM_COLOURS if name in found.wins()]
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Patch, Rectangle

    by_place = {(layer.size, layer.channels): layer for layer in found.layers}
    axis.imshow(
        [[to_rgb(ALGORITHM_COLOURS[by_place[s, c].best]) for c in channels] for s in sizes], aspect="auto"
    )
    for i, size in enumerate(sizes):
        for j, count in enumerate(channels):
            layer = by_place[size, count]
            ink = "white" if layer.best in ("winograd_f4", "im2col") else INK
            axis.text(
                j, i, _cell(layer), ha="center", va="center", fontsize=7.5,
                color=ink,
            )  # fmt: skip
            if layer.pick != layer.best:
                axis.add_patch(
                    Rectangle((j - 0.46, i - 0.44), 0.92, 0.88, fill=False, linewidth=2, edgecolor=ink)
                )
    handles = [Patch(color=ALGORITHM_COLOURS[name], label=name) for name in winners]
    handles.append(Patch(fill=False, edgecolor="black", linewidth=2, label="framed: another is picked"))
    axis.set_xticks(range(len(channels)), channels)
    axis.set_yticks(range(len(sizes)), sizes)
    axis.set_xticks([j + 0.5 for j in range(len(channels) - 1)], minor=True)
    axis.set_yticks([i + 0.5 for i in range(len(sizes) - 1)], minor=True)
    axis.grid(which="minor", color="white", linewidth=1.5)
    axis.tick_params(which="minor", length=0)
    axis.set_xlabel("channels, in and out")
    axis.set_ylabel("side of the image in pixels")
    axis.set_title(
        f"{found.title}: the fastest algorithm,\nand how much faster than the next\n{_where(found.setting)}",
        fontsize=10,
    )
    legend = {"handles": handles, "fontsize": 8, "ncols": 4, "frameon": False}
    if ax is None:
        figure.legend(**legend, loc="outside lower center")
    else:
        axis.legend(**legend, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    return figure


def _cell(layer: LayerTimes) -> str:
    """Say how much faster the best is than the next, or by how much a pick that is not the best loses."""
    others = [ms for name, ms in layer.milliseconds.items() if name != layer.best]
    text = f"x{min(others) / layer.milliseconds[layer.best]:.2f}" if others else ""
    return text if layer.pick == layer.best else f"{text}\npick +{100 * layer.lag:.0f} %"


def _plot_layers(found: AlgorithmMap, ax: Any) -> Any:
    """Draw each algorithm's time over the best one's, a row for each layer, the pick ringed."""
    figure, axis = axes(ax, 8, 1.6 + 0.28 * len(found.layers))
    names = [n for n in ALGORITHM_COLOURS if any(n in layer.milliseconds for layer in found.layers)]
    for name, marker in zip(names, MARKERS, strict=False):
        points = [
            (layer.milliseconds[name] / layer.milliseconds[layer.best], i)
            for i, layer in enumerate(found.layers)
            if name in layer.milliseconds
        ]
        axis.plot(
            [x for x, _ in points], [y for _, y in points], marker, color=ALGORITHM_COLOURS[name], label=name
        )
    picked = [layer.milliseconds[layer.pick] / layer.milliseconds[layer.best] for layer in found.layers]
    axis.plot(picked, range(len(picked)), "o", markersize=11, fillstyle="none", color="black", label="picked")
    axis.set_xscale("log")
    most = max(max(layer.milliseconds.values()) / layer.milliseconds[layer.best] for layer in found.layers)
    axis.set_xticks(ticks := [t for t in RATIOS if t <= 1.2 * most], ticks)
    axis.minorticks_off()
    axis.set_yticks(range(len(found.layers)), [layer.name for layer in found.layers], fontsize=8)
    axis.invert_yaxis()
    axis.grid(axis="x", alpha=0.3)
    axis.set_xlabel("time over that of the fastest")
    axis.set_title(f"{found.title}: {_where(found.setting)}", fontsize=10)
    axis.legend(fontsize=8)
    return figure


def plot_conv_blocking(found: ConvBlocking, ax: Any = None) -> Any:
    """Draw the loss of each choice of block sizes, a panel a layer, the shipped ones marked.

    The layers whose shipped sizes lose most, twelve at most; with ``ax`` the first of them alone.
    """
    from matplotlib.figure import Figure

    layers = sorted(found.layers, key=lambda layer: -layer.loss)[: PANELS if ax is None else 1]
    if not layers:
        raise ArgumentError("found: expected a layer that has sizes to choose, got none")
    if ax is not None:
        _plot_layer_blocks(layers[0], ax)
        return ax.figure
    columns = min(3, len(layers))
    rows = math.ceil(len(layers) / columns)
    figure = Figure(figsize=(max(6.5, 3.7 * columns), 2.6 * rows + 0.9), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for layer, axis in zip(layers, panels, strict=False):
        _plot_layer_blocks(layer, axis)
    for left_over in panels[len(layers) :]:
        left_over.set_visible(False)
    figure.suptitle(
        f"{found.title}: % slower than the best block sizes\n{_where(found.setting)}", fontsize=10
    )
    figure.legend(
        handles=_marks(("shipped", "best")), loc="outside lower center", ncols=2, fontsize=8, frameon=False
    )
    return figure


def _plot_layer_blocks(layer: LayerBlocks, axis: Any) -> None:
    """Draw one size as a line, two as a map."""
    axes_sizes = [sorted({c.sizes[i] for c in layer.choices}) for i in range(len(layer.names))]
    marked = {"shipped": layer.shipped, "best": layer.best.sizes}
    axis.set_title(f"{layer.name}\n{layer.algorithm}, {LAYOUTS[layer.layout]}", fontsize=8)
    if len(axes_sizes) == 1:
        sizes = axes_sizes[0]
        axis.plot(range(len(sizes)), [100 * layer.at((s,)).loss for s in sizes], "o-", color=GREY, ms=4)
        for name, colour, half in _MARKS:
            if name in marked:
                at = sizes.index(marked[name][0])
                axis.plot(
                    at, 100 * layer.at(marked[name]).loss, "s", fillstyle="none", color=colour,
                    ms=30 * half, mew=2,
                )  # fmt: skip
        axis.set_xticks(range(len(sizes)), sizes, fontsize=7, rotation=45)
        axis.set_ylim(bottom=-0.12 * axis.get_ylim()[1])
        axis.margins(0.12)
        axis.tick_params(axis="y", labelsize=7)
        axis.set_xlabel(layer.names[0], fontsize=8)
        return
    columns, rows = axes_sizes
    losses = [[100 * layer.at((c, r)).loss for c in columns] for r in rows]
    most = max(5.0, *(100 * c.loss for c in layer.choices))
    axis.imshow(losses, cmap="cividis_r", vmin=0, vmax=most, aspect="auto", origin="lower")
    for i, row in enumerate(losses):
        for j, loss in enumerate(row):
            colour = INK if loss < PALE * most else "white"
            axis.text(j, i, f"{loss:.0f}", ha="center", va="center", fontsize=7, color=colour)
    for name, (column, line) in marked.items():
        _frame(axis, name, columns.index(column), rows.index(line))
    axis.set_xticks(range(len(columns)), columns, fontsize=7)
    axis.set_yticks(range(len(rows)), rows, fontsize=7)
    axis.set_xlabel(layer.names[0], fontsize=8)
    axis.set_ylabel(layer.names[1], fontsize=8)


def plot_threads(found: ThreadSweep, ax: Any = None) -> Any:
    """Draw the speed-up over one thread: a row for each product or layer, a point for each number of threads.

    A dashed line is what the cores themselves gain: the peak of so many threads over that of one.
    """
    names = list(dict.fromkeys(point.name for point in found.points))
    figure, axis = axes(ax, 8, 1.6 + 0.34 * len(names))
    counts = sorted({point.threads for point in found.points} - {1}) or [1]
    for i, count in enumerate(counts):
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        points = [point for point in found.points if point.threads == count]
        at = [names.index(point.name) for point in points]
        axis.plot([p.speedup for p in points], at, marker, color=colour, label=counted(count, "thread"))
        gain = found.peaks[str(count)] / found.peaks["1"]
        axis.axvline(gain, color=colour, linestyle="--", linewidth=1)
        axis.text(gain, -0.8, f"peak x{gain:.2f}", ha="right", va="center", fontsize=8)
        if len(counts) == 1:  # there is room for each
            for point, y in zip(points, at, strict=True):
                axis.annotate(f"{point.speedup:.2f}", (point.speedup, y), (-8, 0), fontsize=8, va="center",
                              ha="right", textcoords="offset points", bbox=_PLATE)  # fmt: skip
    axis.axvline(1, color="black", linewidth=1)
    axis.set_xlim(min(0.9, *(point.speedup for point in found.points)), None)
    axis.set_ylim(len(names) - 0.4, -1.2)
    axis.set_yticks(range(len(names)), names, fontsize=9)
    axis.grid(True, axis="x", color="0.9")
    axis.set_axisbelow(True)
    axis.set_xlabel("speed-up over one thread")
    axis.set_title(f"{found.dtype}, {found.setting.tier}, {found.setting.cpu}", fontsize=10)
    axis.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def plot_sizes(found: SizeSweep) -> Any:
    """Draw time against size, a panel for each series, with the fitted line and where caches are full."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 7.5), layout="constrained")
    for axis, one in zip(figure.subplots(2, 2).flat, found.series, strict=True):
        axis.loglog(one.sizes, [1e3 * t for t in one.seconds], color=BLUE, marker="o", linestyle="none")
        middle = math.exp(sum(map(math.log, one.sizes)) / len(one.sizes))
        level = math.exp(sum(math.log(1e3 * t) for t in one.seconds) / len(one.seconds))
        fit = [level * (size / middle) ** one.exponent for size in one.sizes]
        label = f"exponent {one.exponent:.2f} (work {one.work_exponent:.2f})"
        axis.loglog(one.sizes, fit, color=ORANGE, label=label)
        least, most = min(one.seconds), max(one.seconds)
        axis.set_ylim(bottom=1e3 * least * (least / most) ** 0.3)  # room for the words below the points
        for cache, at in one.crossings.items():
            axis.axvline(at, color=GREY, linestyle=":", linewidth=1)
            axis.text(
                at, 0.02, f" {cache.upper()[:2]} full", transform=axis.get_xaxis_transform(),
                fontsize=8, rotation=90, va="bottom", ha="right",
            )  # fmt: skip
        axis.set_xticks(one.sizes, one.sizes, fontsize=7, rotation=45)
        axis.minorticks_off()
        axis.set_xlabel(one.variable)
        axis.set_ylabel("ms")
        axis.set_title(one.name, fontsize=10)
        axis.legend(fontsize=8, loc="upper left")
    figure.suptitle(_where(found.setting), fontsize=10)
    return figure


PLOTS: dict[str, Callable[[Any], Any]] = {
    "staircase": plot_staircase,
    "blocking": plot_blocking,
    "tiles": plot_tiles,
    "algorithms": plot_algorithms,
    "conv_blocking": plot_conv_blocking,
    "threads": plot_threads,
    "sizes": plot_sizes,
    "sparse": plot_sparse,
}


def draw(results: dict[str, Any], path: str | Path) -> Sequence[Path]:
    """Draw results by name into files: one at `path`, several with their names before its suffix.

    Parameters
    ----------
    results : dict
        Keys are those of ``PLOTS``.
    path : str or Path
        The suffix says the format.

    Returns
    -------
    sequence of Path
        The files.
    """
    path = Path(path)
    files = []
    for name, result in results.items():
        file = path if len(results) == 1 else path.with_name(f"{path.stem}-{name}{path.suffix}")
        save(PLOTS[name](result), file)
        files.append(file)
    return files
