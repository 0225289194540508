"""``fastconv bench``: matrix products, convolutions and networks against other libraries.

Interleaved rounds, one process for each engine and mode, every result checked before it is timed. A network
is one of the table's, any architecture of fastconv.models, or a model's file (.onnx, or weights), on random
inputs.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastconv._progress import track
from fastconv._table import as_markdown
from fastconv.cli import arguments, network, output
from fastconv.cli.output import FAILED
from fastconv.errors import ArgumentError

if TYPE_CHECKING:
    from fastconv.lab.compare import Case

KINDS = ("gemm", "conv", "model")


def add(commands: Any) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser("bench", help="compare speed with other libraries", description=__doc__)
    parser.add_argument(
        "kind", nargs="?", choices=(*KINDS, "all"),
        help="what is timed; may be left out with --list",
    )  # fmt: skip
    parser.add_argument(
        "names", nargs="*", metavar="TABLE",
        help="tables, single cases, of networks also files, or 'all' (default: a selection)",
    )  # fmt: skip
    network.add_architecture(parser)
    parser.add_argument(
        "--input-shape", type=arguments.positive_ints, metavar="N,C,H,W",
        help="of a network's input (default: what the model declares)",
    )  # fmt: skip
    parser.add_argument("--list", action="store_true", help="print the tables' names and stop")
    parser.add_argument(
        "--threads",
        type=arguments.positive_ints,
        default=[1],
        metavar="N,N",
        help="numbers of threads (default: 1)",
    )
    parser.add_argument(
        "--batch", type=arguments.positive_ints, metavar="N,N",
        help="images at once, of networks (default: 1)",
    )  # fmt: skip
    parser.add_argument(
        "--dtype", choices=("f32", "int8"),
        help="of networks; int8: as ONNX Runtime quantises them, on the engines that read that",
    )  # fmt: skip
    parser.add_argument(
        "--rounds", type=arguments.positive_int, default=10, help="turns of each engine (default: 10)"
    )
    parser.add_argument(
        "--seconds", type=arguments.positive_float, default=0.01, help="length of a turn (default: 0.01)"
    )
    parser.add_argument(
        "--warmup", type=arguments.positive_int, default=1, help="untimed runs before each turn (default: 1)"
    )
    parser.add_argument(
        "--timeout", type=arguments.positive_float, help="seconds that an engine has for an answer"
    )
    parser.add_argument(
        "--peers", type=arguments.names, metavar="NAME,NAME",
        help="numpy, torch, ort, openvino, ncnn, mnn, or '' for none (default: whichever are installed)",
    )  # fmt: skip
    parser.add_argument("--isa", choices=("avx2",), help="cap fastconv and the peers alike")
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="write JSON to FILE, or to standard output"
    )
    parser.add_argument("--csv", metavar="FILE", help="write CSV")
    parser.add_argument("--markdown", metavar="FILE", help="write a table of Markdown")
    parser.add_argument("--plot", metavar="FILE", help="draw achieved against peak (needs matplotlib)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compare and print, one line as soon as a case is done; 1 if fastconv failed a case."""
    from fastconv.lab import compare
    from fastconv.lab.machine import RoofError

    if args.kind is None:
        if not args.list:
            raise ArgumentError(f"kind: expected one of {', '.join((*KINDS, 'all'))}, got none")
        args.kind = "all"
    if args.kind == "all" and args.names:
        raise ArgumentError(f"names: expected none with 'all', got {args.names}")
    kinds = KINDS if args.kind == "all" else (args.kind,)
    if args.kind != "model":
        of_networks = ("batch", "dtype", "input_shape", "architecture")
        arguments.refuse_beside(args, f"kind {args.kind!r}", *of_networks)
    if args.input_shape:
        arguments.refuse_beside(args, "--input-shape, whose first number is the batch", "batch")
    if args.list:
        arguments.refuse_beside(args, "--list", "json", "csv", "markdown", "plot", "peers", "isa")
        for kind in kinds:
            for name, cases in compare.tables(kind).items():
                output.line(f"{kind:6} {name:20} {len(cases):3} cases")
        return 0
    output.check_picture("--plot", args.plot)
    for option in ("json", "csv", "markdown"):
        if (path := getattr(args, option)) != "-":
            output.check_path(f"--{option}", path)
    batches = args.batch or (args.input_shape or [1])[:1]
    suites: dict[str, dict[str, list[Case]]] = {}
    for kind in kinds:
        for name, cases in compare.find_tables(kind, args.names).items():
            for case in cases:  # those of a convolution of signs have engines of their own
                suites.setdefault(case.kind, {}).setdefault(name, []).append(case)
    if "model" in suites:
        suites["model"] = {
            name: [compare.batched(_as_asked(args, case), batch) for batch in batches for case in cases]
            for name, cases in suites["model"].items()
        }
    if args.dtype == "int8":
        suites["model"] = {n: [compare.quantised(c) for c in cases] for n, cases in suites["model"].items()}
    quiet = args.json == "-"

    def say(text: str = "") -> None:
        if not quiet:
            output.line(text)

    peers = compare.installed_peers(args.peers)
    if args.peers is None and (missing := compare.missing_peers()):
        say(f"not installed, left out: {', '.join(missing)}")
    if args.dtype == "int8":
        peers = compare.reading_int8(peers)
    if args.isa:
        peers, left = compare.capped(peers)
        if left:
            say(f"cannot be capped, left out: {', '.join(left)}")
    try:
        records = [_measure(args, kind, tables, peers, say) for kind, tables in suites.items()]
    except (compare.BenchError, RoofError) as error:
        return output.complain(error, FAILED)
    for line in compare.summary_lines(records):
        say(line)
    _write(args, records)
    failed = [
        c["name"] for r in records for c in r["cases"] if any(e.startswith("fastconv") for e in c["failed"])
    ]
    return output.complain(f"fastconv failed: {', '.join(failed)}", FAILED) if failed else 0


def _as_asked(args: argparse.Namespace, case: Case) -> Case:
    """Return a network of the shape and the architecture that were asked for."""
    asked = {"shape": args.input_shape, "architecture": args.architecture}
    return replace(case, parameters={**case.parameters, **{k: v for k, v in asked.items() if v is not None}})


def _measure(
    args: argparse.Namespace, kind: str, tables: dict[str, list[Case]], peers: list[str], say: Any
) -> dict[str, Any]:
    from fastconv.lab import compare

    options = {"peers": peers, "isa": args.isa, "rounds": args.rounds, "seconds": args.seconds,
               "warmup": args.warmup}  # fmt: skip
    if args.timeout:
        options["timeout"] = args.timeout
    results, roofs = [], []
    reasons: dict[str, str] = {}
    say(compare.header(kind))
    for threads in args.threads:
        with compare.Suite(kind, threads=threads, **options) as suite:
            for case in track(compare.distinct(tables), f"{kind}, {threads} threads"):
                results.append(suite.compare(case))
                say(compare.row(results[-1], suite.roof))
                reasons |= {f"{case.name}: {v}": why for v, why in results[-1].failed.items()}
        roofs.append(suite.roof)
    for where, why in reasons.items():
        say(f"failed: {where}: {' '.join(why.split())}")
    say()
    return compare.as_record(kind, tables, results, roofs, rounds=args.rounds, isa=args.isa)


def _write(args: argparse.Namespace, records: list[dict[str, Any]]) -> None:
    from fastconv.lab import compare

    record = records if args.kind == "all" or len(records) > 1 else records[0]
    if args.json == "-":
        output.dump(record)
    elif args.json:
        Path(args.json).write_text(output.as_json(record, indent=1) + "\n")
    if args.csv:
        Path(args.csv).write_text(compare.as_csv(records))
    if args.markdown:
        Path(args.markdown).write_text(as_markdown(compare.rows(records)) + "\n")
    if args.plot:
        from fastconv.lab.draw.bench import draw

        draw(records, args.plot)
