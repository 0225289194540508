"""``fastconv sweep``: experiments that show what every idea of the kernels is worth on this machine.

Each of them takes ``--json [FILE]`` and ``--plot FILE``; ``fastconv sweep EXPERIMENT --help`` says the rest.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastconv._progress import track
from fastconv._table import as_csv, as_markdown
from fastconv.cli import arguments, output
from fastconv.cli.output import FAILED
from fastconv.errors import ArgumentError

GEMM_PARTS = ("staircase", "blocking", "tiles")
CONV_PARTS = ("algorithms", "blocking")


def shape(text: str) -> tuple[int, int, int]:
    """Read a product's M x N x K.

    >>> shape("512x256x64")
    (512, 256, 64)
    """
    parts = text.split("x")
    if len(parts) != 3:
        raise argparse.ArgumentTypeError(f"expected MxNxK, got {text!r}")
    m, n, k = map(arguments.positive_int, parts)
    return m, n, k


def groups(text: str) -> int:
    """Read a number of groups; "depthwise" is a group for each channel, and returned as 0.

    >>> groups("depthwise"), groups("4")
    (0, 4)
    """
    return 0 if text == "depthwise" else arguments.positive_int(text)


def add(commands: Any) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        "sweep", help="measure what every idea of the kernels is worth", description=__doc__
    )
    kinds = parser.add_subparsers(title="experiments", metavar="EXPERIMENT", required=True)

    gemm = kinds.add_parser(
        "gemm",
        help="a product from three loops to the shipped gemm; block sizes; register tiles",
        description="One matrix product from three plain loops to the shipped gemm, an idea a step; its "
        "block sizes; its register tiles. Every result is checked against numpy before it is timed.",
    )
    gemm.add_argument("--only", choices=GEMM_PARTS, help="one of the three")
    gemm.add_argument(
        "--shape", type=shape, metavar="MxNxK",
        help="the product's size (default: 512x512x512, of the blocking 1008x1008x1008)",
    )  # fmt: skip
    _add_threads(gemm)
    gemm.add_argument("--no-numpy", action="store_true", help="leave numpy out")
    _add_common(gemm, rounds=5, seconds=0.05)
    gemm.set_defaults(run=run_gemm)

    conv = kinds.add_parser(
        "conv",
        help="which algorithm wins where; block sizes",
        description="Every algorithm that accepts a layer, over image sizes and channels (or the layers of a "
        "table of `fastconv bench conv --list`): which is the fastest, and what the planner's pick loses; "
        "and the pick in blocks of several sizes, and what the plan's own lose.",
    )
    conv.add_argument("--only", choices=CONV_PARTS, help="one of the two")
    conv.add_argument(
        "--layers", type=arguments.names, metavar="TABLE,TABLE", help="tables or layers instead of the grid"
    )
    conv.add_argument("--sizes", type=arguments.positive_ints, metavar="N,N", help="sides of the image")
    conv.add_argument("--channels", type=arguments.positive_ints, metavar="N,N", help="in and out")
    conv.add_argument("--kernel", type=arguments.positive_int, metavar="K", help="side (default: 3)")
    conv.add_argument("--groups", type=groups, metavar="G", help="a number, or 'depthwise' (default: 1)")
    _add_threads(conv)
    _add_common(conv, rounds=4, seconds=0.005)
    conv.set_defaults(run=run_conv)

    threads = kinds.add_parser(
        "threads",
        help="speedup and efficiency",
        description="Products and layers on 1 to all threads: speedup and efficiency.",
    )
    threads.add_argument(
        "--threads",
        type=arguments.positive_ints,
        metavar="N,N",
        help="numbers of threads (default: 1 to all)",
    )
    _add_dtype(threads)
    _add_common(threads, rounds=8, seconds=0.02)
    threads.set_defaults(run=run_threads)

    size = kinds.add_parser(
        "size",
        help="how time grows with the size of the work",
        description="Time against N of a product, and against channels, image side and batch of a 3x3 layer: "
        "the exponent of the growth, and where the operands outgrow each cache.",
    )
    size.add_argument(
        "--factor", type=arguments.positive_float, default=1.0, help="of all sizes (default: 1)"
    )
    _add_threads(size)
    _add_dtype(size)
    _add_common(size, rounds=5, seconds=0.02)
    size.set_defaults(run=run_size)

    sparse = kinds.add_parser(
        "sparse",
        help="what zeros among the weights are worth",
        description="Layers whose weights are zeros in part, alone or in blocks, against the dense ones: "
        "how many times as fast, and from which share of zeros on.",
    )
    sparse.add_argument(
        "--patterns", type=arguments.names, metavar="P,P", help="among single, 1x16, 1x32 (default: all)"
    )
    sparse.add_argument(
        "--layers",
        type=arguments.names,
        metavar="TABLE,TABLE",
        help="tables or layers instead of the usual ones",
    )
    _add_threads(sparse)
    _add_common(sparse, rounds=5, seconds=0.005)
    sparse.set_defaults(run=run_sparse)

    draw = kinds.add_parser(
        "draw",
        help="print and draw a record that --json wrote",
        description="Print and draw a record that --json wrote.",
    )
    draw.add_argument("record", help="JSON file")
    draw.add_argument("--only", metavar="RESULT", help="one of the record's results")
    draw.add_argument("--plot", metavar="FILE", help="draw into FILE (needs matplotlib)")
    draw.set_defaults(run=run_draw)


def _add_dtype(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dtype", choices=("f32", "int8"), default="f32", help="of the numbers (default: f32)"
    )


def _add_threads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threads", type=arguments.positive_int, default=1, help="of every call (default: 1)"
    )


def _add_common(parser: argparse.ArgumentParser, *, rounds: int, seconds: float) -> None:
    parser.add_argument(
        "--rounds", type=arguments.positive_int, default=rounds, help=f"turns of each (default: {rounds})"
    )
    parser.add_argument(
        "--seconds",
        type=arguments.positive_float,
        default=seconds,
        help=f"length of one (default: {seconds})",
    )
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="write JSON to FILE, or to standard output"
    )
    parser.add_argument("--csv", metavar="FILE", help="write each table as CSV")
    parser.add_argument("--markdown", metavar="FILE", help="write each table as Markdown")
    parser.add_argument(
        "--plot", metavar="FILE",
        help="draw into FILE, several pictures with their names before its suffix (needs matplotlib)",
    )  # fmt: skip


def run_gemm(args: argparse.Namespace) -> int:
    """Run the staircase, the block sizes, the register tiles, or all."""
    from fastconv.lab import sweeps
    from fastconv.lab.machine import Roof

    if args.only == "tiles":
        arguments.refuse_beside(args, "--only tiles", "shape", "no_numpy")
    elif args.only == "blocking":
        arguments.refuse_beside(args, "--only blocking", "no_numpy")

    def measure() -> dict[str, Any]:
        roof = Roof(args.threads)
        turns: dict[str, Any] = {"rounds": args.rounds, "seconds": args.seconds, "roof": roof}
        sized: dict[str, Any] = {} if args.shape is None else {"shape": args.shape}
        steps: dict[str, Callable[[], Any]] = {
            "staircase": lambda: sweeps.staircase(
                **sized, threads=args.threads, peer=not args.no_numpy, **turns
            ),
            "blocking": lambda: sweeps.sweep_blocking(**sized, threads=args.threads, **turns),
            "tiles": lambda: sweeps.sweep_tiles(**turns),
        }
        wanted = [args.only] if args.only else list(steps)
        return {name: steps[name]() for name in track(wanted, "sweep gemm")}

    return _report(args, "gemm", measure)


def run_conv(args: argparse.Namespace) -> int:
    """Run the map of algorithms, the block sizes, or both."""
    from fastconv.lab import sweeps
    from fastconv.lab.compare import find_cases
    from fastconv.lab.machine import Roof
    from fastconv.lab.sweeps.algorithms import CHANNELS, SIZES

    if args.layers:
        arguments.refuse_beside(args, "--layers", "sizes", "channels", "kernel", "groups")
        layers = [case.layer for case in find_cases("conv", args.layers)]
        title = ", ".join(args.layers)
    else:
        sizes, channels, kernel = args.sizes or SIZES, args.channels or CHANNELS, args.kernel or 3
        count = 1 if args.groups is None else args.groups
        layers = sweeps.square_layers(sizes, channels, kernel=kernel, groups=count)
        parts = "depthwise" if count == 0 else f"{count} groups" if count > 1 else ""
        title = " ".join(["convolutions", f"{kernel}x{kernel}", parts]).strip()

    def measure() -> dict[str, Any]:
        turns: dict[str, Any] = {"rounds": args.rounds, "seconds": args.seconds, "roof": Roof(args.threads)}
        steps: dict[str, Callable[[], Any]] = {
            "algorithms": lambda: sweeps.sweep_algorithms(layers, title=title, threads=args.threads, **turns),
            "conv_blocking": lambda: sweeps.sweep_conv_blocking(
                layers, title=title, threads=args.threads, **turns
            ),
        }
        wanted = {"algorithms": ["algorithms"], "blocking": ["conv_blocking"]}.get(args.only, list(steps))
        return {name: steps[name]() for name in track(wanted, "sweep conv")}

    return _report(args, "conv", measure)


def run_threads(args: argparse.Namespace) -> int:
    """Run the sweep over threads."""
    from fastconv.lab import sweeps

    def measure() -> dict[str, Any]:
        turns: dict[str, Any] = {"rounds": args.rounds, "seconds": args.seconds}
        return {"threads": sweeps.sweep_threads(counts=args.threads, dtype=args.dtype, **turns)}

    return _report(args, "threads", measure)


def run_size(args: argparse.Namespace) -> int:
    """Run the sweep over sizes."""
    from fastconv.lab import sweeps

    def measure() -> dict[str, Any]:
        turns: dict[str, Any] = {"rounds": args.rounds, "seconds": args.seconds, "dtype": args.dtype}
        return {"sizes": sweeps.sweep_sizes(threads=args.threads, factor=args.factor, **turns)}

    return _report(args, "size", measure)


def run_sparse(args: argparse.Namespace) -> int:
    """Run the sweep over shares of zeros."""
    from fastconv.lab import sweeps
    from fastconv.lab.compare import find_cases
    from fastconv.lab.machine import Roof

    chosen: dict[str, Any] = {}
    if args.patterns:
        chosen["patterns"] = args.patterns
    if args.layers:
        chosen["layers"] = [case.layer for case in find_cases("conv", args.layers)]

    def measure() -> dict[str, Any]:
        turns: dict[str, Any] = {"rounds": args.rounds, "seconds": args.seconds, "roof": Roof(args.threads)}
        return {"sparse": sweeps.sweep_sparse(threads=args.threads, **chosen, **turns)}

    return _report(args, "sparse", measure)


def run_draw(args: argparse.Namespace) -> int:
    """Print and draw a record."""
    from fastconv.lab.sweeps import text
    from fastconv.lab.sweeps.record import read

    output.check_picture("--plot", args.plot)
    results = read(args.record)
    if args.only:
        if args.only not in results:
            raise ArgumentError(f"--only: expected one of {', '.join(results)}, got {args.only!r}")
        results = {args.only: results[args.only]}
    _print(text.LINES, results)
    _draw(args, results)
    return 0


def _report(args: argparse.Namespace, experiment: str, measure: Any) -> int:
    """Measure; print, or write JSON; draw."""
    from fastconv.lab.compare.suite import BenchError
    from fastconv.lab.machine import RoofError
    from fastconv.lab.sweeps import text
    from fastconv.lab.sweeps.record import rows

    output.check_picture("--plot", args.plot)
    for option in ("json", "csv", "markdown"):
        if (path := getattr(args, option)) != "-":
            output.check_path(f"--{option}", path)
    try:
        results = measure()
    except (BenchError, RoofError) as error:
        return output.complain(error, FAILED)
    record = {"experiment": experiment, **{name: asdict(result) for name, result in results.items()}}
    if args.json == "-":
        output.dump(record)
    else:
        _print(text.LINES, results)
        if args.json:
            Path(args.json).write_text(output.as_json(record, indent=1) + "\n")
    if args.csv:
        Path(args.csv).write_text(as_csv(rows(results)))
    if args.markdown:
        Path(args.markdown).write_text(as_markdown(rows(results)) + "\n")
    _draw(args, results, quiet=args.json == "-")
    return 0


def _print(lines: Any, results: dict[str, Any]) -> None:
    for i, (name, result) in enumerate(results.items()):
        if i:
            output.line()
        for line in lines[name](result):
            output.line(line)


def _draw(args: argparse.Namespace, results: dict[str, Any], *, quiet: bool = False) -> Sequence[Path]:
    if not args.plot:
        return []
    from fastconv.lab.draw.sweeps import draw

    files = draw(results, args.plot)
    if not quiet:
        output.line(f"drawn: {', '.join(map(str, files))}")
    return files
