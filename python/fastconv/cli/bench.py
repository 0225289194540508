"""``fastconv bench``: matrix products, convolutions and networks against numpy, PyTorch and ONNX Runtime.

Interleaved rounds, one process for each engine and mode, every result checked before it is timed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastconv.cli import arguments, output
from fastconv.cli.output import FAILED
from fastconv.errors import ArgumentError

if TYPE_CHECKING:
    from fastconv.bench import Result, Roof

KINDS = ("gemm", "conv", "model")


def add(commands: Any) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser("bench", help="compare speed with other libraries", description=__doc__)
    parser.add_argument("kind", choices=(*KINDS, "all"))
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="tables or single cases (default: a selection)"
    )
    parser.add_argument(
        "--threads",
        type=arguments.positive_ints,
        default=[1],
        metavar="N,N",
        help="numbers of threads (default: 1)",
    )
    parser.add_argument(
        "--rounds", type=arguments.positive_int, default=12, help="turns of each engine (default: 12)"
    )
    parser.add_argument(
        "--seconds", type=arguments.positive_float, default=0.02, help="length of a turn (default: 0.02)"
    )
    parser.add_argument(
        "--peers", type=arguments.names, metavar="NAME,NAME",
        help="numpy, torch, ort, or '' for none (default: whichever are installed)",
    )  # fmt: skip
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="write JSON to FILE, or to standard output"
    )
    parser.set_defaults(run=run, extra="bench")


def run(args: argparse.Namespace) -> int:
    """Compare and print, one line as soon as a case is done."""
    from fastconv import bench

    if args.kind == "all" and args.names:
        raise ArgumentError(f"names: expected none with 'all', got {args.names}")
    kinds = KINDS if args.kind == "all" else (args.kind,)
    suites = {kind: bench.find_cases(kind, args.names) for kind in kinds}
    peers = bench.installed_peers(args.peers)
    quiet = args.json == "-"

    def show(result: Result, roof: Roof) -> None:
        if not quiet:
            output.line(bench.row(result, roof.peak.gflops))

    records = []
    try:
        for kind, cases in suites.items():
            if not quiet:
                output.line(bench.header())
            results, peaks = bench.run_suite(
                cases,
                threads=args.threads,
                peers=peers,
                rounds=args.rounds,
                seconds=args.seconds,
                on_result=show,
            )
            records.append(bench.as_record(kind, results, peaks, rounds=args.rounds))
            if not quiet:
                output.line()
    except bench.BenchError as error:
        return output.complain(error, FAILED)
    record = records if args.kind == "all" else records[0]
    if quiet:
        output.dump(record)
    elif args.json:
        Path(args.json).write_text(json.dumps(record, indent=1) + "\n")
    return 0
