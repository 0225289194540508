"""Register tiles: the rate of each MR x NR that is instantiated, on operands in L1, and what each is for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fastconv import _core
from fastconv._threads import threads as threads_of_process
from fastconv.lab.machine import Roof
from fastconv.lab.machine.setting import Setting, setting
from fastconv.lab.sweeps.checked import Expected, checked_product
from fastconv.lab.timing import in_turns, timer

FLOAT = 4  # bytes
MOST_K = 256
CALL_FLOPS = 10_000_000  # of a timed call: a tenth of a millisecond at 100 GFLOP/s


@dataclass(frozen=True)
class Tile:
    """A register tile and its rate.

    Attributes
    ----------
    rows, width : int
        MR and NR.
    gflops, share : float
        Its rate, and that as a fraction of the measured FMA peak.
    heights : tuple of int
        The numbers of rows up to three tiles that ``gemm`` cuts with tiles of this height among others.
    """

    rows: int
    width: int
    gflops: float
    share: float
    heights: tuple[int, ...]


@dataclass(frozen=True)
class TileSweep:
    """Every register tile of the tier, timed.

    Attributes
    ----------
    setting : Setting
        The machine and its measured FMA peak.
    k : int
        The depth of the products.
    main : tuple of int
        MR and NR of the tile that does most of the work.
    columns : dict of str to str
        For which columns of B a panel of each width serves.
    tiles : tuple of Tile
        By width, then by rows.
    """

    setting: Setting
    k: int
    main: tuple[int, int]
    columns: dict[str, str]
    tiles: tuple[Tile, ...]

    @property
    def best(self) -> Tile:
        """The fastest."""
        return max(self.tiles, key=lambda tile: tile.gflops)

    def at(self, rows: int, width: int) -> Tile:
        """Return the tile of that shape."""
        return next(tile for tile in self.tiles if (tile.rows, tile.width) == (rows, width))


def even_tiles(m: int, mr: int) -> list[int]:
    """Return the heights of the tiles that ``gemm`` cuts m rows into: as few as may be, and even ones.

    >>> even_tiles(7, 6), even_tiles(12, 6)
    ([4, 3], [6, 6])
    """
    count = -(-m // mr)
    least, longer = divmod(m, count)
    return [least + 1] * longer + [least] * (count - longer)


def columns_served() -> dict[int, str]:
    """Return for each width of a panel which columns it holds, as the packing of B decides."""
    widths = [width for width, _ in _core.register_tiles()]
    nr = widths[1]
    alone = {n: _core.panel_widths(n) for n in range(1, nr)}
    beside = {rest: _core.panel_widths(4 * nr + rest)[-1] for rest in range(1, nr)}
    texts: dict[int, str] = {}
    for width in widths:
        parts = ["whole panels"] if width == nr else []
        if only := [n for n, found in alone.items() if found == [width]]:
            parts.append(f"N of {_span(only)}")
        if rests := [rest for rest, last in beside.items() if last == width]:
            parts.append(
                f"the last {_span(nr + rest if width > nr else rest for rest in rests)} of a wider N"
            )
        texts[width] = "; ".join(parts)
    return texts


def _span(numbers: Iterable[int]) -> str:
    """Return "3 to 7"."""
    found = sorted(numbers)
    return str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"


def common_depth(tiles: Iterable[tuple[int, int]], l1: int) -> int:
    """Return the K, a multiple of 16, with which the operands of (width, rows) fill 3 quarters of L1.

    >>> common_depth([(8, 8), (16, 6), (24, 4)], 32768)
    208
    """
    room = 3 * l1 // 4 // FLOAT
    depth = min((room - width * rows) // (width + rows) for width, rows in tiles)
    return max(16, min(MOST_K, depth // 16 * 16))


def sweep_tiles(*, rounds: int = 5, seconds: float = 0.01, roof: Roof | None = None) -> TileSweep:
    """Check and time every register tile of the tier in use on one thread, in turns.

    Parameters
    ----------
    rounds, seconds, roof
        As for :func:`~fastconv.sweep.staircase`.

    Returns
    -------
    TileSweep
        The tiles with their rates.

    Raises
    ------
    BenchError
        If a tile is wrong.
    RoofError
        If one is faster than the measured FMA peak.

    Examples
    --------
    >>> from fastconv.sweep import sweep_tiles
    >>> sweep = sweep_tiles(rounds=1, seconds=1e-5)
    >>> sweep.main in [(tile.rows, tile.width) for tile in sweep.tiles]
    True
    """
    kinds = _core.register_tiles()
    k = common_depth(kinds, _core.cpu_info()["caches"]["l1d"])
    rng = np.random.default_rng(0)
    shapes = [(rows, width) for width, most in kinds for rows in range(1, most + 1)]
    with threads_of_process(1):
        roof = roof if roof is not None and roof.peak.threads == 1 else Roof(1)
        first, timers, repeats = {}, {}, {}
        for rows, width in shapes:
            a = rng.standard_normal((rows, k), np.float32)
            b = rng.standard_normal((k, width), np.float32)
            c = np.empty((rows, width), np.float32)
            count = repeats[rows, width] = max(1, CALL_FLOPS // (2 * rows * width * k))

            def call(a=a, b=b, c=c, count=count) -> None:  # type: ignore[no-untyped-def]
                _core.tile_run(a, b, c, count)

            first[rows, width] = checked_product(f"tile {rows}x{width}", call, c, Expected(a, b))
            timers[rows, width] = timer(call)
        times = in_turns(timers, roof, rounds=rounds, seconds=seconds, first=first)
    most_rows = dict(kinds)
    rates = {
        (rows, width): 2 * rows * width * k * repeats[rows, width] / times[rows, width].min * 1e-9
        for rows, width in shapes
    }
    for (rows, width), rate in rates.items():
        roof.hold(f"register tile {rows}x{width}", rate)
    tiles = []
    for rows, width in shapes:
        rate, most = rates[rows, width], most_rows[width]
        heights = tuple(m for m in range(1, 3 * most + 1) if rows in even_tiles(m, most))
        tiles.append(Tile(rows, width, rate, rate / roof.peak.gflops, heights))
    width, rows = kinds[1]
    served = {str(w): text for w, text in columns_served().items()}
    return TileSweep(setting(roof), k, (rows, width), served, tuple(tiles))
