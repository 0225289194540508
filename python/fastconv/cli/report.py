"""``fastconv report``: a profile as one HTML page, with nothing outside of it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from fastconv.cli import output, profile
from fastconv.errors import ArgumentError


def add(commands: Any) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        "report", help="write a network's profile as one HTML page", description=__doc__
    )
    profile.add_model_arguments(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.html")
    parser.add_argument(
        "--bench", type=Path, metavar="FILE", help="add what `fastconv bench model --json` wrote"
    )
    parser.add_argument(
        "--picture", type=Path, action="append", default=[], metavar="FILE.svg",
        help="add a picture, of `fastconv sweep --plot` for one",
    )  # fmt: skip
    parser.set_defaults(run=run, extra="onnx")


def run(args: argparse.Namespace) -> int:
    """Profile and write."""
    from fastconv import profiler

    pictures = {path.stem: path.read_text("utf-8") for path in args.picture}
    for name, text in pictures.items():
        if "<svg" not in text:
            raise ArgumentError(f"--picture {name}: expected an SVG document, got none")
    bench = _record(args.bench) if args.bench else None
    model, shapes = profile.load(args)
    found = profiler.profile(model, *shapes, threads=args.threads, seconds=args.seconds)
    args.output.write_text(profiler.report(found, bench=bench, pictures=pictures), "utf-8")
    output.line(
        f"{args.output}: {found.model}, {found.run_ms:.2f} ms, {found.totals['share']:.0%} of the roofs"
    )
    return 0


def _record(path: Path) -> Any:
    try:
        record = json.loads(path.read_text("utf-8"))
        if record["kind"] == "model":
            return record
    except (ValueError, KeyError, TypeError):
        pass
    raise ArgumentError(f"--bench: expected a file of `fastconv bench model --json`, got {path}")
