"""``fastconv roofline``: the measured FMA peak of every tier that runs here, on each number of threads."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from fastconv.cli import arguments, output


def add(commands: Any) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser("roofline", help="measure the machine's fp32 FMA peak", description=__doc__)
    parser.add_argument(
        "--threads",
        type=arguments.positive_ints,
        metavar="N,N",
        help="numbers of threads (default: 1 and all)",
    )
    parser.add_argument(
        "--seconds", type=arguments.positive_float, default=0.5, help="length of each measurement"
    )
    output.add_json_flag(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    from fastconv import _core
    from fastconv.roofline import peak_fma

    threads = args.threads or sorted({1, _core.get_num_threads()})
    wanted = [(tier, count) for tier in _core.tiers() for count in threads]
    peaks = [
        peak_fma(tier, count, seconds=args.seconds)
        for tier, count in output.track(wanted, "measuring FMA peaks")
    ]
    if args.json:
        output.dump(
            {"cpu": _core.cpu_info()["model"], "peaks": [asdict(p) | {"spread": p.spread} for p in peaks]}
        )
        return 0
    output.line(f"fp32 FMA peak, registers only, on {_core.cpu_info()['model']}")
    output.line(f"{'tier':10} {'threads':>7} {'GFLOP/s':>9} {'median':>9} {'spread':>7}")
    for p in peaks:
        output.line(f"{p.tier:10} {p.threads:7} {p.gflops:9.1f} {p.median:9.1f} {p.spread:7.1%}")
    return 0
