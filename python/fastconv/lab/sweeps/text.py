"""Results of the sweeps as lines to read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from fastconv._table import Table
from fastconv.lab.sweeps.algorithms import AlgorithmMap, LayerTimes
from fastconv.lab.sweeps.blocking import LINE, BlockingSweep, Candidate
from fastconv.lab.sweeps.conv_blocking import ConvBlocking, LayerBlocks
from fastconv.lab.sweeps.scaling import SizeSweep, ThreadSweep
from fastconv.lab.sweeps.sparse import ELSEN_GAINS, XNNPACK_FROM, SparseSweep
from fastconv.lab.sweeps.stairs import NUMPY, Staircase
from fastconv.lab.sweeps.tiles import TileSweep

BEST = 5  # so many of the fastest block sizes are listed
NEAR = 0.03  # of the best time: less is the noise of a measurement


def staircase_lines(found: Staircase) -> Iterator[str]:
    """Give a line for each step: time, rate, share of the peak, gain over the step before, the idea."""
    peak = found.setting.peak_gflops
    yield f"{found.m}x{found.n}x{found.k} on {found.setting}"
    table = Table(("step", "<"), ("ms", ">"), ("GFLOP/s", ">"), ("% peak", ">"), ("gain", ">"), ("idea", "<"))
    rows, before = [], None
    for step in found.steps:
        gain = "" if before is None or step.name == NUMPY else f"{step.gflops / before:.2f}"
        rates = (f"{1e3 * step.seconds:.3f}", f"{step.gflops:.2f}", f"{100 * step.gflops / peak:.1f}")
        rows.append((step.name, *rates, gain, step.idea))
        before = step.gflops
    yield from table.lines(rows)


def blocking_lines(found: BlockingSweep) -> Iterator[str]:
    """Give a line for the shipped sizes, the textbook's, the fastest and the slowest, with their traffic."""
    yield f"{found.m}x{found.n}x{found.k}, tile {found.mr}x{found.nr}, on {found.setting}"
    table = Table(
        *(("", "<"), ("MC", ">"), ("KC", ">"), ("NC", ">"), ("ms", ">"), ("GFLOP/s", ">"), ("loss", ">")),
        *(("misses by the model, 1e6: L1", ">"), ("L2", ">"), ("L3", ">")),
    )

    def row(mark: str, c: Candidate) -> tuple[Any, ...]:
        misses = (f"{b / LINE / 1e6:.2f}" for b in (c.traffic.l1, c.traffic.l2, c.traffic.l3))
        return (mark, *c.sizes, f"{1e3 * c.seconds:.3f}", f"{c.gflops:.2f}", f"{c.loss:.1%}", *misses)

    ranked = sorted(found.candidates, key=lambda c: c.seconds)
    rows = [row("shipped", found.at(found.shipped)), row("textbook", found.at(found.textbook))]
    rows += [row(f"best {i}", candidate) for i, candidate in enumerate(ranked[:BEST], 1)]
    yield from table.lines([*rows, row("slowest", ranked[-1])])
    ranks = ", ".join(f"{name.upper()} {found.rank_correlation(name):+.2f}" for name in ("l1", "l2", "l3"))
    yield f"rank correlation of the times of {len(ranked)} choices with the misses: {ranks}"


def tiles_lines(found: TileSweep) -> Iterator[str]:
    """Give a line for each number of rows with the rates of the widths, and what each width is for."""
    widths = list(dict.fromkeys(tile.width for tile in found.tiles))
    rates = {(tile.rows, tile.width): tile for tile in found.tiles}
    yield f"register tiles, K = {found.k}, on {found.setting}; GFLOP/s (share of the peak)"
    lines = []
    for rows in range(1, max(tile.rows for tile in found.tiles) + 1):
        cells = [rates.get((rows, width)) for width in widths]
        texts = ["" if tile is None else f"{tile.gflops:.1f} ({tile.share:.0%})" for tile in cells]
        lines.append((rows, *texts))
    yield from Table(("rows", ">"), *((f"{width} wide", ">") for width in widths)).lines(lines)
    for width, served in found.columns.items():
        yield f"{width:>4} wide: {served}"
    yield f"main tile {found.main[0]}x{found.main[1]}; M rows are cut into as few tiles as may be, even ones"


def layer_row(layer: LayerTimes) -> tuple[str, ...]:
    """Give a layer's pick, its lag, and the time of every algorithm."""
    ordered = sorted(layer.milliseconds, key=lambda name: layer.milliseconds[name])
    cells = [f"{name} {layer.milliseconds[name]:.4f}" for name in ordered]
    return layer.name, layer.pick, f"{layer.lag:.1%}", "  ".join(cells)


def algorithms_lines(found: AlgorithmMap) -> Iterator[str]:
    """Give a line for each layer, the wins of each algorithm, and the worst pick."""
    yield f"{found.title}, on {found.setting}"
    heads = ("layer", "<"), ("picked", "<"), ("lag", ">"), ("milliseconds, fastest first", "<")
    yield from Table(*heads).lines(map(layer_row, found.layers))
    wins = ", ".join(f"{name} {count}" for name, count in found.wins().most_common())
    yield f"fastest: {wins}"
    worst = max(found.layers, key=lambda layer: layer.lag)
    right = sum(layer.pick == layer.best for layer in found.layers)
    yield (
        f"the pick is the fastest for {right} of {len(found.layers)}; "
        f"at worst it loses {worst.lag:.1%} ({worst.name})"
    )


def layer_blocks_row(layer: LayerBlocks) -> tuple[str, ...]:
    """Give a layer's algorithm, its plan's sizes and what they lose, the best and the slowest ones."""
    best, worst = layer.best, layer.worst
    return (
        *(layer.name, layer.algorithm, layer.described(layer.shipped), f"{layer.loss:.1%}"),
        *(layer.described(best.sizes), f"{1e3 * best.seconds:.4f}"),
        *(layer.described(worst.sizes), f"{worst.loss:.1%}"),
    )


def conv_blocking_lines(found: ConvBlocking) -> Iterator[str]:
    """Give a line for each layer, and the worst of the plans' own sizes."""
    yield f"{found.title}, on {found.setting}"
    table = Table(
        *(("layer", "<"), ("algorithm", "<"), ("shipped", "<"), ("loss", ">"), ("best", "<"), ("ms", ">")),
        *(("slowest", "<"), ("loss", ">")),
    )
    yield from table.lines(map(layer_blocks_row, found.layers))
    if not found.layers:
        yield "no layer has sizes to choose"
        return
    worst = max(found.layers, key=lambda layer: layer.loss)
    near = sum(layer.loss <= NEAR for layer in found.layers)
    yield (
        f"the shipped sizes are within {NEAR:.0%} of the best for {near} of {len(found.layers)}; "
        f"at worst they lose {worst.loss:.1%} ({worst.name})"
    )


PEAKS = {"f32": "FMA peak", "int8": "peak of bytes"}


def threads_lines(found: ThreadSweep) -> Iterator[str]:
    """Give a line for each product or layer and number of threads."""
    yield f"{found.dtype}, on {found.setting}"
    heads = ("ms", "GFLOP/s", "speedup", "efficiency")
    points = [
        (
            p.name,
            p.threads,
            f"{1e3 * p.seconds:.4f}",
            f"{p.gflops:.2f}",
            f"{p.speedup:.2f}",
            f"{p.efficiency:.0%}",
        )
        for p in found.points
    ]
    peaks = [
        (PEAKS[found.dtype], count, "", f"{peak:.2f}", f"{peak / found.peaks['1']:.2f}", "")
        for count, peak in found.peaks.items()
    ]
    yield from Table(("work", "<"), ("T", ">"), *((head, ">") for head in heads)).lines([*points, *peaks])


def sizes_lines(found: SizeSweep) -> Iterator[str]:
    """Give each series' exponent, where it outgrows the caches, and its times."""
    yield f"{found.dtype}, on {found.setting}"
    for one in found.series:
        full = ", ".join(f"{level.upper()[:2]} full at {at:.0f}" for level, at in one.crossings.items())
        yield (
            f"{one.name}: time ~ {one.variable}^{one.exponent:.2f}, work ~ {one.variable}^"
            f"{one.work_exponent:.2f}{'; ' + full if full else ''}"
        )
        for size, taken, bytes_ in zip(one.sizes, one.seconds, one.working_set, strict=True):
            yield f"  {size:6} {1e3 * taken:10.4f} ms {bytes_ / 2**20:9.2f} MiB"


def sparse_lines(found: SparseSweep) -> Iterator[str]:
    """Give for each layer and pattern the gain at each share of zeros, and where it breaks even."""
    yield f"times as fast as the dense layer, by the share of zeros, on {found.setting}"
    shares = found.layers[0].zeros
    table = Table(
        *(("layer", "<"), ("zeros", "<"), ("dense", "<"), ("ms", ">")),
        *((f"{share:.0%}", ">") for share in shares),
        ("even at", ">"),
    )
    rows = []
    for one in found.layers:
        even = "" if one.break_even is None else f"{one.break_even:.0%}"
        gains = [f"{gain:.2f}" for gain in one.gains]
        rows.append((one.layer, one.pattern, one.dense, f"{1e3 * one.dense_seconds:.3f}", *gains, even))
    yield from table.lines(rows)
    low, high = ELSEN_GAINS
    yield f"XNNPACK takes its sparse kernels from {XNNPACK_FROM:.0%} of zeros in 1x1 layers on"
    yield f"Elsen et al., Fast sparse ConvNets: whole networks {low} to {high} times as fast on a telephone"


LINES: dict[str, Callable[[Any], Iterator[str]]] = {
    "staircase": staircase_lines,
    "blocking": blocking_lines,
    "tiles": tiles_lines,
    "algorithms": algorithms_lines,
    "conv_blocking": conv_blocking_lines,
    "threads": threads_lines,
    "sizes": sizes_lines,
    "sparse": sparse_lines,
}
