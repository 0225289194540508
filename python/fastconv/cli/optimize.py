"""``fastconv optimize``: the fastest network within a budget of loss, each layer in floats, bf16 or 8 bits.

MODEL is as for fastconv quantize. The result is an .onnx file, or an .fcm file for this machine;
docs/quantize.md tells how.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from fastconv.cli import arguments, output, samples
from fastconv.errors import ArgumentError


def add(commands: Any) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        "optimize", help="find the fastest network within a budget of loss", description=__doc__
    )
    samples.add_network(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.onnx|.fcm")
    parser.add_argument(
        "--budget", type=arguments.share, default=0.01, metavar="SHARE",
        help="the power of the error in the results, of that of the results: 1%% or 0.01 (default: 1%%)",
    )  # fmt: skip
    parser.add_argument(
        "--times", type=Path, metavar="FILE.json",
        help="a record of times: what is in it is not measured again, what is measured is added",
    )  # fmt: skip
    parser.add_argument(
        "--elements", type=arguments.names, default="bf16,int8", metavar="NAMES",
        help="what layers may be computed with besides f32: bf16, int8, or both (default: bf16,int8)",
    )  # fmt: skip
    output.add_page(parser)
    output.add_json_flag(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Search, write, and say what there was to choose from."""
    from fastconv.compress import optimize
    from fastconv.lab.report import loss_page

    output.check_path("--output", args.output, (".onnx", ".fcm"))
    output.check_path("--times", args.times)
    output.check_path("--html", args.html, output.PAGES)
    graph, prepare = samples.open_network(args)
    with samples.warnings_as_lines():
        result = optimize(
            graph,
            args.data,
            budget=args.budget,
            prepare=prepare,
            samples=args.samples,
            exclude=args.exclude,
            exclude_ops=args.exclude_op,
            times=_record(args.times),
            elements=args.elements,
            check=args.check,
        )
    result.save(args.output)
    if args.html:
        args.html.write_text(loss_page(result, Path(args.model).stem), "utf-8")
    if args.times:
        args.times.write_text(json.dumps(result.times, indent=1) + "\n")
    size = args.output.stat().st_size
    record = {"model": args.model, "output": str(args.output), "bytes": size} | result.as_dict()
    return output.finish(args, record, (), [*result.lines(), output.size_of(args.output)])


def _record(path: Path | None) -> Any:
    if path is None or not path.exists():
        return None
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ArgumentError(f"--times: expected a record in JSON in {path}: {error!s:.200}") from None
