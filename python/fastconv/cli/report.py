"""``fastconv report``: a profile as one HTML page, with nothing outside of it.

With --compare the same network runs on the other engines that are installed, with --sweep every algorithm and
block size of its convolutions is timed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastconv.cli import arguments, output, profile
from fastconv.cli.output import FAILED
from fastconv.errors import ArgumentError

if TYPE_CHECKING:
    from fastconv.graph.model import Model

ROUNDS = 10  # of --compare


def add(commands: Any) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        "report", help="write a network's profile as one HTML page", description=__doc__
    )
    profile.add_model_arguments(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.html")
    parser.add_argument("--compare", action="store_true", help="run it on other engines too")
    parser.add_argument(
        "--peers", type=arguments.names, metavar="NAME,NAME",
        help="those of --compare, as of `fastconv bench` (default: whichever are installed)",
    )  # fmt: skip
    parser.add_argument(
        "--sweep", action="store_true",
        help="time all algorithms and block sizes of its convolutions (needs matplotlib)",
    )  # fmt: skip
    parser.add_argument(
        "--bench", type=Path, metavar="FILE", help="add what `fastconv bench model --json` wrote"
    )
    parser.add_argument(
        "--picture", type=Path, action="append", default=[], metavar="FILE.svg",
        help="add a picture, of `fastconv sweep --plot` for one",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Profile and write."""
    from fastconv.lab.compare import BenchError
    from fastconv.lab.machine import RoofError
    from fastconv.lab.profile import profile as profiled
    from fastconv.lab.report import report

    pictures = {path.stem: path.read_text("utf-8") for path in args.picture}
    for name, text in pictures.items():
        if "<svg" not in text:
            raise ArgumentError(f"--picture {name}: expected an SVG document, got none")
    if args.bench and args.compare:
        raise ArgumentError("--bench: expected it or --compare, got both")
    if args.peers is not None and not args.compare:
        raise ArgumentError("--peers: expected --compare with it, got none")
    output.check_path("--output", args.output, output.PAGES)
    if args.sweep:
        import matplotlib  # noqa: F401  # missing: say so now, not after the measurement
    bench = _record(args.bench) if args.bench else None
    model, shapes = profile.load(args)
    if args.compare and len(shapes) != 1:
        raise ArgumentError(f"--compare: expected a network of one input, got {len(shapes)}")
    found = profiled(model, *shapes, threads=args.threads, seconds=args.seconds or profile.SECONDS)
    threads = found.roofline.peak.threads
    try:
        if args.compare:
            bench = _compare(args, shapes[0], threads)
        sweeps = _sweeps(model, shapes, threads) if args.sweep else None
    except (BenchError, RoofError) as error:
        return output.complain(error, FAILED)
    page = report(found, bench=bench, sweeps=sweeps, pictures=pictures)
    args.output.write_text(page, "utf-8")
    output.line(
        f"{args.output}: {found.model}, {found.run_ms:.2f} ms, {found.totals['share']:.0%} of the roofs"
    )
    return 0


def _compare(args: argparse.Namespace, shape: Sequence[int], threads: int) -> dict[str, Any]:
    """Run the network, on an image of the same shape, on fastconv and its peers in turns."""
    from fastconv.lab import compare

    case = compare.given(args.model, shape, args.architecture)
    peers = compare.installed_peers(args.peers)
    with compare.Suite("model", threads=threads, peers=peers, rounds=ROUNDS) as suite:
        results = [suite.compare(case)]
    return compare.as_record("model", {"networks": [case]}, results, [suite.roof], rounds=ROUNDS)


def _sweeps(model: Model, shapes: Sequence[Sequence[int]], threads: int) -> dict[str, Any]:
    """Time the algorithms and block sizes of the network's convolutions, for one image."""
    from fastconv.lab import sweeps
    from fastconv.lab.machine import Roof

    layers = sweeps.network_layers(model, *shapes)
    if not layers:
        raise ArgumentError(
            f"--sweep: expected a network with convolutions of f32, got none in {model.name!r}"
        )
    turns: dict[str, Any] = {"title": model.name, "threads": threads, "roof": Roof(threads)}
    found: dict[str, Any] = {
        "algorithms": sweeps.sweep_algorithms(layers, **turns),
        "conv_blocking": sweeps.sweep_conv_blocking(layers, **turns),
    }
    return {name: result for name, result in found.items() if result.layers}


def _record(path: Path) -> Any:
    try:
        record = json.loads(path.read_text("utf-8"))
        if record["kind"] == "model":
            return record
    except (ValueError, KeyError, TypeError):
        pass
    raise ArgumentError(f"--bench: expected a file of `fastconv bench model --json`, got {path}")
