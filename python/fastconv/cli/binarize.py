"""``fastconv binarize``: a network whose weights are signs times a scale for each filter.

MODEL is an .onnx file, or weights of an architecture. With --inputs its layers read signs too, and are
products of bits. A network must be trained for either; the report says what is left of one that was not. A
result that ends in .fcz has a bit for each weight. docs/compression.md tells how.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fastconv.cli import network, output


def add(commands: Any) -> None:
    """Add the command's arguments."""
    parser = commands.add_parser(
        "binarize", help="make weights signs times a scale, of a bit each", description=__doc__
    )
    network.add_model(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    parser.add_argument(
        "--inputs", action="store_true", help="put a Sign before these layers: they are products of bits then"
    )
    parser.add_argument(
        "--exclude", action="append", metavar="LAYER",
        help='that stays in floats: a name, an operator as "Gemm", "first" or "last" (default: these two)',
    )  # fmt: skip
    parser.add_argument("--data", type=Path, metavar="FOLDER_OR_NPY", help="photos, or an array of inputs")
    output.add_format_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Binarize, write, and say what each layer kept."""
    from fastconv.compress import binarize
    from fastconv.compress.binarize import ENDS

    output.check_path("--output", args.output, (".fcz", ".onnx"))
    result = binarize(
        network.graph(args)[0], inputs=args.inputs, exclude=args.exclude or ENDS, data=args.data
    )
    result.save(args.output)
    record = {"model": args.model, "output": str(args.output), "file_bytes": args.output.stat().st_size}
    record |= result.as_dict()
    return output.finish(args, record, record["layers"], [*result.lines(), output.size_of(args.output)])
