"""``fastconv roofline``: the machine's measured peaks and the bandwidth of each level of its memory.

All is measured anew, and kept for ``fastconv profile``. Samples are of a few milliseconds; the best is the
roof, and the spread says how far the median fell below it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastconv._progress import track
from fastconv._table import Table
from fastconv.cli import arguments, output

if TYPE_CHECKING:
    from fastconv.lab.machine import Roofline


def add(commands: Any) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        "roofline", help="measure the machine's peaks (f32, bf16, int8) and bandwidths", description=__doc__
    )
    parser.add_argument(
        "--threads",
        type=arguments.positive_ints,
        metavar="N,N",
        help="numbers of threads (default: 1 and all)",
    )
    parser.add_argument(
        "--tiers", type=arguments.names, metavar="NAME,NAME", help="default: all that run here"
    )
    parser.add_argument(
        "--seconds",
        type=arguments.positive_float,
        default=0.1,
        help="length of each measurement; up to four times as long until it is stable (default: 0.1)",
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the rooflines (.svg, .png, .pdf)")
    output.add_format_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    from fastconv import _core
    from fastconv.lab.draw.canvas import save
    from fastconv.lab.draw.roofline import plot_rooflines
    from fastconv.lab.machine import measure_roofline
    from fastconv.lab.machine.setting import made_with

    output.check_picture("--plot", args.plot)
    threads = args.threads or sorted({1, _core.get_num_threads()})
    wanted = [(tier, count) for tier in args.tiers or _core.tiers() for count in threads]
    roofs = [
        measure_roofline(tier, count, seconds=args.seconds, refresh=True)
        for tier, count in track(wanted, "measuring")
    ]
    if args.plot:
        best = [roof for roof in roofs if roof.peak.tier == roofs[-1].peak.tier]
        save(plot_rooflines(best), args.plot, "--plot")
    warnings = [
        f"{roof.peak.tier}, threads {roof.peak.threads}: {warning}"
        for roof in roofs
        for warning in roof.warnings()
    ]
    record: dict[str, Any] = {
        "cpu": roofs[0].cpu,
        "peaks": [asdict(p) | {"spread": p.spread, "unit": p.unit} for r in roofs for p in r.peaks],
        "bandwidths": [asdict(b) | {"spread": b.spread} for r in roofs for b in r.bandwidths],
        "capacities": dict(roofs[-1].capacities),
        "warnings": warnings,
        **made_with(),
    }
    if output.emit(args, record, [*record["peaks"], *record["bandwidths"]]):
        return 0
    output.line(f"{roofs[0].cpu}: peaks from registers only, bandwidths of all threads together")
    table = Table(
        *(
            ("tier", "<"),
            ("threads", ">"),
            ("roof", "<"),
            ("working set", ">"),
            ("best", ">"),
            ("median", ">"),
        ),
        *(("spread", ">"), ("ridge", "<")),
    )
    for line in table.lines(row for roof in roofs for row in _rows(roof)):
        output.line(line)
    for warning in warnings:
        output.line(f"doubtful: {warning}")
    return 0


def _rows(roof: Roofline) -> Iterator[Sequence[Any]]:
    """Yield the cells of each peak and bandwidth."""
    where = (roof.peak.tier, roof.peak.threads)
    for p in roof.peaks:
        yield (*where, p.name, "", f"{p.gflops:.1f}", f"{p.median:.1f}", f"{p.spread:.1%}", p.unit)
    for b in roof.bandwidths:
        size = f"{b.bytes / 1024:.0f} KiB"
        ridge = _ridges(roof, b.level) if b.gbs == roof.gbs(b.level) else ""
        rates = (f"{b.gbs:.1f}", f"{b.median:.1f}", f"{b.spread:.1%}")
        yield (*where, f"{b.level} {b.op}", size, *rates, ridge)


def _ridges(roof: Roofline, level: str) -> str:
    """Return the intensities from which the FMA peak, and that of int8, bind and not a level."""
    floats = f"{roof.ridge(level):.2f} FLOP/byte"
    has_int8 = any(peak.dtype == "int8" for peak in roof.narrow)
    return f"{floats}, int8 {roof.ridge(level, 'int8'):.2f}" if has_int8 else floats
