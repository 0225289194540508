"""``fastconv roofline``: the machine's measured peaks and the bandwidth of each level of its memory.

All is measured anew, and kept for ``fastconv profile``. Samples are of a few milliseconds; the best is the
roof, and the spread says how far the median fell below it.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastconv.cli import arguments, output


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
    output.add_json_flag(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    from fastconv import _core
    from fastconv.lab.draw.canvas import save
    from fastconv.lab.draw.roofline import plot_rooflines
    from fastconv.lab.machine import measure_roofline
    from fastconv.lab.machine.setting import made_with

    threads = args.threads or sorted({1, _core.get_num_threads()})
    wanted = [(tier, count) for tier in args.tiers or _core.tiers() for count in threads]
    roofs = [
        measure_roofline(tier, count, seconds=args.seconds, refresh=True)
        for tier, count in output.track(wanted, "measuring")
    ]
    if args.plot:
        best = [roof for roof in roofs if roof.peak.tier == roofs[-1].peak.tier]
        save(plot_rooflines(best), args.plot, "--plot")
    warnings = [
        f"{roof.peak.tier}, threads {roof.peak.threads}: {warning}"
        for roof in roofs
        for warning in roof.warnings()
    ]
    if args.json:
        record = {
            "cpu": roofs[0].cpu,
            "peaks": [asdict(p) | {"spread": p.spread, "unit": p.unit} for r in roofs for p in r.peaks],
            "bandwidths": [asdict(b) | {"spread": b.spread} for r in roofs for b in r.bandwidths],
            "capacities": dict(roofs[-1].capacities),
            "warnings": warnings,
            **made_with(),
        }
        output.dump(record)
        return 0
    output.line(f"{roofs[0].cpu}: peaks from registers only, bandwidths of all threads together")
    output.line(
        f"{'tier':8}{'threads':>8} {'roof':16}{'working set':>14}{'best':>10}{'median':>10}{'spread':>8}"
        "  ridge"
    )
    for roof in roofs:
        start = f"{roof.peak.tier:8}{roof.peak.threads:8} "
        for p in roof.peaks:
            output.line(
                f"{start}{p.name:16}{'':>14}{p.gflops:10.1f}{p.median:10.1f}{p.spread:8.1%}  {p.unit}"
            )
        for b in roof.bandwidths:
            size = f"{b.bytes / 1024:.0f} KiB"
            ridge = f"{roof.ridge(b.level):.2f} FLOP/byte" if b.gbs == roof.gbs(b.level) else ""
            name = f"{b.level} {b.op}"
            output.line(
                f"{start}{name:16}{size:>14}{b.gbs:10.1f}{b.median:10.1f}{b.spread:8.1%}  {ridge}".rstrip()
            )
    for warning in warnings:
        output.line(f"doubtful: {warning}")
    return 0
